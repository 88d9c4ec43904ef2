"""Runs and their journals in SQLite: what a method returned for is durable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine, and_, tuple_
from sqlmodel import Session, col, func, select

from chassis.canonical import canonical_json, sha256_hex
from chassis.database import transaction
from chassis.errors import RequestIdReused

from .errors import ApprovalNotFound, ArgumentsDiffer, RunNotFound, RunsExceeded, RunUnfinished
from .facts import (
    ActionFinished,
    ApprovalAwaited,
    Callers,
    CancelRequested,
    EffectSent,
    Event,
    Failure,
    GenerationFinished,
    Outcome,
    Receipt,
    RunFinished,
    RunStarted,
    State,
    decode,
    decode_callers,
    decode_outcome,
    encode,
    encode_callers,
    encode_outcome,
    parent_of,
)
from .rows import NO_CALLERS, BundleRow, RecordRow, RunRow

OPEN_RUNS_MAX = 1_000
RECORDS_MAX = 100


@dataclass(frozen=True)
class Record:
    """An event in its place in a journal."""

    sequence: int
    create_time: datetime
    event: Event


@dataclass(frozen=True)
class Run:
    """A run as people see it; `number` grows from run to run, `deadline` is that of `NewRun`.

    `approval` is what its open call waits for, empty if it waits for no person.
    """

    number: int
    name: str
    bundle: str
    account: str
    state: State
    input: str
    answer: str
    failure: Failure | None
    step_count: int
    gas: int
    dry_run: bool
    create_time: datetime
    end_time: datetime | None
    callers: Callers
    deadline: datetime | None
    approval: str


@dataclass(frozen=True)
class Waiting:
    """A run that waits for a person, and since when."""

    run: Run
    awaited: ApprovalAwaited
    create_time: datetime

    @property
    def place(self) -> tuple[str, int]:
        """Return where it stands among all that wait."""
        return self.create_time.isoformat(), self.run.number


@dataclass(frozen=True)
class NewRun:
    """What a run is started with; its bundle was checked.

    At the `deadline` those who wait for it have no more time; there is none if nobody waits.
    """

    name: str
    request_id: str
    bundle: str
    payload: bytes
    account: str
    input: str
    dry_run: bool
    callers: Callers = ()
    deadline: datetime | None = None

    @property
    def content_sha256(self) -> str:
        """Return what a repeated request must have in common with the first."""
        return sha256_hex(canonical_json([self.bundle, self.input, self.dry_run]))


class RunStore:
    """Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, new: NewRun, now: datetime) -> Run:
        """Journal the start of a run; a request that was seen before returns its run.

        Raise `RequestIdReused` and `RunsExceeded`.
        """
        with transaction(self._engine) as session:
            known = _known(session, new)
            if known is not None:
                if known.content_sha256 != new.content_sha256:
                    raise RequestIdReused(new.request_id)
                return _run(known)
            # A run that waits for another must not take its place: only what outsiders started
            # counts. Each of them has at most one open run in every depth below it.
            is_open = col(RunRow.end_time).is_(None), col(RunRow.callers) == NO_CALLERS
            if session.exec(select(func.count()).where(*is_open)).one() >= OPEN_RUNS_MAX:
                raise RunsExceeded(OPEN_RUNS_MAX)
            return _create(session, new, now)

    def delegate(self, sent: EffectSent, new: NewRun, now: datetime) -> Run:
        """Journal that a run calls another agent, together with the run that is to answer.

        So a call that was sent has its run, and one that was not has none. Raise `RequestIdReused`.
        """
        with transaction(self._engine) as session:
            if _known(session, new) is not None:
                raise RequestIdReused(new.request_id)
            parent = _row(session, parent_of(new.callers))
            assert parent.end_time is None, "nothing happens after the end of a run"
            _append(session, parent, sent, now)
            return _create(session, new, now)

    def get(self, name: str) -> Run:
        """Return a run; raise `RunNotFound`."""
        with transaction(self._engine) as session:
            return _run(_row(session, name))

    def newest(self, limit: int, *, before: int | None = None) -> list[Run]:
        """Return runs, newest first, that are older than the one with the number `before`."""
        query = select(RunRow).order_by(col(RunRow.number).desc()).limit(limit)
        if before is not None:
            query = query.where(col(RunRow.number) < before)
        with transaction(self._engine) as session:
            return [_run(row) for row in session.exec(query)]

    def open_names(self) -> list[str]:
        """Return the runs that have not ended, oldest first."""
        query = (
            select(RunRow.name).where(col(RunRow.end_time).is_(None)).order_by(col(RunRow.number))
        )
        with transaction(self._engine) as session:
            return [*session.exec(query)]

    def payload(self, name: str) -> bytes:
        """Return the payload of the bundle that a run executes."""
        with transaction(self._engine) as session:
            bundle = session.get(BundleRow, _row(session, name).bundle)
            assert bundle is not None, "a run is stored with its bundle"
            return bundle.payload

    def journal(self, name: str, *, after: int = 0, limit: int = RECORDS_MAX) -> list[Record]:
        """Return the events of a run after a sequence, in order."""
        query = (
            select(RecordRow)
            .where(RecordRow.run == name, col(RecordRow.sequence) > after)
            .order_by(col(RecordRow.sequence))
            .limit(limit)
        )
        with transaction(self._engine) as session:
            _row(session, name)
            return [_record(row) for row in session.exec(query)]

    def waiting(self, limit: int, *, after: tuple[str, int] = ("", 0)) -> list[Waiting]:
        """Return what waits for people, longest first, after the place of another."""
        time, number = col(RecordRow.create_time), col(RunRow.number)
        is_last = col(RecordRow.sequence) == col(RunRow.approval_sequence)
        query = (
            select(RunRow, RecordRow)
            .join(RecordRow, and_(col(RecordRow.run) == col(RunRow.name), is_last))
            .where(col(RunRow.end_time).is_(None), tuple_(time, number) > after)
            .order_by(time, number)
            .limit(limit)
        )
        with transaction(self._engine) as session:
            return [
                Waiting(_run(row), _awaited(record), _time(record.create_time))
                for row, record in session.exec(query)
            ]

    def awaited(self, name: str, call: str, *, sha256: str) -> ApprovalAwaited:
        """Return what a call waits for; raise `ApprovalNotFound` and `ArgumentsDiffer`."""
        approval = f"{name}/approvals/{call}"
        with transaction(self._engine) as session:
            row = session.exec(select(RunRow).where(RunRow.name == name)).one_or_none()
            record = session.get(RecordRow, (name, row.approval_sequence)) if row else None
            awaited = _awaited(record) if record else None
        if awaited is None or awaited.call.id != call:
            raise ApprovalNotFound(approval)
        if awaited.arguments_sha256 != sha256:
            raise ArgumentsDiffer(approval)
        return awaited

    def receipt(self, name: str) -> Receipt:
        """Return the signed receipt of a run; raise `RunUnfinished`."""
        with transaction(self._engine) as session:
            row = _row(session, name)
            last = session.get(RecordRow, (name, row.sequence))
            assert last is not None, "a run has at least one event"
            event = decode(last.kind, last.fact)
            if not isinstance(event, RunFinished):
                raise RunUnfinished(name)
            return event.receipt

    def append(self, name: str, event: Event, now: datetime) -> Record:
        """Journal an event; after `RunFinished` there is none."""
        with transaction(self._engine) as session:
            row = _row(session, name)
            assert row.end_time is None, "nothing happens after the end of a run"
            return _append(session, row, event, now)

    def request_cancel(self, name: str, now: datetime) -> Run:
        """Journal that somebody wants a run to stop, unless its end is decided; return the run."""
        with transaction(self._engine) as session:
            row = _row(session, name)
            if row.outcome is None and not row.is_cancel_requested:
                row.is_cancel_requested = True
                _append(session, row, CancelRequested(), now)
            return _run(row)

    def decide(self, name: str, outcome: Outcome) -> Outcome:
        """Keep how a run will end, and return what was kept first.

        Between the last step and `RunFinished` the spending is closed. A crash there must find the
        decision, not decide again in a world where every hold of gas is refused.
        """
        with transaction(self._engine) as session:
            row = _row(session, name)
            if row.outcome is None:
                row.outcome = encode_outcome(outcome)
            return decode_outcome(row.outcome)

    def outcome(self, name: str) -> Outcome | None:
        """Return how a run will end, if that is decided."""
        with transaction(self._engine) as session:
            kept = _row(session, name).outcome
            return decode_outcome(kept) if kept else None


