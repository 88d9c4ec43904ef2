"""A run that begins with the first events of another one."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import ForkRefused, ForkRepeats
from .facts import (
    UNKNOWN,
    ActionDecided,
    ActionFinished,
    ApprovalAwaited,
    ApprovalDecided,
    EffectSent,
    EffectUnsent,
    Event,
    PauseRequested,
    ResumeRequested,
    RunStarted,
    SleepStarted,
)
from .journal.port import Journal, Record, Run
from .machines import Machine, State, fold

EVENTS_MAX = 10_000


async def history_of(
    journal: Journal, run: Run, machine: Machine[State], *, sequence: int
) -> tuple[Event, ...]:
    """Return the events of a run after its first, up to a sequence, or to its end if that is 0.

    What was decided about calls that had not happened is left out: policy, its windows and people
    decide about those of the new run anew. Raise `ForkRefused` where somebody else would have to
    know what came of a call, and `ForkRepeats` where the new run would do what was done already and
    nobody has named the event to begin from.
    """
    records = await read_records(journal, run)
    clean = _clean_sequences(machine, records)
    if sequence == 0:
        sequence = clean[-1]
        if done := _done(record.event for record in records[sequence:]):
            raise ForkRepeats(run.name, sequence, done)
    elif sequence not in clean:
        before = max(one for one in clean if one <= sequence)
        raise ForkRefused(run.name, sequence, before)
    events = [record.event for record in records[:sequence]]
    open_calls = {one.call.id for one in fold(machine, events).calls.open}
    return tuple(
        event
        for event in events
        # Nobody has paused the new one.
        if not isinstance(event, RunStarted | PauseRequested | ResumeRequested)
        and _call_decided(event) not in open_calls
    )


def _done(events: Iterable[Event]) -> str:
    """Return the first call that has changed something outside, or may have; empty if none has."""
    sent = dict[str, None]()
    for event in events:
        match event:
            case EffectSent():
                sent[event.call_id] = None
            case EffectUnsent():
                sent.pop(event.call_id, None)
            case ActionFinished() if event.reason not in ("", UNKNOWN):
                # The service has refused it.
                sent.pop(event.call_id, None)
    return next(iter(sent), "")


def _call_decided(event: Event) -> str:
    """Return the call that an event lets happen or wait; empty if it is about none."""
    match event:
        case ActionDecided() | ApprovalAwaited():
            return event.call.id
        case ApprovalDecided() | SleepStarted():
            return event.call_id
        case _:
            return ""


def _clean_sequences(machine: Machine[State], records: list[Record]) -> list[int]:
    """Return the events after which the run could have taken another way.

    Nothing was under way outside, and what came next did not follow by itself.
    """
    found = []
    state = machine.begin()
    for record in records:
        state = machine.apply(state, record.event)
        life = state.life
        if life.ending or life.finished or life.is_cancel_requested:
            break
        # Code that has asked for something cannot ask the same in another run.
        is_busy = any(one.is_sent or one.asked for one in state.calls.open)
        if not is_busy and machine.follow(state, record.create_time) is None:
            found.append(record.sequence)
    return found


async def read_records(journal: Journal, run: Run) -> list[Record]:
    """Return the journal of a run, at most its first 10,000 events."""
    records: list[Record] = []
    while len(records) < min(run.sequence, EVENTS_MAX):
        records += await journal.events(run.name, after=len(records))
    return records[:EVENTS_MAX]
