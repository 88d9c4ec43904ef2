"""Budgets: what of an agent's or tenant's spending each one counts, and how far it is used up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeAlias

from chassis.canonical import Json

from .windows import QUARTER_SECONDS, Period, Window, quarter

# Percentages that are told, the highest first.
WARNING_PERCENTS = (100, 80, 50)
# Steps that a budget remembers, so that a clock that is set back does not open it again: with more
# than the most, the oldest go, until so many are left.
STEPS_MAX = 256
STEPS_KEPT = 128

# Account, origin and id.
BudgetKey: TypeAlias = tuple[str, str, str]


class Origin(Enum):
    """Who set a budget."""

    MANIFEST = "manifest"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Budget:
    """A limit on what an account spends; `gas_spent` is charged or held in the current window.

    An empty `run` or `item` counts all of them; an `item` that ends with `*` counts all that begin
    like it. A soft one refuses nothing.
    """

    account: str
    origin: Origin
    period: Period
    gas_limit: int
    gas_spent: int = 0
    id: str = "default"
    run: str = ""
    item: str = ""
    time_zone: str = ""
    window_seconds: int = 0
    soft: bool = False

    @property
    def key(self) -> BudgetKey:
        """Return what tells it from all others."""
        return self.account, self.origin.value, self.id

    @property
    def name(self) -> str:
        """Return its name in the contract."""
        return f"{self.account}/budgets/{self.origin.value}.{self.id}"

    @property
    def window(self) -> Window:
        """Return when it counts."""
        return Window(self.period, self.time_zone, self.window_seconds)

    @property
    def gas_left(self) -> int:
        """Return what may still be held; never negative, also after the limit was lowered."""
        return max(0, self.gas_limit - self.gas_spent)

    def counts_as(self, other: Budget) -> bool:
        """Tell whether both count the same gas, whatever their limits are."""
        return (self.run, self.item, self.window) == (other.run, other.item, other.window)

    def counts(self, run: str, item: str) -> bool:
        """Tell whether it counts what a run spends for an item."""
        if self.run and self.run != run:
            return False
        if self.item.endswith("*"):
            return item.startswith(self.item[:-1])
        return self.item in {"", item}


@dataclass(frozen=True)
class BudgetWarning:
    """A budget that is used up to the highest of 50, 80 and 100 percent."""

    account: str
    budget: str
    percent: int
    gas_spent: int
    gas_limit: int
    soft: bool

    @property
    def content(self) -> dict[str, Json]:
        """Return what a notice says besides the account."""
        return {
            "budget": self.budget,
            "percent": self.percent,
            "gas_spent": self.gas_spent,
            "gas_limit": self.gas_limit,
            "soft": self.soft,
        }


@dataclass(frozen=True)
class Standing:
    """The budgets of an account, and the most that could be reserved now for any run and item."""

    budgets: tuple[Budget, ...]
    warnings: tuple[BudgetWarning, ...]
    gas_available: int
    # Of an agent.
    tenant: str = ""


class Tally:
    """What is spent of one budget, by the steps of its window.

    Later steps count too: a clock that was set back must not open the budget again. The sum is
    kept, so that a hold costs the same however many there were before.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        since: datetime,
        gas_by_step: Mapping[int, int] | None = None,
        warned: Mapping[int, int] | None = None,
    ) -> None:
        self.budget = budget
        # When it began to count. What was spent before is known by quarters of an hour.
        self.since = since
        self.gas_by_step = dict(gas_by_step or {})
        # The steps in which percentages were told.
        self.warned = dict(warned or {})
        self._window = budget.window
        self._first_ever = self._window.first_step(since)
        self._now: datetime | None = None
        self._first = 0
        self._sum: int | None = None

    def spent(self, now: datetime) -> int:
        """Return gas that is charged or held in the current window."""
        if now is not self._now:
            first, self._now = self._window.first_step(now), now
            if first != self._first:
                self._first, self._sum = first, None
        if self._sum is None:
            self._sum = sum(gas for step, gas in self.gas_by_step.items() if step >= self._first)
        return self._sum

    def at(self, now: datetime) -> Budget:
        """Return the budget with what is spent of it."""
        return replace(self.budget, gas_spent=self.spent(now))

    def add(self, held_at: datetime, gas: int) -> int | None:
        """Add gas of a hold that was made at a time; return the step that changed, if one did.

        Nothing is given back to a step that is forgotten, or from before the budget was set: with a
        clock that was set back, a hold that never counted would make room for another.
        """
        step = self._window.step(self._placed(held_at))
        if gas < 0 and (step < self._first_ever or step not in self.gas_by_step):
            return None
        before = self.gas_by_step.get(step, 0)
        # With a clock that was set back, what is given back may have counted in another step.
        after = max(0, before + gas)
        self.gas_by_step[step] = after
        if self._sum is not None and step >= self._first:
            self._sum += after - before
        return step

    def add_past(self, quarter_start: int, gas: int) -> None:
        """Add what was spent in a quarter of an hour before it began to count."""
        self.add(datetime.fromtimestamp(quarter_start, self.since.tzinfo), gas)

    def change(self, budget: Budget, now: datetime) -> None:
        """Give it another limit, of which it tells again what is not reached yet."""
        assert budget.counts_as(self.budget), "what counts else needs another tally"
        self.budget = budget
        reached = self.percent(now)
        self.warned = {percent: step for percent, step in self.warned.items() if percent <= reached}

    def percent(self, now: datetime) -> int:
        """Return the highest of 50, 80 and 100 percent that is reached, or 0."""
        spent, limit = 100 * self.spent(now), self.budget.gas_limit
        return next((percent for percent in WARNING_PERCENTS if spent >= percent * limit), 0)

    def warning(self, now: datetime) -> BudgetWarning | None:
        """Return what to say about it, from 50 percent on."""
        percent = self.percent(now)
        if not percent:
            return None
        one = self.budget
        return BudgetWarning(
            one.account, one.name, percent, self.spent(now), one.gas_limit, one.soft
        )

    def warn(self, now: datetime) -> BudgetWarning | None:
        """Return what to tell because it was not told in this window, and count it as told."""
        percent = self.percent(now)
        if not percent or self.warned.get(percent, self._first - 1) >= self._first:
            return None
        step = self._window.step(now)
        # What is below is told with it.
        for told in WARNING_PERCENTS:
            if told <= percent:
                self.warned[told] = max(step, self.warned.get(told, step))
        return self.warning(now)

    def forget(self) -> bool:
        """Drop the oldest steps of earlier windows if there are too many; tell whether it did."""
        if len(self.gas_by_step) <= STEPS_MAX:
            return False
        earlier = sorted(step for step in self.gas_by_step if step < self._first)
        dropped = earlier[: len(self.gas_by_step) - STEPS_KEPT]
        for step in dropped:
            del self.gas_by_step[step]
        return bool(dropped)

    def _placed(self, held_at: datetime) -> datetime:
        """Return when gas counts as held; a calendar takes no notice, because it counts quarters.

        What was held before the budget was set counts a little longer, by its quarter of an hour.
        """
        if held_at >= self.since or self._window.period is not Period.SLIDING:
            return held_at
        end = quarter(held_at) + QUARTER_SECONDS
        last = datetime.fromtimestamp(end, self.since.tzinfo) - timedelta(microseconds=1)
        return min(last, self.since)
