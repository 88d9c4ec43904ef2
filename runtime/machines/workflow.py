"""The steps of a workflow: each begins once all that it needs are over, many at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import JsonValue, TypeAdapter, ValidationError

from ..conversation import ActionChoice, converse
from ..facts import (
    ActionCall,
    ActionDecided,
    Decision,
    EndDecided,
    Event,
    Failure,
    GenerationFinished,
    Outcome,
    State,
)
from ..jsontext import read_json, write_json
from ..program import Program
from ..workflow import Step, evaluate
from .calls import Call, Calls
from .effects import Effect, Generate
from .life import Life


@dataclass(frozen=True)
class WorkflowProgress:
    """How far the run of a workflow has come: nothing else than the fold of its journal."""

    life: Life = field(default_factory=Life)
    calls: Calls = field(default_factory=Calls)
    generations: tuple[GenerationFinished, ...] = ()


@dataclass(frozen=True)
class _Board:
    """Which steps are over, with their outputs, and which may begin, with their arguments."""

    outputs: Mapping[str, JsonValue]
    ready: tuple[tuple[int, Step, Mapping[str, JsonValue]], ...]
    failure: Failure | None


class WorkflowMachine:
    """A `Machine`; see there."""

    def __init__(self, program: Program) -> None:
        assert program.workflow is not None, "an agent without a workflow is a loop"
        self._program = program
        self._workflow = program.workflow

    def begin(self) -> WorkflowProgress:
        """Return the state before the first event."""
        return WorkflowProgress()

    def apply(self, state: WorkflowProgress, event: Event) -> WorkflowProgress:
        """Return the state after one more event."""
        calls = state.calls
        match event:
            case GenerationFinished():
                # What a model wishes to call in an answer, nobody has offered it.
                return replace(state, generations=(*state.generations, event))
            case ActionDecided(call=call) if all(one.call.id != call.id for one in calls.open):
                calls = calls.made((call,))
            case _:
                pass
        return replace(state, life=state.life.apply(event), calls=calls.apply(event))

    def follow(self, state: WorkflowProgress, now: datetime) -> Event | None:
        """Return the next fact that follows from a state; see `Machine`."""
        life, calls = state.life, state.calls
        if life.finished or life.ending:
            return None
        if ends := life.follow():
            return ends
        if fact := calls.follow(self._program, now, dry_run=life.dry_run):
            return fact
        board = self._board(state)
        if board.failure:
            return EndDecided(Outcome(State.FAILED, failure=board.failure))
        under_way = {one.call.id for one in calls.open}
        for _, step, arguments in board.ready:
            call = _call(step, calls, arguments)
            if step.action and call.id not in under_way:
                made = calls.made((call,))
                return made.follow(self._program, now, dry_run=life.dry_run)
        return None if board.ready else EndDecided(self._outcome(state, board))

    def wanted(self, state: WorkflowProgress) -> tuple[Effect, ...]:
        """Return what may be under way; see `Machine`."""
        ending = state.life.ending
        acts = (*state.calls.wanted(self._program, is_ending=ending is not None),)
        if ending:
            return acts or (state.calls.close(ending),)
        board = self._board(state)
        return (
            *acts,
            *(
                self._generate(number, step, arguments)
                for number, step, arguments in board.ready
                if step.instructions
            ),
        )

    def encode(self, state: WorkflowProgress) -> bytes:
        """Return a state as text."""
        return _PROGRESS.dump_json(state)

    def decode(self, text: bytes) -> WorkflowProgress | None:
        """Return the state that `encode` was given; None if that was another release."""
        try:
            return _PROGRESS.validate_json(text)
        except ValidationError:
            return None

    def _board(self, state: WorkflowProgress) -> _Board:
        outputs: dict[str, JsonValue] = {}
        ready: list[tuple[int, Step, Mapping[str, JsonValue]]] = []
        failure: Failure | None = None
        texts = {one.step: one.text for one in state.generations}
        for number, step in enumerate(self._workflow.steps, start=1):
            if not step.needs <= outputs.keys():
                continue
            values = _values(state.life.input, {one: outputs[one] for one in step.needs})
            if not step.happens(values):
                outputs[step.id] = None
            elif step.instructions and number in texts:
                outputs[step.id] = {"text": texts[number]}
            elif step.action and (last := _last(step, state.calls)):
                assert last.finished is not None, "only what is done is over"
                if not last.finished.reason:
                    outputs[step.id] = read_json(last.finished.result)
                elif step.on_failure.continues:
                    outputs[step.id] = step.on_failure.default
                else:
                    told = f"step {step.id} failed: {last.finished.result}"
                    failure = failure or Failure(last.finished.reason, told)
            else:
                ready.append((number, step, step.resolve(values)))
        return _Board(outputs, tuple(ready), failure)

    def _generate(self, number: int, step: Step, arguments: Mapping[str, JsonValue]) -> Generate:
        program = self._program
        instructions = f"{program.instructions}\n\n{step.instructions}"
        material = write_json(dict(arguments)) if arguments else '""'
        tokens_max = program.model.tokens_max
        if output_max := program.limits.output_tokens:
            # They may write at once, so each has its share.
            count = sum(bool(one.instructions) for one in self._workflow.steps)
            tokens_max = max(1, min(tokens_max, output_max // count))
        return Generate(
            step=number,
            model=replace(program.model, seed=program.model.seed + number, tokens_max=tokens_max),
            messages=converse(instructions, (), material, ()),
            actions=(),
            choice=ActionChoice.NONE,
        )

    def _outcome(self, state: WorkflowProgress, board: _Board) -> Outcome:
        for action in self._program.actions:
            if action.required and action.name not in state.calls.succeeded:
                told = f"{action.name} is required, and no step of it succeeded"
                return Outcome(State.FAILED, failure=Failure("ACTION_MISSING", told))
        values = _values(state.life.input, board.outputs)
        output = evaluate(self._workflow.output, values)
        answer = output.strip() if isinstance(output, str) else write_json(output)
        if output is None or not answer:
            told = "the output of the workflow is empty; change `output`, or a step before it"
            return Outcome(State.FAILED, failure=Failure("ANSWER_MISSING", told))
        return Outcome(State.SUCCEEDED, answer)


def _values(input_json: str, outputs: Mapping[str, JsonValue]) -> JsonValue:
    return {
        "input": read_json(input_json),
        "steps": {name: {"output": output} for name, output in outputs.items()},
    }


def _call(step: Step, calls: Calls, arguments: Mapping[str, JsonValue]) -> ActionCall:
    """Return the next call of a step: the first is `fetch-1`."""
    return ActionCall(
        f"{step.id}-{len(_attempts(step, calls)) + 1}", step.action, write_json(dict(arguments))
    )


def _attempts(step: Step, calls: Calls) -> list[Call]:
    return [one for one in calls.done if one.call.id.rpartition("-")[0] == step.id]


def _last(step: Step, calls: Calls) -> Call | None:
    """Return the call that a step ends with; None while one is open or may be tried again.

    What was denied stays denied, and what may have happened is not repeated.
    """
    attempts = _attempts(step, calls)
    if not attempts:
        return None
    last = attempts[-1]
    assert last.finished is not None, "only what is done is an attempt"
    is_final = (
        not last.finished.reason
        or last.is_lost
        or (last.decided is not None and last.decided.decision == Decision.DENY)
        or len(attempts) > step.on_failure.retries
    )
    return last if is_final else None


_PROGRESS = TypeAdapter(WorkflowProgress)
