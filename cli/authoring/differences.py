"""What is not as it was expected."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chassis.canonical import Json

# Of a difference that is shown to people.
LINES_MAX = 60
# Lines that are compared at all, for it takes their square in time.
COMPARED_MAX = 2_000
# The first lines of a comparison name files, which these are not.
_HEAD = 2


@dataclass(frozen=True)
class Difference:
    """Lines that were expected, and those that came instead."""

    about: str
    expected: Sequence[str]
    actual: Sequence[str]

    def lines(self) -> Iterator[str]:
        """Yield it line by line: `-` was expected, `+` came, and both have the others."""
        expected, actual = (self.expected[:COMPARED_MAX], self.actual[:COMPARED_MAX])
        compared = difflib.unified_diff(expected, actual, lineterm="")
        for count, line in enumerate(compared):
            if count >= LINES_MAX:
                yield "… and more; --json has all"
                return
            if not line.startswith(("---", "+++", "@@")) or count > _HEAD:
                yield line


def is_same(one: Json, other: Json) -> bool:
    """Tell whether values are the same JSON: 1 is 1.0, and not true."""
    return shown(one) == shown(other)


def shown(value: Json) -> list[str]:
    """Return JSON in lines, with its names in order."""
    text = json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, indent=2)
    return text.split("\n")


def _plain(value: Json) -> Json:
    """Return a value with whole numbers as integers."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
