"""A document under examination: its values, where they stand, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .canonical import Json
from .problems import Problem, Severity, clip

FieldPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Place:
    """A position in the text; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Spot:
    """Where a field stands: its key, and its value; an item of a list has no key of its own."""

    key: Place
    value: Place


class Draft:
    """Collects problems, one for each field at most.

    What is said first about a field stands, and nothing is said about the inside of a value that
    is wrong already: a reader wants causes, not consequences.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.value: Json = None
        self.spots: dict[FieldPath, Spot] = {(): Spot(Place(1, 1), Place(1, 1))}
        # The text could be read to its end; what follows makes sense then.
        self.is_readable = True
        # It could be read, and there was no value in it.
        self.is_empty = False
        self._problems: list[Problem] = []
        self._flawed: set[FieldPath] = set()

    def report(
        self,
        path: FieldPath,
        code: str,
        message: str,
        *,
        fix: str = "",
        place: Place | None = None,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Say what is wrong with a field, unless it is known to be wrong."""
        if not self._holds(path):
            return
        self._flawed.add(path)
        place = place or self._place(path)
        self._problems.append(
            Problem(
                severity=severity,
                code=code,
                file=self.file,
                line=place.line,
                column=place.column,
                field=format_path(path),
                message=message,
                fix=fix,
            )
        )

    def report_beside(self, problem: Problem) -> None:
        """Say what is wrong with another file, which a field of this one names."""
        self._problems.append(problem)

    def distrust(self, path: FieldPath) -> None:
        """Keep silent about a field, because the cause of its problem was reported elsewhere."""
        self._flawed.add(path)

    def key_place(self, path: FieldPath) -> Place:
        """Return where the key of a field stands."""
        return self.spots[path].key

    def get(self, path: FieldPath) -> Json:
        """Return a value, or None if it is absent or known to be wrong."""
        value = self.value
        for part in path:
            if isinstance(value, Mapping) and isinstance(part, str):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value if self._holds(path) else None

    def text(self, path: FieldPath) -> str:
        """Return a text that nothing is wrong with; empty if there is none."""
        value = self.get(path)
        return value if isinstance(value, str) else ""

    def items(self, path: FieldPath) -> list[FieldPath]:
        """Return the paths of the items of a list."""
        value = self.get(path)
        return [(*path, index) for index in range(len(value))] if isinstance(value, list) else []

    @property
    def problems(self) -> list[Problem]:
        """Return all problems in the order of the text; those of other files come last."""
        return sorted(
            self._problems,
            key=lambda one: (one.file != self.file, one.file, one.line, one.column),
        )

    @property
    def has_errors(self) -> bool:
        """Return whether it cannot be used."""
        return any(problem.severity is Severity.ERROR for problem in self._problems)

    def _holds(self, path: FieldPath) -> bool:
        return not any(path[:length] in self._flawed for length in range(len(path) + 1))

    def _place(self, path: FieldPath) -> Place:
        """Return where a value stands; for one that is missing, the key of what lacks it."""
        if path in self.spots:
            return self.spots[path].value
        while path not in self.spots:
            path = path[:-1]
        return self.spots[path].key


def format_path(path: FieldPath) -> str:
    """Return a path as people write it, such as `spec.actions[1].credential`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{clip(part)}" if text else clip(part)
    return text
