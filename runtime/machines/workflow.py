"""The steps of a workflow: each begins once all that it needs are over, many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import JsonValue, TypeAdapter, ValidationError

from ..conversation import ActionChoice, converse, corrections
from ..facts import (
    ActionCall,
    ActionDecided,
    EndDecided,
    Event,
    Failure,
    GenerationFinished,
    Outcome,
    SleepStarted,
    State,
)
from ..frozen import replace
from ..jsontext import read_json, write_json
from ..program import Program
from ..workflow import Step, evaluate, resolve
from .calls import Call, Calls
from .effects import Effect, Generate, Sleep
from .life import Life
from .steps import Board, Turn, attempts_of, board_of, values_of, wait_seconds


@dataclass(frozen=True)
class WorkflowProgress:
    """How far the run of a workflow has come: nothing else than the fold of its journal."""

    life: Life = field(default_factory=Life)
    calls: Calls = field(default_factory=Calls)
    generations: tuple[GenerationFinished, ...] = ()


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
            return self._follow_failure(state, board, board.failure, now)
        under_way = {one.call.id for one in calls.open}
        attempts = attempts_of(calls)
        for turn in board.ready:
            tried = attempts.get(turn.key, ())
            call = _call(turn.key, turn.step.action, tried, turn.arguments)
            if not turn.step.action or call.id in under_way:
                continue
            if call.id not in calls.later and (seconds := wait_seconds(turn.step, tried)):
                return SleepStarted(call.id, now + timedelta(seconds=seconds))
            if now >= calls.later.get(call.id, now):
                return self._begin(state, call, now)
        return None if board.ready else EndDecided(self._outcome(state, board))

    def _begin(self, state: WorkflowProgress, call: ActionCall, now: datetime) -> Event | None:
        made = state.calls.made((call,))
        return made.follow(self._program, now, dry_run=state.life.dry_run)

    def _follow_failure(
        self, state: WorkflowProgress, board: Board, failure: Failure, now: datetime
    ) -> Event | None:
        """Undo what was done, the last first and one at a time, if that is wanted; then end."""
        lasting: list[str] = []
        if board.compensates:
            if state.calls.open:
                return None
            attempts = attempts_of(state.calls)
            for step in self._to_undo(state):
                assert step.undo is not None, "it is to be undone"
                key = f"{step.id}.undo"
                tried = attempts.get(key, ())
                if not tried:
                    arguments = resolve(step.undo.arguments, self._all_values(state, board))
                    return self._begin(state, _call(key, step.undo.action, (), arguments), now)
                if tried[-1].finished and tried[-1].finished.reason:
                    lasting.append(step.id)
        if lasting:
            told = f"{failure.message}; what could not be undone: {', '.join(lasting)}"
            failure = replace(failure, message=told)
        return EndDecided(Outcome(State.FAILED, failure=failure))

    def _to_undo(self, state: WorkflowProgress) -> list[Step]:
        """Return the steps that have succeeded and can be undone, the last one first."""
        steps = {step.id: step for step in self._workflow.steps if step.undo}
        done = [
            one.call.id.rpartition("-")[0]
            for one in state.calls.done
            if one.finished and not one.finished.reason
        ]
        return [steps[key] for key in dict.fromkeys(reversed(done)) if key in steps]

    def _all_values(self, state: WorkflowProgress, board: Board) -> JsonValue:
        return values_of(read_json(state.life.input), board.outputs)

    def wanted(self, state: WorkflowProgress) -> tuple[Effect, ...]:
        """Return what may be under way; see `Machine`."""
        ending = state.life.ending
        acts = (*state.calls.wanted(self._program, is_ending=ending is not None),)
        if ending:
            return acts or (state.calls.close(ending),)
        board = self._board(state)
        if board.failure:
            return acts
        writing = (turn for turn in board.ready if turn.step.instructions)
        return (
            *acts,
            *(Sleep(call_id, until) for call_id, until in state.calls.later.items()),
            *map(self._generate, writing),
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

    def _board(self, state: WorkflowProgress) -> Board:
        texts = {one.step: one.text for one in state.generations}
        return board_of(self._workflow, read_json(state.life.input), state.calls, texts)

    def _generate(self, turn: Turn) -> Generate:
        program, step = self._program, turn.step
        instructions = f"{program.instructions}\n\n{step.instructions}"
        schema = write_json(step.output_schema) if step.output_schema else ""
        if schema:
            instructions += f"\n\nAnswer with one JSON object that fits this schema: {schema}"
        material = write_json(dict(turn.arguments)) if turn.arguments else '""'
        tokens_max = program.model.tokens_max
        if output_max := program.limits.output_tokens:
            # They may write at once, so each has its share.
            tokens_max = max(1, min(tokens_max, output_max // self._workflow.generations_max))
        seed = program.model.seed + turn.number
        return Generate(
            step=turn.number,
            model=replace(program.model, seed=seed, tokens_max=tokens_max),
            messages=(*converse(instructions, (), material, ()), *corrections(*turn.misfit)),
            actions=(),
            choice=ActionChoice.NONE,
            answer_schema=schema,
        )

    def _outcome(self, state: WorkflowProgress, board: Board) -> Outcome:
        for action in self._program.actions:
            if action.required and action.name not in state.calls.succeeded:
                told = f"{action.name} is required, and no step of it succeeded"
                return Outcome(State.FAILED, failure=Failure("ACTION_MISSING", told))
        values = values_of(read_json(state.life.input), board.outputs)
        output = evaluate(self._workflow.output, values)
        answer = output.strip() if isinstance(output, str) else write_json(output)
        if output is None or not answer:
            told = "the output of the workflow is empty; change `output`, or a step before it"
            return Outcome(State.FAILED, failure=Failure("ANSWER_MISSING", told))
        return Outcome(State.SUCCEEDED, answer)


def _call(
    key: str, action: str, tried: Sequence[Call], arguments: Mapping[str, JsonValue]
) -> ActionCall:
    """Return the next call of a step or an item: the first is `fetch-1`, or `fetch.0-1`."""
    return ActionCall(f"{key}-{len(tried) + 1}", action, write_json(dict(arguments)))


_PROGRESS = TypeAdapter(WorkflowProgress)