def _row(session: Session, name: str) -> RunRow:
    row = session.exec(select(RunRow).where(RunRow.name == name)).one_or_none()
    if row is None:
        raise RunNotFound(name)
    return row


def _known(session: Session, new: NewRun) -> RunRow | None:
    return session.exec(select(RunRow).where(RunRow.request_id == new.request_id)).one_or_none()


def _create(session: Session, new: NewRun, now: datetime) -> Run:
    if session.get(BundleRow, new.bundle) is None:
        session.add(BundleRow(name=new.bundle, payload=new.payload))
    row = RunRow(
        name=new.name,
        request_id=new.request_id,
        content_sha256=new.content_sha256,
        bundle=new.bundle,
        account=new.account,
        input=new.input,
        dry_run=new.dry_run,
        create_time=now.isoformat(),
        callers=encode_callers(new.callers),
        deadline=new.deadline.isoformat() if new.deadline else None,
    )
    session.add(row)
    _append(session, row, RunStarted(new.bundle, new.input, new.dry_run, new.callers), now)
    session.flush()
    return _run(row)


def _append(session: Session, row: RunRow, event: Event, now: datetime) -> Record:
    row.sequence += 1
    match event:
        case RunStarted():
            assert row.sequence == 1, "a run starts once"
        case GenerationFinished():
            row.step_count = event.step
            row.gas += event.gas
        case ApprovalAwaited():
            row.approval, row.approval_sequence = event.approval, row.sequence
        case ActionFinished():
            row.gas += event.gas
            row.approval, row.approval_sequence = "", 0
        case RunFinished():
            row.state = event.outcome.state
            row.answer = event.outcome.answer
            if event.outcome.failure:
                row.failure_reason = event.outcome.failure.reason
                row.failure_message = event.outcome.failure.message
            row.gas = event.receipt.total_gas
            row.end_time = now.isoformat()
            row.approval, row.approval_sequence = "", 0
    if row.sequence > 1 and row.state == State.PENDING:
        row.state = State.RUNNING
    kind, fact = encode(event)
    session.flush()
    session.add(
        RecordRow(
            run=row.name,
            sequence=row.sequence,
            create_time=now.isoformat(),
            kind=kind,
            fact=fact,
        )
    )
    return Record(row.sequence, now, event)


def _run(row: RunRow) -> Run:
    assert row.number is not None, "a stored run has a number"
    failure = Failure(row.failure_reason, row.failure_message) if row.failure_reason else None
    return Run(
        number=row.number,
        name=row.name,
        bundle=row.bundle,
        account=row.account,
        state=State(row.state),
        input=row.input,
        answer=row.answer,
        failure=failure,
        step_count=row.step_count,
        gas=row.gas,
        dry_run=row.dry_run,
        create_time=_time(row.create_time),
        end_time=_time(row.end_time) if row.end_time else None,
        callers=decode_callers(row.callers),
        deadline=_time(row.deadline) if row.deadline else None,
        approval=row.approval,
    )


def _awaited(row: RecordRow) -> ApprovalAwaited:
    event = decode(row.kind, row.fact)
    assert isinstance(event, ApprovalAwaited), "its run says so"
    return event


def _record(row: RecordRow) -> Record:
    return Record(row.sequence, _time(row.create_time), decode(row.kind, row.fact))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
