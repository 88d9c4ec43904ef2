"""What has become of the steps of a workflow, and what of them may begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from chassis.expressions import is_true

from ..facts import Decision, Failure
from ..jsontext import read_json
from ..workflow import ITEMS_MAX, Step, Workflow, evaluate
from .calls import Call, Calls


@dataclass(frozen=True)
class Turn:
    """What may begin: a step, or one item of it; its calls are named after the key.

    `misfit` is the last answer of the model, with why it is asked again; empty if it is not.
    """

    number: int
    step: Step
    key: str
    arguments: Mapping[str, JsonValue]
    misfit: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Board:
    """Which steps are over, with their outputs, and what may begin."""

    outputs: Mapping[str, JsonValue]
    ready: tuple[Turn, ...]
    failure: Failure | None
    # Whether what was done is to be undone before the run ends with the failure.
    compensates: bool = False


@dataclass(frozen=True)
class _Done:
    """What a step, or an item of it, has come to."""

    output: JsonValue = None
    failure: Failure | None = None


def board_of(workflow: Workflow, given: JsonValue, calls: Calls, texts: Mapping[int, str]) -> Board:
    """Return how far a workflow has come; `texts` are the answers of the model by their numbers."""
    outputs: dict[str, JsonValue] = {}
    ready: list[Turn] = []
    failure: Failure | None = None
    compensates = False
    attempts = attempts_of(calls)
    for number, step in enumerate(workflow.steps, start=1):
        if not step.needs <= outputs.keys():
            continue
        values = values_of(given, {one: outputs[one] for one in step.needs})
        if not step.happens(values):
            outputs[step.id] = None
            continue
        if step.instructions:
            done, turns = _write(number, len(workflow.steps), step, values, texts)
        else:
            done, turns = _do(number, step, values, attempts)
        ready += turns
        if done and done.failure:
            compensates = compensates or step.on_failure.compensates
            failure = failure or done.failure
        elif done:
            outputs[step.id] = done.output
    return Board(outputs, tuple(ready), failure, compensates)


def values_of(given: JsonValue, outputs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what expressions look at."""
    return {
        "input": given,
        "steps": {name: {"output": output} for name, output in outputs.items()},
    }


def attempts_of(calls: Calls) -> Mapping[str, Sequence[Call]]:
    """Return the calls that are done, by what they are named after."""
    found: dict[str, list[Call]] = {}
    for one in calls.done:
        found.setdefault(one.call.id.rpartition("-")[0], []).append(one)
    return found


def wait_seconds(step: Step, tried: Sequence[Call]) -> int:
    """Return how long to wait before the next try, if the last one has failed."""
    has_failed = tried and tried[-1].finished and tried[-1].finished.reason
    return step.on_failure.wait_seconds(_failures(tried)) if has_failed else 0


def _write(
    number: int,
    count: int,
    step: Step,
    values: dict[str, JsonValue],
    texts: Mapping[int, str],
) -> tuple[_Done | None, list[Turn]]:
    """Return what a step of the model has come to; each further try has a number of its own."""
    misfit = "", ""
    for attempt in range(step.on_failure.retries + 1):
        number_now = number + attempt * count
        if number_now not in texts:
            return None, [Turn(number_now, step, step.id, step.resolve(values), misfit)]
        text = texts[number_now]
        if not step.output_schema:
            return _Done({"text": text}), []
        output, told = step.read_answer(text)
        if not told:
            return _Done(output), []
        misfit = text, told
    told = f"step {step.id}: the answer of the model does not fit `output`: {misfit[1]}"
    return _failed(step, Failure("OUTPUT_INVALID", told)), []


def _do(
    number: int,
    step: Step,
    values: dict[str, JsonValue],
    attempts: Mapping[str, Sequence[Call]],
) -> tuple[_Done | None, list[Turn]]:
    """Return what a step has come to, and what of it may begin or is under way."""
    if not step.each:
        done = _come_to(step, step.id, values, attempts)
        turn = Turn(number, step, step.id, step.resolve(values))
        return (done, []) if done else (None, [turn])
    items = evaluate(step.each, values)
    if not isinstance(items, list) or len(items) > ITEMS_MAX:
        told = f"step {step.id}: `each` is no list of at most {ITEMS_MAX}"
        return _Done(failure=Failure("STEP_INVALID", told)), []
    dones: list[_Done] = []
    turns: list[Turn] = []
    for index, item in enumerate(items):
        own = {**values, "item": item, "index": index}
        key = f"{step.id}.{index}"
        if done := _come_to(step, key, own, attempts):
            dones.append(done)
        elif len(turns) < step.parallel:
            turns.append(Turn(number, step, key, step.resolve(own)))
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


def _failures(tried: Sequence[Call]) -> int:
    return sum(bool(one.finished and one.finished.reason) for one in tried)
