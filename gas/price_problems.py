"""What is wrong with the files of a price table, which can be many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.problems import Flaw, Problem, Severity, clip, shorten

CHARACTERS_MAX = 300


@dataclass(frozen=True)
class Place:
    """A position in a file; line and column count from 1, and are 0 for the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Return it as editors take it."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class PriceFileInvalid(ValueError):
    """Files are no price table; `problems` are at most `PROBLEMS_MAX`, in their order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "nothing else is invalid"
        self.problems = shorten(problems)
        lines = (f"{one} ({one.fix})" if one.fix else str(one) for one in self.problems)
        super().__init__("\n".join(lines))


def problem_at(place: Place, code: Flaw, field: str, message: str, fix: str = "") -> Problem:
    """Return a problem of files; `field` is empty for all of one, `fix` if none is known."""
    return Problem(
        severity=Severity.ERROR,
        code=code,
        file=place.file,
        line=place.line,
        column=place.column,
        field=clip(field, length_max=CHARACTERS_MAX),
        message=clip(message, length_max=CHARACTERS_MAX),
        fix=fix,
    )
