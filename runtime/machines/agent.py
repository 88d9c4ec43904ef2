"""The loop of an agent: a model is asked, its calls happen, until it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from ..conversation import ActionChoice, Exchange, converse, input_text
from ..facts import (
    UNKNOWN,
    Decision,
    EndDecided,
    Event,
    Failure,
    GenerationFinished,
    KnowledgeRetrieved,
    Outcome,
    Passage,
    State,
)
from ..frozen import replace
from ..policy import has_calls_left
from ..program import ModelChoice, Program, ProgramAction
from .calls import Calls
from .effects import Effect, Generate, Retrieve
from .life import Life, is_of_life

# That many steps before the last one, a model is only offered what it still has to do.
_HURRY_STEPS = 2
_QUERY_CHARACTERS_MAX = 4_096
_OUTPUTS = ("output_tokens", "reasoning_tokens")


@dataclass(frozen=True)
class AgentProgress:
    """How far the run of an agent has come: nothing else than the fold of its journal."""

    life: Life = field(default_factory=Life)
    calls: Calls = field(default_factory=Calls)
    passages: tuple[Passage, ...] | None = None
    generations: tuple[GenerationFinished, ...] = ()
    # That the model has written.
    output_tokens: int = 0


class AgentLoop:
    """A `Machine`; see there."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def begin(self) -> AgentProgress:
        """Return the state before the first event."""
        return AgentProgress()

    def apply(self, state: AgentProgress, event: Event) -> AgentProgress:
        """Return the state after one more event."""
        assert state.life.finished is None, "nothing happens after the end of a run"
        match event:
            case KnowledgeRetrieved():
                return replace(state, passages=event.passages)
            case GenerationFinished():
                assert not state.calls.open, "a model is not asked while a call is open"
                assert event.step == len(state.generations) + 1, "steps have no gaps"
                return replace(
                    state,
                    generations=(*state.generations, event),
                    output_tokens=state.output_tokens + _output_tokens(event),
                    calls=state.calls.made(event.calls),
                )
            case _ if is_of_life(event):
                return replace(state, life=state.life.apply(event))
            case _:
                return replace(state, calls=state.calls.apply(event))

    def follow(self, state: AgentProgress, now: datetime) -> Event | None:
        """Return the next fact that follows from a state; see `Machine`."""
        life = state.life
        if life.finished or life.ending:
            return None
        if ends := life.follow():
            return ends
        if state.calls.open:
            return state.calls.follow(self._program, now, dry_run=life.dry_run)
        outcome = self._outcome(state)
        return EndDecided(outcome) if outcome else None

    def wanted(self, state: AgentProgress) -> tuple[Effect, ...]:
        """Return what may be under way; see `Machine`."""
        ending = state.life.ending
        acts = (*state.calls.wanted(self._program, is_ending=ending is not None),)
        if acts:
            return acts
        if ending:
            return (state.calls.close(ending),)
        if state.calls.open:
            return ()
        return (self._next(state),)

    def encode(self, state: AgentProgress) -> bytes:
        """Return a state as text."""
        return _PROGRESS.dump_json(state)

    def decode(self, text: bytes) -> AgentProgress | None:
        """Return the state that `encode` was given; None if that was another release."""
        try:
            return _PROGRESS.validate_json(text)
        except ValidationError:
            return None

    def _next(self, state: AgentProgress) -> Retrieve | Generate:
        program = self._program
        if self._has_to_retrieve(state):
            query = input_text(state.life.input).strip() or program.instructions
            return Retrieve(query[:_QUERY_CHARACTERS_MAX])
        results = {one.call.id: one.finished for one in state.calls.done}
        exchanges = [
            Exchange(
                generation,
                tuple(result for call in generation.calls if (result := results[call.id])),
            )
            for generation in state.generations
        ]
        actions, choice = self._offer(state)
        step = len(state.generations) + 1
        return Generate(
            step=step,
            model=self._model(state, step),
            messages=converse(
                program.instructions, state.passages or (), state.life.input, exchanges
            ),
            actions=actions,
            choice=choice,
        )

    def _model(self, state: AgentProgress, step: int) -> ModelChoice:
        """Return the model of a step, which writes no more than the run may."""
        model = self._program.model
        tokens_max = model.tokens_max
        if output_max := self._program.limits.output_tokens:
            tokens_max = min(tokens_max, output_max - state.output_tokens)
        # With the same dice at each step, a small model would repeat itself.
        return replace(model, seed=model.seed + step, tokens_max=tokens_max)

    def _has_to_retrieve(self, state: AgentProgress) -> bool:
        program = self._program
        return bool(state.passages is None and program.knowledge and program.limits.passages)

    def _outcome(self, state: AgentProgress) -> Outcome | None:
        """Return how the run ends, if the last generation and its calls end it."""
        if self._has_to_retrieve(state):
            return None
        missing = self._missing(state)
        unknown = {one.call.action for one in state.calls.done if one.is_lost}
        for action in missing:
            # The model would repeat it, and nobody knows whether it has happened.
            if action.name in unknown or not has_calls_left(
                action, state.calls.allowed.get(action.name, 0)
            ):
                return Outcome(State.FAILED, failure=_failure_of(action, state))
        if not missing and state.generations and not state.generations[-1].calls:
            answer = state.generations[-1].text.strip()
            if answer:
                return Outcome(State.SUCCEEDED, answer)
            told = "the model ended without an answer; raise tokens_max or change the instructions"
            return Outcome(State.FAILED, failure=Failure("ANSWER_MISSING", told))
        steps_max = self._program.limits.steps
        if len(state.generations) >= steps_max:
            told = f"no answer after {steps_max} steps; raise limits.steps"
            return Outcome(State.FAILED, failure=Failure("STEPS_EXCEEDED", told))
        output_max = self._program.limits.output_tokens
        if 0 < output_max <= state.output_tokens:
            told = f"no answer within {output_max} tokens; raise limits.output_tokens"
            return Outcome(State.FAILED, failure=Failure("OUTPUT_EXCEEDED", told))
        return None

    def _offer(self, state: AgentProgress) -> tuple[tuple[ProgramAction, ...], ActionChoice]:
        """Return what a model may call in the next step, and whether it must."""
        steps_left = self._program.limits.steps - len(state.generations)
        missing = self._missing(state)
        if missing and steps_left <= _HURRY_STEPS:
            return missing, ActionChoice.REQUIRED
        offered = tuple(
            action
            for action in self._program.actions
            if action.approval != "deny"
            and has_calls_left(action, state.calls.allowed.get(action.name, 0))
        )
        if missing:
            return offered, ActionChoice.REQUIRED
        # In the last step a call would leave no step for the answer.
        if offered and steps_left > 1:
            return offered, ActionChoice.AUTO
        return (), ActionChoice.NONE

    def _missing(self, state: AgentProgress) -> tuple[ProgramAction, ...]:
        return tuple(
            action
            for action in self._program.actions
            if action.required and action.name not in state.calls.succeeded
        )


def _output_tokens(event: GenerationFinished) -> int:
    return sum(usage.amount for usage in event.usages if usage.meter in _OUTPUTS)


def _failure_of(action: ProgramAction, state: AgentProgress) -> Failure:
    """Return why a required action that has no calls left did not succeed: its last refusal."""
    last = next(
        one.finished
        for one in reversed(state.calls.done)
        if one.call.action == action.name
        and one.decided
        and one.decided.decision != Decision.DENY
        and one.finished
    )
    why = "may have happened" if last.reason == UNKNOWN else "failed, and has no calls left"
    message = f"{action.name} is required, {why}: {last.result}"
    return Failure(last.reason, message)


_PROGRESS = TypeAdapter(AgentProgress)
