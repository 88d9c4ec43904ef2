"""What can be wrong with a document that people write, where it is, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from .canonical import Json

PROBLEMS_MAX = 100
# Among more names nothing is suggested: a document could ask for a hundred million comparisons.
NAMES_MAX = 200


class Severity(Enum):
    """Whether the document can be used all the same."""

    WARNING = auto()
    ERROR = auto()


class Flaw(StrEnum):
    """The codes of problems that a document of any sort can have; they are stable."""

    # The text.
    MALFORMED_TEXT = "MALFORMED_TEXT"  # not UTF-8, or control characters
    MALFORMED_YAML = "MALFORMED_YAML"
    MULTIPLE_DOCUMENTS = "MULTIPLE_DOCUMENTS"
    ALIAS_FORBIDDEN = "ALIAS_FORBIDDEN"  # anchors, aliases and merge keys
    TAG_FORBIDDEN = "TAG_FORBIDDEN"
    TOO_DEEP = "TOO_DEEP"
    TOO_MANY_VALUES = "TOO_MANY_VALUES"
    KEY_INVALID = "KEY_INVALID"  # a key that is not a text
    DUPLICATE_KEY = "DUPLICATE_KEY"
    # The fields.
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    MISSING_FIELD = "MISSING_FIELD"
    WRONG_TYPE = "WRONG_TYPE"
    INVALID_VALUE = "INVALID_VALUE"
    OUT_OF_RANGE = "OUT_OF_RANGE"  # also of lengths
    DUPLICATE_ITEM = "DUPLICATE_ITEM"
    CONTRADICTION = "CONTRADICTION"
    # The whole.
    PROBLEMS_LEFT_OUT = "PROBLEMS_LEFT_OUT"  # says how many more there are


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `line` and `column` count from 1, and are 0 without a place."""

    severity: Severity
    code: str
    file: str
    line: int
    column: int
    field: str
    message: str
    fix: str

    def __str__(self) -> str:
        """Return it as one line, such as compilers write."""
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return (
            f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"
        )


def shorten(problems: Sequence[Problem], *, count_max: int = PROBLEMS_MAX) -> tuple[Problem, ...]:
    """Return at most so many problems; the last one then says how many were left out."""
    if len(problems) <= count_max:
        return tuple(problems)
    kept = problems[: count_max - 1]
    left_out = Problem(
        severity=Severity.ERROR,
        code=Flaw.PROBLEMS_LEFT_OUT,
        file=problems[0].file,
        line=0,
        column=0,
        field="",
        message=f"{len(problems) - len(kept)} more problems are not shown",
        fix="Fix these first, then check again.",
    )
    return (*kept, left_out)


def clip(text: str, *, length_max: int = 60) -> str:
    """Return a text that others wrote, fit to be part of a message in one line."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in text[: length_max + 1])
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def suggest(word: str, known: Iterable[str]) -> str:
    """Return advice that names what was probably meant, or all that there is."""
    names = sorted(known)
    if len(names) > NAMES_MAX:
        return ""
    close = difflib.get_close_matches(clip(word), names, n=1)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"There is: {', '.join(f'`{name}`' for name in names)}." if names else ""


def describe(value: Json) -> str:
    """Return a value in a few words."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text `{clip(value)}`"
    return "a mapping" if isinstance(value, Mapping) else "a list"
