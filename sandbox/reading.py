"""Reads what a worker and the code in it say: nothing in it is trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from .frames import Broken
from .limits import Limits
from .outcome import Described, Examined, Flaw, Frame, Outcome, Reason
from .ports import Asked, Executable, Order

_ACTIONS_MAX = 32
FLAWS_MAX = 32
_TOLD_MAX = 500
# As deep as the SDK writes, with what is around it.
_DEPTH_MAX = 80
# What canonical JSON has no way to write: there, numbers are those of JavaScript.
_INTEGER_MAX = 2**53 - 1

Text = Annotated[str, Field(max_length=65_536)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_.-]{0,63}$")]
# Of one line; a guest may say anything.
Line = Annotated[int, Field(ge=0, le=10**7)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Frame(_Told):
    file: Text
    line: Line | None
    column: Line
    function: Text


class _Error(_Told):
    kind: Text
    message: Text
    frames: Annotated[list[_Frame], Field(max_length=16)] = []


class _Result(_Told):
    value: JsonValue = None
    error: _Error | None = None


class _Action(_Told):
    name: Name
    description: Annotated[str, Field(max_length=16_384)]
    capabilities: Annotated[list[Name], Field(max_length=64)] = []
    parameters_schema: dict[str, JsonValue]
    output_schema: dict[str, JsonValue]
    line: Line = 1


class _Problem(_Told):
    file: Text
    line: Line
    column: Line
    kind: Text
    message: Text


class _Description(_Told):
    actions: Annotated[list[_Action], Field(max_length=_ACTIONS_MAX)] = []
    problems: Annotated[list[_Problem], Field(max_length=_ACTIONS_MAX)] = []
    error: _Error | None = None


class _Asked(_Told):
    action: Name
    arguments: dict[str, JsonValue]


class Done(_Told):
    """What a worker of ours says of the end of an execution."""

    # As JSON has it.
    reason: Annotated[Reason | None, Field(strict=False)] = None
    message: Text = ""
    answer: str = ""
    fuel: Count = 0
    logs: list[str] = []
    logs_dropped: Count = 0
    problems: Annotated[list[_Problem], Field(max_length=FLAWS_MAX)] = []


_ASKED = TypeAdapter(Annotated[list[_Asked], Field(max_length=64)])


def read_asked(body: bytes, limits: Limits) -> list[Asked] | str:
    """Return what code asks for, or what is wrong with that; raise `Broken`."""
    if len(body) > limits.argument_bytes:
        raise Broken(f"a question of {len(body)} bytes")
    try:
        asked = _ASKED.validate_json(body)
        for one in asked:
            _check(one.arguments)
    except ValueError as error:
        return f"a call needs an action and arguments: {_told(error)}"
    return [Asked(one.action, one.arguments) for one in asked]


def read_done(value: object, limits: Limits) -> Done:
    """Return how a worker says that an execution ended; raise `Broken`."""
    try:
        done = Done.model_validate(value)
    except ValidationError as error:
        raise Broken("no end of an execution") from error
    logged = sum(len(line) + 1 for line in done.logs)
    if (
        done.fuel > limits.fuel
        or logged > limits.log_bytes
        or len(done.answer) > limits.output_bytes
    ):
        raise Broken("an execution that went over its limits")
    return done


def read_outcome(told: Done, order: Order) -> Outcome:
    """Return how an execution ended."""
    outcome = Outcome(fuel=told.fuel, logs=(*told.logs,), logs_dropped=told.logs_dropped)
    if told.problems:
        first = told.problems[0]
        message = f"{first.file}:{first.line}: {first.kind}: {first.message}"
        return _failed(outcome, Reason.CODE_INVALID, message)
    if told.reason:
        return _failed(outcome, told.reason, told.message or _ABOUT.get(told.reason, ""))
    try:
        result = _Result.model_validate_json(told.answer)
        _check(result.value)
    except ValueError as problem:
        return _failed(outcome, Reason.CODE_FAILED, f"its result is not JSON: {_told(problem)}")
    if result.error is None:
        return Outcome(
            result.value, fuel=told.fuel, logs=outcome.logs, logs_dropped=outcome.logs_dropped
        )
    error = result.error
    if error.kind == "MemoryError":
        message = f"it needs more than {order.limits.memory_bytes} bytes of memory"
        return _failed(outcome, Reason.MEMORY_EXHAUSTED, message, error)
    return _failed(outcome, Reason.CODE_FAILED, f"{error.kind}: {error.message}", error)


def read_examined(told: Done, code: Executable) -> Examined:
    """Return what code says of itself."""
    if told.problems:
        return Examined(flaws=_flaws(told.problems))
    if told.reason:
        about = told.message or _ABOUT.get(told.reason, told.reason)
        message = f"it was stopped while it was loaded: {about}"
        return Examined(flaws=(Flaw("failed", message, code.main),))
    try:
        found = _Description.model_validate_json(told.answer)
        for one in found.actions:
            _check(one.parameters_schema)
            _check(one.output_schema)
    except ValueError as problem:
        return Examined(flaws=(Flaw("failed", _told(problem), code.main),))
    if error := found.error:
        last = _frames(error)[-1:] or (Frame(code.main, 1, 1, ""),)
        message = f"{error.kind}: {error.message}"
        flaw = Flaw("failed", message, last[0].file, max(1, last[0].line), max(1, last[0].column))
        return Examined(flaws=(flaw,))
    if found.problems:
        return Examined(flaws=_flaws(found.problems))
    actions = [
        Described(
            name=one.name,
            description=one.description,
            capabilities=(*one.capabilities,),
            parameters_schema=one.parameters_schema,
            output_schema=one.output_schema,
            line=one.line,
        )
        for one in found.actions
    ]
    return Examined(actions=(*actions,), fuel=told.fuel)


def _flaws(problems: Sequence[_Problem]) -> tuple[Flaw, ...]:
    return tuple(
        Flaw(one.kind, one.message, one.file, max(1, one.line), max(1, one.column))
        for one in problems
    )


def _check(value: JsonValue, depth: int = 0) -> None:
    """Raise `ValueError` for what is not the same JSON everywhere."""
    if depth > _DEPTH_MAX:
        raise ValueError(f"it is nested deeper than {_DEPTH_MAX}")
    if isinstance(value, int):
        if abs(value) > _INTEGER_MAX:
            raise ValueError("an integer is beyond 2^53: write it as text")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number is not finite")
    elif isinstance(value, list):
        for one in value:
            _check(one, depth + 1)
    elif isinstance(value, dict):
        for one in value.values():
            _check(one, depth + 1)


def _told(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors(include_url=False, include_input=False)[0]["msg"])[:_TOLD_MAX]
    return str(error)


def _failed(outcome: Outcome, reason: Reason, message: str, error: _Error | None = None) -> Outcome:
    return Outcome(
        reason=reason,
        message=message[:4_096],
        frames=_frames(error) if error else (),
        fuel=outcome.fuel,
        logs=outcome.logs,
        logs_dropped=outcome.logs_dropped,
    )


def _frames(error: _Error) -> tuple[Frame, ...]:
    return tuple(Frame(one.file, one.line or 1, one.column, one.function) for one in error.frames)


_ABOUT = {
    Reason.FUEL_EXHAUSTED: "it computed for longer than its fuel lasts",
    Reason.TIME_EXCEEDED: "it took too long",
    Reason.MEMORY_EXHAUSTED: "it needs more memory than it may have",
    Reason.STACK_EXHAUSTED: "it calls itself too deep",
    Reason.OUTPUT_EXCEEDED: "its result is too large",
    Reason.ARGUMENTS_EXCEEDED: "what it is handed, or asks with, is too large",
    Reason.HOST_CALLS_EXCEEDED: "it asks its host too often",
    Reason.TRAPPED: "it asked for what the sandbox does not have",
    Reason.WORKER_LOST: "the worker that executed it died twice",
}
