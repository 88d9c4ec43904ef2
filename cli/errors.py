"""What a command says when it cannot do what was asked: a sentence, a code, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command tells the shell."""

    DONE = 0
    RUN_FAILED = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a manifest; line and column count from 1, 0 is no place."""

    severity: str
    code: str
    file: str
    line: int
    column: int
    field: str
    message: str
    fix: str


@dataclass(eq=False)
class CommandError(Exception):
    """An operating error; `reason` is a stable code, `fix` the way out, `field` a path if any."""

    message: str
    reason: str
    exit_code: ExitCode = ExitCode.BAD_INPUT
    field: str = ""
    fix: str = ""
    problems: Sequence[Problem] = ()

    def __str__(self) -> str:
        """Return the message."""
        return self.message
