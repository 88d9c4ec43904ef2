"""The steps of a workflow: each begins once all that it needs are over, many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import JsonValue, TypeAdapter, ValidationError

from chassis.expressions import is_true

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
    SleepStarted,
    State,
)
from ..jsontext import read_json, write_json
from ..program import Program
from ..workflow import ITEMS_MAX, Step, evaluate, resolve
from .calls import Call, Calls
from .effects import Effect, Generate, Sleep
from .life import Life


@dataclass(frozen=True)
class WorkflowProgress:
    """How far the run of a workflow has come: nothing else than the fold of its journal."""

    life: Life = field(default_factory=Life)
    calls: Calls = field(default_factory=Calls)
    generations: tuple[GenerationFinished, ...] = ()


@dataclass(frozen=True)
class _Turn:
    """What may begin: a step, or one item of it; its calls are named after the key."""

    number: int
    step: Step
    key: str
    arguments: Mapping[str, JsonValue]


@dataclass(frozen=True)
class _Board:
    """Which steps are over, with their outputs, and what may begin."""

    outputs: Mapping[str, JsonValue]
    ready: tuple[_Turn, ...]
    failure: Failure | None
    # Whether what was done is to be undone before the run ends with the failure.
    compensates: bool = False


@dataclass(frozen=True)
class _Done:
    """What a step, or an item of it, has come to."""

    output: JsonValue = None
    failure: Failure | None = None


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
        attempts = _attempts(calls)
        for turn in board.ready:
            tried = attempts.get(turn.key, ())
            call = _call(turn.key, turn.step.action, tried, turn.arguments)
            if not turn.step.action or call.id in under_way:
                continue
            if call.id not in calls.later and (seconds := _wait_seconds(turn.step, tried)):
                return SleepStarted(call.id, now + timedelta(seconds=seconds))
            if now >= calls.later.get(call.id, now):
                return self._begin(state, call, now)
        return None if board.ready else EndDecided(self._outcome(state, board))

    def _begin(self, state: WorkflowProgress, call: ActionCall, now: datetime) -> Event | None:
        made = state.calls.made((call,))
        return made.follow(self._program, now, dry_run=state.life.dry_run)

    def _follow_failure(
        self, state: WorkflowProgress, board: _Board, failure: Failure, now: datetime
    ) -> Event | None:
        """Undo what was done, the last first and one at a time, if that is wanted; then end."""
        lasting: list[str] = []
        if board.compensates:
            if state.calls.open:
                return None
            attempts = _attempts(state.calls)
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

    def _all_values(self, state: WorkflowProgress, board: _Board) -> JsonValue:
        return _values(read_json(state.life.input), board.outputs)

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
            *(self._generate(turn.number, turn.step, turn.arguments) for turn in writing),
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
        ready: list[_Turn] = []
        failure: Failure | None = None
        compensates = False
        texts = {one.step: one.text for one in state.generations}
        attempts = _attempts(state.calls)
        # It may be large, and is the same for all.
        given = read_json(state.life.input)
        for number, step in enumerate(self._workflow.steps, start=1):
            if not step.needs <= outputs.keys():
                continue
            values = _values(given, {one: outputs[one] for one in step.needs})
            if not step.happens(values):
                outputs[step.id] = None
            elif step.instructions and number in texts:
                outputs[step.id] = {"text": texts[number]}
            elif step.instructions:
                ready.append(_Turn(number, step, step.id, step.resolve(values)))
            else:
                done, turns = _do(number, step, values, attempts)
                ready += turns
                if done and done.failure:
                    compensates = compensates or step.on_failure.compensates
                    failure = failure or done.failure
                elif done:
                    outputs[step.id] = done.output
        return _Board(outputs, tuple(ready), failure, compensates)

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
        values = _values(read_json(state.life.input), board.outputs)
        output = evaluate(self._workflow.output, values)
        answer = output.strip() if isinstance(output, str) else write_json(output)
        if output is None or not answer:
            told = "the output of the workflow is empty; change `output`, or a step before it"
            return Outcome(State.FAILED, failure=Failure("ANSWER_MISSING", told))
        return Outcome(State.SUCCEEDED, answer)


def _values(given: JsonValue, outputs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        "input": given,
        "steps": {name: {"output": output} for name, output in outputs.items()},
    }


def _call(
    key: str, action: str, tried: Sequence[Call], arguments: Mapping[str, JsonValue]
) -> ActionCall:
    """Return the next call of a step or an item: the first is `fetch-1`, or `fetch.0-1`."""
    return ActionCall(f"{key}-{len(tried) + 1}", action, write_json(dict(arguments)))


def _wait_seconds(step: Step, tried: Sequence[Call]) -> int:
    """Return how long to wait before the next try, if the last one has failed."""
    has_failed = tried and tried[-1].finished and tried[-1].finished.reason
    return step.on_failure.wait_seconds(_failures(tried)) if has_failed else 0


def _failures(tried: Sequence[Call]) -> int:
    return sum(bool(one.finished and one.finished.reason) for one in tried)


def _attempts(calls: Calls) -> Mapping[str, Sequence[Call]]:
    """Return the calls that are done, by what they are named after."""
    found: dict[str, list[Call]] = {}
    for one in calls.done:
        found.setdefault(one.call.id.rpartition("-")[0], []).append(one)
    return found


def _do(
    number: int,
    step: Step,
    values: dict[str, JsonValue],
    attempts: Mapping[str, Sequence[Call]],
) -> tuple[_Done | None, list[_Turn]]:
    """Return what a step has come to, and what of it may begin or is under way."""
    if not step.each:
        done = _come_to(step, step.id, values, attempts)
        turn = _Turn(number, step, step.id, step.resolve(values))
        return (done, []) if done else (None, [turn])
    items = evaluate(step.each, values)
    if not isinstance(items, list) or len(items) > ITEMS_MAX:
        told = f"step {step.id}: `each` is no list of at most {ITEMS_MAX}"
        return _Done(failure=Failure("STEP_INVALID", told)), []
    dones: list[_Done] = []
    turns: list[_Turn] = []
    for index, item in enumerate(items):
        own = {**values, "item": item, "index": index}
        key = f"{step.id}.{index}"
        if done := _come_to(step, key, own, attempts):
            dones.append(done)
        elif len(turns) < step.parallel:
            turns.append(_Turn(number, step, key, step.resolve(own)))
    failed = next((done for done in dones if done.failure), None)
    if failed or len(dones) == len(items):
        return failed or _Done([done.output for done in dones]), []
    return None, turns


def _come_to(
    step: Step,
    key: str,
    values: dict[str, JsonValue],
    attempts: Mapping[str, Sequence[Call]],
) -> _Done | None:
    """Return what a step, or an item of it, ends with; None while it may be tried again.

    What was denied stays denied, and what may have happened is not repeated.
    """
    tried = attempts.get(key, ())
    if not tried:
        return None
    last, failures = tried[-1], _failures(tried)
    assert last.finished is not None, "only what is done is an attempt"
    if not last.finished.reason:
        output = read_json(last.finished.result)
        if step.repeat is None or _holds(step, step.repeat.until, values, output):
            return _Done(output)
        if len(tried) - failures < step.repeat.most:
            return None
        told = f"step {step.id}: `until` does not hold after {step.repeat.most} times"
        return _failed(step, Failure("REPEATS_EXCEEDED", told))
    is_denied = last.decided is not None and last.decided.decision == Decision.DENY
    if not (last.is_lost or is_denied) and failures <= step.on_failure.retries:
        return None
    told = f"step {step.id} failed: {last.finished.result}"
    return _failed(step, Failure(last.finished.reason, told))


def _holds(step: Step, until: str, values: dict[str, JsonValue], output: JsonValue) -> bool:
    others = values["steps"]
    assert isinstance(others, Mapping), "values were made here"
    own = {**values, "steps": {**others, step.id: {"output": output}}}
    return is_true(evaluate(until, own))


def _failed(step: Step, failure: Failure) -> _Done:
    if step.on_failure.continues:
        return _Done(step.on_failure.default)
    return _Done(failure=failure)


_PROGRESS = TypeAdapter(WorkflowProgress)
