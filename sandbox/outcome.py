"""What comes of executing code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from chassis.canonical import Json


class Reason(StrEnum):
    """Why code did not come to its end."""

    # It raised an exception.
    CODE_FAILED = "CODE_FAILED"
    # It does not compile, or does not have the action.
    CODE_INVALID = "CODE_INVALID"
    FUEL_EXHAUSTED = "FUEL_EXHAUSTED"
    TIME_EXCEEDED = "TIME_EXCEEDED"
    MEMORY_EXHAUSTED = "MEMORY_EXHAUSTED"
    STACK_EXHAUSTED = "STACK_EXHAUSTED"
    OUTPUT_EXCEEDED = "OUTPUT_EXCEEDED"
    ARGUMENTS_EXCEEDED = "ARGUMENTS_EXCEEDED"
    HOST_CALLS_EXCEEDED = "HOST_CALLS_EXCEEDED"
    # It did what nobody may: it asked for what the sandbox does not have.
    TRAPPED = "TRAPPED"
    # Its worker died, and another one as well.
    WORKER_LOST = "WORKER_LOST"


@dataclass(frozen=True)
class Frame:
    """A line of the author that an exception came through, outermost first."""

    file: str
    line: int
    column: int
    function: str


@dataclass(frozen=True)
class Outcome:
    """How an execution ended: with a value, or with a reason and what is known of it."""

    value: Json = None
    reason: Reason | None = None
    message: str = ""
    frames: tuple[Frame, ...] = ()
    # Instructions of WebAssembly; all that it had where it was stopped.
    fuel: int = 0
    logs: tuple[str, ...] = ()
    # Lines that were dropped, since there were too many.
    logs_dropped: int = 0


@dataclass(frozen=True)
class Described:
    """An action as its function describes it; schemas are JSON Schema, draft 2020-12."""

    name: str
    description: str
    capabilities: tuple[str, ...]
    parameters_schema: Mapping[str, Json]
    output_schema: Mapping[str, Json]
    line: int


@dataclass(frozen=True)
class Flaw:
    """What is wrong with code; `kind` is `syntax`, `import`, `schema` or `failed`."""

    kind: str
    message: str
    file: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Examined:
    """What code says of itself, or everything that is wrong with it."""

    actions: tuple[Described, ...] = ()
    flaws: tuple[Flaw, ...] = ()
    fuel: int = 0
