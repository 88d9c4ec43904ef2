"""Texts in which `*` stands for any characters, matched in time that cannot explode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Glob:
    """A text in which `*` stands for any characters, also for none."""

    pattern: str

    def matches(self, text: str) -> bool:
        """Return whether all of a text is so, in time that grows with its length alone."""
        first, *rest = self._parts
        if not rest:
            return text == first
        *middle, last = rest
        start, end = len(first), len(text) - len(last)
        if start > end or not (text.startswith(first) and text.endswith(last)):
            return False
        for part in middle:
            start = text.find(part, start, end)
            if start < 0:
                return False
            start += len(part)
        return True

    @cached_property
    def _parts(self) -> list[str]:
        return self.pattern.split("*")
