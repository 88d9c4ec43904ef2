"""Reading the tables of the journal: rows become runs, records and notes here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select, tuple_

from ..encoding import decode, decode_outcome
from ..errors import ApprovalNotFound, RunNotFound, RunUnfinished
from ..facts import (
    ApprovalAwaited,
    ApprovalDecided,
    CancelRequested,
    Event,
    PauseRequested,
    Receipt,
    ResumeRequested,
    RunFinished,
    RunStarted,
    SignalSent,
    State,
)
from .port import OPENING_EVENTS_MAX, KeptNote, Opening, Record, Run, Snapshot, Waiting
from .tables import APPROVAL, BLOB, BUNDLE, EVENT, NOTE, RUN, SNAPSHOT

# What is kept apart, where it is.
_FACT = func.coalesce(BLOB.c.content, EVENT.c.fact).label("fact")
_EVENTS = EVENT.outerjoin(BLOB, BLOB.c.sha256 == EVENT.c.blob)
_APPROVAL_NAME = (
    select(APPROVAL.c.name)
    .where(APPROVAL.c.run == RUN.c.number)
    .order_by(APPROVAL.c.sequence)
    .limit(1)
    .scalar_subquery()
)
_RUNS = select(RUN, EVENT.c.kind, _FACT, _APPROVAL_NAME.label("approval")).select_from(
    _EVENTS.join(RUN, and_(EVENT.c.run == RUN.c.number, EVENT.c.sequence == 1))
)
# What is read for every run. Made once: making a statement takes longer than executing it.
_RUNS_BY_NAME = _RUNS.where(RUN.c.name.in_(bindparam("names", expanding=True)))
_RUNS_BY_NUMBER = _RUNS.where(RUN.c.number.in_(bindparam("numbers", expanding=True)))
_NUMBER_BY_NAME = select(RUN.c.number).where(RUN.c.name == bindparam("name"))
_EVENTS_OF_RUN = (
    select(EVENT.c.sequence, EVENT.c.create_time, EVENT.c.kind, _FACT)
    .select_from(_EVENTS)
    .where(EVENT.c.run == bindparam("number"), EVENT.c.sequence > bindparam("after"))
    .order_by(EVENT.c.sequence)
    .limit(bindparam("most"))
)
_LAST_EVENT_OF_RUN = (
    select(EVENT.c.kind, _FACT)
    .select_from(_EVENTS)
    .where(EVENT.c.run == bindparam("number"))
    .order_by(EVENT.c.sequence.desc())
    .limit(1)
)
_SNAPSHOT_OF_RUN = (
    select(SNAPSHOT.c.sequence, SNAPSHOT.c.state)
    .join(RUN, RUN.c.number == SNAPSHOT.c.run)
    .where(RUN.c.name == bindparam("name"))
)
_PAYLOAD_OF_RUN = (
    select(BUNDLE.c.payload)
    .join(RUN, RUN.c.bundle == BUNDLE.c.name)
    .where(RUN.c.name == bindparam("name"))
)
_NOTES_OF_RUN = (
    select(NOTE.c.number, NOTE.c.kind, NOTE.c.fact)
    .join(RUN, RUN.c.number == NOTE.c.run)
    .where(RUN.c.name == bindparam("name"), NOTE.c.is_heard.is_(False))
    .order_by(NOTE.c.number)
)


def runs_named(connection: Connection, names: Sequence[str]) -> dict[str, Run]:
    """Return those of these runs that there are, by their names."""
    found = connection.execute(_RUNS_BY_NAME, {"names": names})
    return {row.name: _run(row) for row in found}


def runs(connection: Connection, numbers: Sequence[int]) -> dict[int, Run]:
    """Return runs by their numbers."""
    found = connection.execute(_RUNS_BY_NUMBER, {"numbers": numbers})
    return {row.number: _run(row) for row in found}


def sent(connection: Connection, names: Sequence[str]) -> dict[str, list[Record]]:
    """Return what runs have sent, and what came of it."""
    columns = RUN.c.name, EVENT.c.sequence, EVENT.c.create_time, EVENT.c.kind, _FACT
    query = (
        select(*columns)
        .select_from(_EVENTS.join(RUN, RUN.c.number == EVENT.c.run))
        .where(RUN.c.name.in_(names), EVENT.c.kind.in_(("sent", "unsent", "unknown", "acted")))
        .order_by(EVENT.c.run, EVENT.c.sequence)
    )
    found: dict[str, list[Record]] = {name: [] for name in names}
    for name, sequence, time, kind, fact in connection.execute(query):
        found[name].append(Record(sequence, _time(time), decode(kind, fact)))
    return found


def openings(connection: Connection, names: Sequence[str]) -> list[Opening]:
    """Return runs that have few events, with these."""
    few = RUN.c.sequence <= OPENING_EVENTS_MAX
    found = connection.execute(_RUNS.where(RUN.c.name.in_(names), few).order_by(RUN.c.number))
    runs = {row.number: _run(row) for row in found}
    noted = select(NOTE.c.run).where(NOTE.c.run.in_(runs), NOTE.c.is_heard.is_(False)).distinct()
    with_notes = set(connection.execute(noted).scalars())
    facts = select(EVENT.c.run, EVENT.c.kind, _FACT).select_from(_EVENTS)
    ordered = facts.where(EVENT.c.run.in_(runs)).order_by(EVENT.c.run, EVENT.c.sequence)
    events: dict[int, list[Event]] = {number: [] for number in runs}
    for number, kind, fact in connection.execute(ordered):
        events[number].append(decode(kind, fact))
    return [
        Opening(one, tuple(events[number]), has_notes=number in with_notes)
        for number, one in runs.items()
    ]


def newest(connection: Connection, limit: int, before: int | None) -> list[Run]:
    """Return runs, newest first."""
    query = _RUNS.order_by(RUN.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(RUN.c.number < before)
    return list(map(_run, connection.execute(query)))


def events(connection: Connection, name: str, after: int, limit: int) -> list[Record]:
    """Return events of a run; raise `RunNotFound`."""
    number = _number(connection, name)
    found = connection.execute(_EVENTS_OF_RUN, {"number": number, "after": after, "most": limit})
    return [
        Record(row.sequence, _time(row.create_time), decode(row.kind, row.fact)) for row in found
    ]


def snapshot(connection: Connection, name: str) -> Snapshot | None:
    """Return the last state of a run that was kept."""
    row = connection.execute(_SNAPSHOT_OF_RUN, {"name": name}).first()
    return Snapshot(row.sequence, row.state) if row else None


def payload(connection: Connection, name: str) -> bytes:
    """Return the payload of the bundle of a run; raise `RunNotFound`."""
    row = connection.execute(_PAYLOAD_OF_RUN, {"name": name}).first()
    if row is None:
        raise RunNotFound(name)
    return bytes(row.payload)


def notes(connection: Connection, name: str) -> list[KeptNote]:
    """Return notes that were not heard."""
    found = list[KeptNote]()
    for number, kind, fact in connection.execute(_NOTES_OF_RUN, {"name": name}):
        event = decode(kind, fact)
        assert isinstance(
            event,
            CancelRequested | PauseRequested | ResumeRequested | SignalSent | ApprovalDecided,
        ), "only notes are kept as such"
        found.append(KeptNote(number, event))
    return found


def noted(connection: Connection, worker: str) -> list[str]:
    """Return the open runs of a worker that have such notes."""
    unheard = select(NOTE.c.run).where(NOTE.c.is_heard.is_(False))
    query = select(RUN.c.name).where(
        RUN.c.end_time.is_(None), RUN.c.worker == worker, RUN.c.number.in_(unheard)
    )
    return list(connection.execute(query.order_by(RUN.c.number)).scalars())


def waiting(connection: Connection, limit: int, after: tuple[str, int, int]) -> list[Waiting]:
    """Return calls that wait for people."""
    place = (APPROVAL.c.create_time, APPROVAL.c.run, APPROVAL.c.sequence)
    query = (
        select(*place, EVENT.c.kind, _FACT)
        .select_from(_EVENTS.join(APPROVAL, _IS_ITS_EVENT))
        .where(tuple_(*place) > after)
        .order_by(*place)
        .limit(limit)
    )
    found = connection.execute(query).all()
    waits = runs(connection, [row.run for row in found])
    return [
        Waiting(waits[row.run], _awaited(row), row.sequence, _time(row.create_time))
        for row in found
    ]


def awaited(connection: Connection, name: str, call: str) -> ApprovalAwaited:
    """Return what a call waits for; raise `ApprovalNotFound`."""
    joined = _EVENTS.join(APPROVAL, _IS_ITS_EVENT).join(RUN, RUN.c.number == APPROVAL.c.run)
    query = select(EVENT.c.kind, _FACT).select_from(joined)
    row = connection.execute(query.where(RUN.c.name == name, APPROVAL.c.call == call)).first()
    if row is None:
        raise ApprovalNotFound(f"{name}/approvals/{call}")
    return _awaited(row)


def receipt(connection: Connection, name: str) -> Receipt:
    """Return the signed receipt; raise `RunNotFound` and `RunUnfinished`."""
    number = _number(connection, name)
    row = connection.execute(_LAST_EVENT_OF_RUN, {"number": number}).one()
    event = decode(row.kind, row.fact)
    if not isinstance(event, RunFinished):
        raise RunUnfinished(name)
    return event.receipt


_IS_ITS_EVENT = and_(EVENT.c.run == APPROVAL.c.run, EVENT.c.sequence == APPROVAL.c.sequence)


def _number(connection: Connection, name: str) -> int:
    row = connection.execute(_NUMBER_BY_NAME, {"name": name}).first()
    if row is None:
        raise RunNotFound(name)
    return int(row.number)


def _run(row: Any) -> Run:  # noqa: ANN401  # a row of `_RUNS`
    started: Event = decode(row.kind, row.fact)
    assert isinstance(started, RunStarted), "a run starts with its first event"
    outcome = decode_outcome(row.outcome) if row.outcome else None
    return Run(
        number=row.number,
        name=row.name,
        bundle=row.bundle,
        account=row.account,
        state=State(row.state),
        input=started.input,
        answer=outcome.answer if outcome else "",
        failure=outcome.failure if outcome else None,
        step_count=row.step_count,
        gas=row.gas,
        dry_run=started.dry_run,
        create_time=_time(row.create_time),
        end_time=_time(row.end_time) if row.end_time else None,
        callers=started.callers,
        deadline=_time(row.deadline) if row.deadline else None,
        approval=row.approval or "",
        origin=started.origin,
        sequence=row.sequence,
    )


def _awaited(row: Any) -> ApprovalAwaited:  # noqa: ANN401  # a row with an event
    event: Event = decode(row.kind, row.fact)
    assert isinstance(event, ApprovalAwaited), "its approval says so"
    return event


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
