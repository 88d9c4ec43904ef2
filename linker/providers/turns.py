"""Whose turn it is: those who were given least come first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Work(Protocol):
    """What is done for somebody."""

    tenant: str


Item = TypeVar("Item", bound=Work)


class Turns:
    """How many tokens were computed for each tenant that is here.

    Who comes starts even with whoever was given least, so that nobody saves up turns.
    """

    def __init__(self) -> None:
        self._given: dict[str, int] = {}
        self._present: dict[str, int] = {}

    def enter(self, tenant: str) -> None:
        """Take notice of one more piece of work."""
        if tenant not in self._given:
            self._given[tenant] = min(self._given.values(), default=0)
        self._present[tenant] = self._present.get(tenant, 0) + 1

    def leave(self, tenant: str) -> None:
        """Take notice that a piece of work is done."""
        self._present[tenant] -= 1
        if not self._present[tenant]:
            del self._present[tenant], self._given[tenant]

    def give(self, tenant: str, tokens: int) -> None:
        """Count what was computed for a tenant."""
        self._given[tenant] += tokens

    def order(self, items: Iterable[Item]) -> list[Item]:
        """Return work in the order of turns; that of one tenant stays in its order."""
        return sorted(items, key=lambda item: self._given[item.tenant])
