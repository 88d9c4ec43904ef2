"""What is wrong with the text of a price table, where it is, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

PROBLEMS_MAX = 100
CHARACTERS_MAX = 300


class Code(StrEnum):
    """What kind of problem it is; people search for these."""

    MALFORMED_TEXT = "MALFORMED_TEXT"
    MALFORMED_YAML = "MALFORMED_YAML"
    KEY_INVALID = "KEY_INVALID"  # a key that is not a text
    DUPLICATE_KEY = "DUPLICATE_KEY"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    MISSING_FIELD = "MISSING_FIELD"
    WRONG_TYPE = "WRONG_TYPE"
    INVALID_VALUE = "INVALID_VALUE"
    PROBLEMS_LEFT_OUT = "PROBLEMS_LEFT_OUT"  # says how many more there are


@dataclass(frozen=True)
class Place:
    """A position in a file; line and column count from 1, and are 0 for the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Return it as editors take it."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `field` is empty for the whole file, `fix` if none is known."""

    place: Place
    code: Code
    field: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        """Return it as one line, such as compilers write."""
        line = ": ".join(part for part in (str(self.place), self.field, self.message) if part)
        return f"{line} ({self.fix})" if self.fix else line


class PriceFileInvalid(ValueError):
    """Files are no price table; `problems` are at most `PROBLEMS_MAX`, in their order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "nothing else is invalid"
        self.problems = _shorten(problems)
        super().__init__("\n".join(map(str, self.problems)))


def clip(text: str) -> str:
    """Return a text with what others wrote in it, fit to be shown in one line."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in text[: CHARACTERS_MAX + 1])
    return text if len(text) <= CHARACTERS_MAX else text[: CHARACTERS_MAX - 1] + "…"


def _shorten(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    if len(problems) <= PROBLEMS_MAX:
        return tuple(problems)
    kept = problems[: PROBLEMS_MAX - 1]
    message = f"{len(problems) - len(kept)} more problems are not shown; correct these first"
    return *kept, Problem(kept[-1].place, Code.PROBLEMS_LEFT_OUT, "", message)
