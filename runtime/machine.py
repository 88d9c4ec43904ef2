"""A run as a state machine: a fold over its journal, and what is to be done next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeAlias

from .conversation import ActionChoice, Exchange, Message, converse, input_text
from .facts import (
    ActionCall,
    ActionDecided,
    ActionFinished,
    ApprovalAwaited,
    CancelRequested,
    Decision,
    EffectSent,
    Event,
    Failure,
    GenerationFinished,
    KnowledgeRetrieved,
    Outcome,
    Passage,
    RunFinished,
    RunStarted,
    State,
)
from .jsontext import write_json
from .policy import decide, has_calls_left, read_arguments
from .program import Program, ProgramAction

# That many steps before the last one, a model is only offered what it still has to do.
_HURRY_STEPS = 2
_QUERY_CHARACTERS_MAX = 4_096


@dataclass(frozen=True)
class CallProgress:
    """How far a call has come."""

    call: ActionCall
    decided: ActionDecided | None = None
    is_sent: bool = False
    # What it waited for last.
    approval: str = ""
    finished: ActionFinished | None = None


@dataclass(frozen=True)
class Progress:
    """How far a run has come: nothing else than the fold of its journal."""

    input: str = ""
    dry_run: bool = False
    passages: tuple[Passage, ...] | None = None
    generations: tuple[GenerationFinished, ...] = ()
    calls: tuple[CallProgress, ...] = ()
    is_cancel_requested: bool = False
    finished: RunFinished | None = None

    @property
    def open_call(self) -> CallProgress | None:
        """Return the first call without a result."""
        return next((call for call in self.calls if call.finished is None), None)

    def allowed_count(self, action: str) -> int:
        """Return how many calls of an action policy has let through."""
        return sum(
            call.call.action == action
            and call.decided is not None
            and call.decided.decision != Decision.DENY
            for call in self.calls
        )

    def has_done(self, action: str) -> bool:
        """Tell whether an action has succeeded."""
        return any(
            call.call.action == action and call.finished is not None and not call.finished.reason
            for call in self.calls
        )


@dataclass(frozen=True)
class Retrieve:
    """Find passages for the input."""

    query: str


@dataclass(frozen=True)
class Generate:
    """Ask the model."""

    step: int
    messages: tuple[Message, ...]
    actions: tuple[ProgramAction, ...]
    choice: ActionChoice


@dataclass(frozen=True)
class Act:
    """Perform a call that policy has allowed; `is_sent` tells that it may have happened already."""

    call: ActionCall
    action: ProgramAction
    is_sent: bool


@dataclass(frozen=True)
class Record:
    """Journal a fact that follows from the others."""

    event: ActionDecided | ActionFinished


@dataclass(frozen=True)
class Finish:
    """End the run."""

    outcome: Outcome


Effect: TypeAlias = Retrieve | Generate | Act | Record | Finish


def fold(events: Iterable[Event]) -> Progress:
    """Return how far a journal has come."""
    return reduce(apply, events, Progress())


def apply(progress: Progress, event: Event) -> Progress:
    """Return the progress after one more event."""
    assert progress.finished is None, "nothing happens after the end of a run"
    match event:
        case RunStarted():
            return replace(progress, input=event.input, dry_run=event.dry_run)
        case KnowledgeRetrieved():
            return replace(progress, passages=event.passages)
        case GenerationFinished():
            assert progress.open_call is None, "a model is not asked while a call is open"
            assert event.step == len(progress.generations) + 1, "steps have no gaps"
            calls = tuple(CallProgress(call) for call in event.calls)
            return replace(
                progress,
                generations=(*progress.generations, event),
                calls=(*progress.calls, *calls),
            )
        case ActionDecided():
            return _with_open_call(progress, event.call.id, lambda it: replace(it, decided=event))
        case EffectSent():
            return _with_open_call(progress, event.call_id, lambda it: replace(it, is_sent=True))
        case ApprovalAwaited(approval=approval):
            return _with_open_call(
                progress, event.call.id, lambda it: replace(it, approval=approval)
            )
        case ActionFinished():
            return _with_open_call(progress, event.call_id, lambda it: replace(it, finished=event))
        case CancelRequested():
            return replace(progress, is_cancel_requested=True)
        case RunFinished():
            return replace(progress, finished=event)


def _with_open_call(
    progress: Progress, call_id: str, change: Callable[[CallProgress], CallProgress]
) -> Progress:
    before = progress.open_call
    assert before is not None, "calls are handled one after another"
    assert before.call.id == call_id, "calls are handled in their order"
    after = change(before)
    return replace(
        progress, calls=tuple(after if call is before else call for call in progress.calls)
    )


def next_effect(program: Program, progress: Progress) -> Effect:
    """Return the one thing to do now; a run that has finished has none."""
    assert progress.finished is None, "a run that has ended does nothing"
    call = progress.open_call
    if progress.is_cancel_requested and not (call and call.is_sent):
        return Finish(Outcome(State.CANCELLED))
    if call is not None:
        return _handle(program, progress, call)
    if progress.passages is None and program.knowledge and program.limits.passages:
        query = input_text(progress.input).strip() or program.instructions
        return Retrieve(query[:_QUERY_CHARACTERS_MAX])
    outcome = _outcome(program, progress)
    return Finish(outcome) if outcome else _generate(program, progress)


def _handle(program: Program, progress: Progress, open_call: CallProgress) -> Effect:
    call, decided = open_call.call, open_call.decided
    action = program.action(call.action)
    if decided is None:
        verdict = decide(
            call,
            action,
            allowed_count=progress.allowed_count(call.action),
            dry_run=progress.dry_run,
        )
        return Record(ActionDecided(call, verdict.decision, verdict.rule))
    if decided.decision == Decision.DENY:
        told = write_json({"error": "DENIED", "message": decided.rule})
        return Record(ActionFinished(call.id, call.action, told, gas=0, reason="DENIED"))
    assert action is not None, "what is not an action is denied"
    if decided.decision == Decision.DRY_RUN:
        arguments = dict(read_arguments(call, action))
        told = write_json({"dry_run": True, "action": action.name, "arguments": arguments})
        return Record(ActionFinished(call.id, call.action, told, gas=0))
    return Act(call, action, open_call.is_sent)


def _outcome(program: Program, progress: Progress) -> Outcome | None:
    """Return how the run ends, if the last generation and its calls end it."""
    missing = _missing(program, progress)
    for action in missing:
        if not has_calls_left(action, progress.allowed_count(action.name)):
            return Outcome(State.FAILED, failure=_failure_of(action, progress))
    if not missing and progress.generations and not progress.generations[-1].calls:
        answer = progress.generations[-1].text.strip()
        if answer:
            return Outcome(State.SUCCEEDED, answer)
        told = "the model ended without an answer; raise tokens_max or change the instructions"
        return Outcome(State.FAILED, failure=Failure("ANSWER_MISSING", told))
    if len(progress.generations) >= program.limits.steps:
        told = f"no answer after {program.limits.steps} steps; raise limits.steps"
        return Outcome(State.FAILED, failure=Failure("STEPS_EXCEEDED", told))
    return None


def _failure_of(action: ProgramAction, progress: Progress) -> Failure:
    """Return why a required action that has no calls left did not succeed: its last refusal."""
    last = next(
        call.finished
        for call in reversed(progress.calls)
        if call.call.action == action.name
        and call.decided
        and call.decided.decision != Decision.DENY
        and call.finished
    )
    message = f"{action.name} is required, failed, and has no calls left: {last.result}"
    return Failure(last.reason, message)


def _generate(program: Program, progress: Progress) -> Generate:
    results = {call.call.id: call.finished for call in progress.calls}
    exchanges = [
        Exchange(
            generation,
            tuple(result for call in generation.calls if (result := results[call.id])),
        )
        for generation in progress.generations
    ]
    actions, choice = _offer(program, progress)
    return Generate(
        step=len(progress.generations) + 1,
        messages=converse(program.instructions, progress.passages or (), progress.input, exchanges),
        actions=actions,
        choice=choice,
    )


def _offer(program: Program, progress: Progress) -> tuple[tuple[ProgramAction, ...], ActionChoice]:
    """Return what a model may call in the next step, and whether it must."""
    steps_left = program.limits.steps - len(progress.generations)
    missing = _missing(program, progress)
    if missing and steps_left <= _HURRY_STEPS:
        return missing, ActionChoice.REQUIRED
    offered = tuple(
        action
        for action in program.actions
        if action.approval == "allow"
        and has_calls_left(action, progress.allowed_count(action.name))
    )
    if missing:
        return offered, ActionChoice.REQUIRED
    # In the last step a call would leave no step for the answer.
    if offered and steps_left > 1:
        return offered, ActionChoice.AUTO
    return (), ActionChoice.NONE


def _missing(program: Program, progress: Progress) -> tuple[ProgramAction, ...]:
    return tuple(
        action
        for action in program.actions
        if action.required and not progress.has_done(action.name)
    )
