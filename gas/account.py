"""An agent or a tenant as the one who writes the ledger knows it: its budgets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from .budgets import Budget, BudgetKey, Standing, Tally
from .prices import GAS_MAX

# What applies to a run and an item is remembered for so many of them.
_APPLYING_MAX = 1_024


@dataclass(frozen=True)
class Spend:
    """Gas that a run holds, or gives back if it is negative, at the time of its hold."""

    run: str
    item: str
    time: datetime
    gas: int


class Account:
    """Budgets of one name, each with what is spent of it."""

    def __init__(self, name: str, tallies: Iterable[Tally] = ()) -> None:
        self.name = name
        self._tallies = {tally.budget.key: tally for tally in tallies}
        self._applying: dict[tuple[str, str], tuple[Tally, ...]] = {}
        self._runs: set[str] = set()
        self._index()

    def __len__(self) -> int:
        return len(self._tallies)

    @property
    def is_agent(self) -> bool:
        """Tell whether it may spend only what a hard budget covers."""
        return not self.name.startswith("tenants/")

    def budgets(self, now: datetime) -> list[Budget]:
        """Return all budgets by origin and id, with what is spent of them."""
        return [self._tallies[key].at(now) for key in sorted(self._tallies)]

    def standing(self, now: datetime, tenant: Account | None = None) -> Standing:
        """Return how far all budgets are used up; of an agent, that of its tenant limits too."""
        own = self.budgets(now)
        warnings = (tally.warning(now) for tally in self._tallies.values())
        # Nothing limits a tenant without a budget, and nothing covers such an agent.
        left = min(_left(own), default=0 if self.is_agent else GAS_MAX)
        return Standing(
            budgets=tuple(own),
            warnings=tuple(sorted(filter(None, warnings), key=lambda warning: warning.budget)),
            gas_available=min([left, *_left(tenant.budgets(now) if tenant else ())]),
            tenant=tenant.name if tenant is not None else "",
        )

    def tally(self, key: BudgetKey) -> Tally | None:
        """Return what is spent of a budget, if there is one."""
        return self._tallies.get(key)

    def put(self, tally: Tally) -> None:
        """Add a budget, or replace the one of its key."""
        self._tallies[tally.budget.key] = tally
        self._index()

    def drop(self, key: BudgetKey) -> bool:
        """Remove a budget; tell whether there was one."""
        is_known = self._tallies.pop(key, None) is not None
        self._index()
        return is_known

    def keys_of(self, run: str) -> list[BudgetKey]:
        """Return the budgets that are for one run only."""
        if run not in self._runs:
            return []
        return [key for key, tally in self._tallies.items() if tally.budget.run == run]

    def applying(self, run: str, item: str) -> tuple[Tally, ...]:
        """Return the budgets that count what a run spends for an item."""
        # Runs without a budget of their own are all the same.
        key = (run if run in self._runs else "", item)
        found = self._applying.get(key)
        if found is None:
            tallies = self._tallies.values()
            found = tuple(tally for tally in tallies if tally.budget.counts(run, item))
            if len(self._applying) >= _APPLYING_MAX:
                self._applying.clear()
            self._applying[key] = found
        return found

    def _index(self) -> None:
        self._applying.clear()
        self._runs = {tally.budget.run for tally in self._tallies.values()}


def _left(budgets: Iterable[Budget]) -> Iterator[int]:
    """Yield what is left of the hard budgets that are for any run and item."""
    for budget in budgets:
        if not (budget.soft or budget.run or budget.item):
            yield budget.gas_left
