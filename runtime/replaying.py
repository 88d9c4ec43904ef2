"""Executing a run again from its journal, without a network: it must go the same way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .counting import is_full
from .facts import (
    ActionFinished,
    ApprovalAwaited,
    ApprovalDecided,
    CancelRequested,
    CodeExecuted,
    EffectDrafted,
    EffectSent,
    EffectUnknown,
    EffectUnsent,
    EndDecided,
    Event,
    GenerationFinished,
    HostCalled,
    KnowledgeRetrieved,
    PauseRequested,
    ResumeRequested,
    RunFinished,
    RunStarted,
    SignalSent,
    State,
)
from .journal.port import Record
from .machines import Machine
from .machines import State as Progress
from .machines.effects import Act, Close, Effect, Generate, Retrieve, prompt_sha256
from .program import Program

_NOTES = CancelRequested | PauseRequested | ResumeRequested | SignalSent | ApprovalDecided


@dataclass(frozen=True)
class Replayed:
    """What the replay made where the journal has `record`; `difference` is empty if it is the same.

    `event` is None where the machine would have waited, or wanted something else.
    """

    record: Record
    event: Event | None
    difference: str = ""


def replay(
    machine: Machine[Progress], program: Program, records: Sequence[Record]
) -> Iterator[Replayed]:
    """Yield every event of a journal as the machine makes it, up to the first that differs.

    The answers of models, services and people are those of the journal, and so is what windows of
    policies had no room for; everything else is made anew: decisions
    of policy, prompts, what is called when, and how the run ends.
    """
    state = machine.begin()
    since = records[0].create_time
    for record in records:
        made, difference = _make(machine, program, state, since, record)
        yield Replayed(record, made, difference)
        if difference:
            return
        state, since = machine.apply(state, record.event), record.create_time


def _make(
    machine: Machine[Progress], program: Program, state: Progress, since: datetime, record: Record
) -> tuple[Event | None, str]:
    """Return the event that the machine makes after `since`, and how it differs from the record."""
    event = record.event
    if isinstance(event, RunStarted):
        return event, ""
    # What followed became durable with what it followed from, before anything else could happen.
    if fact := machine.follow(state, since):
        if is_full(program, fact, event):
            return event, ""
        return fact, "" if fact == event else f"{_name(fact)} follows here, not {_name(event)}"
    if isinstance(event, _NOTES) or _is_end_from_outside(event):
        return event, ""
    wanted = machine.wanted(state)
    made = next((answer for effect in wanted if (answer := _answer(effect, event))), None)
    # Nothing was done, and it became time for something.
    made = made or machine.follow(state, record.create_time)
    if made == event:
        return made, ""
    if isinstance(made, GenerationFinished):
        return made, "the model would be asked something else, or another model"
    if made is not None:
        return made, f"{_name(event)} is another one"
    waits = ", ".join(f"{type(effect).__name__} {effect.key}" for effect in wanted) or "nothing"
    return None, f"{_name(event)} answers nothing: the run wants {waits}"


def _is_end_from_outside(event: Event) -> bool:
    """Tell whether the time of a run, or a peer that refused, has ended it."""
    return isinstance(event, EndDecided) and event.outcome.state == State.FAILED


def _answer(effect: Effect, event: Event) -> Event | None:
    """Return the event that ends an effect, or is on its way to its end, with the answer kept."""
    match effect, event:
        case Retrieve(), KnowledgeRetrieved():
            return event
        case Generate(), GenerationFinished() if event.step == effect.step:
            # Journals from before prompts had digests say nothing of them.
            sha256 = prompt_sha256(effect) if event.prompt_sha256 else ""
            return replace(event, prompt_sha256=sha256)
        case Act(), EffectSent() if event.call_id == effect.call.id:
            return event
        case (
            Act(),
            EffectDrafted() | EffectUnsent() | EffectUnknown(),
        ) if event.call_id == effect.call.id:
            return event if effect.is_sent else None
        case Act(), HostCalled() | CodeExecuted() if event.call_id == effect.call.id:
            # What the code does is looked at by `reexecuting`.
            return event if effect.action.code else None
        case Act(), ApprovalAwaited() if event.call == effect.call:
            return event
        case Act(), ActionFinished() if event.call_id == effect.call.id:
            return replace(event, action=effect.call.action)
        case Close(), RunFinished():
            return replace(event, outcome=effect.outcome)
        case _:
            return None


def _name(event: Event) -> str:
    return type(event).__name__
