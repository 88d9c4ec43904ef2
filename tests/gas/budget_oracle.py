"""What budgets must say, worked out anew each time from every hold that was ever made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from zoneinfo import ZoneInfo

from gas.budgets import Budget, BudgetKey
from gas.ledger import Hold, Reservation
from gas.windows import Period

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Limit:
    """A budget, when it began to count, and the holds of earlier windows that it never saw."""

    budget: Budget
    since: datetime
    unseen: frozenset[str] = frozenset()


@dataclass
class Oracle:
    """Remembers every hold and every budget, and sums up without any cleverness."""

    limits: dict[BudgetKey, Limit] = field(default_factory=dict)
    # In the order in which they were made.
    holds: dict[str, Hold] = field(default_factory=dict)

    def learn(self, hold: Hold) -> None:
        """Take in what a hold is now."""
        self.holds[hold.name] = hold

    def set_budget(self, budget: Budget, now: datetime) -> None:
        """Take in a budget; it counts from now on if it counts something else than before."""
        known = self.limits.get(budget.key)
        if known and known.budget.counts_as(budget):
            known.budget = budget
            return
        limit = Limit(budget, now)
        first = _start(budget, now)
        limit.unseen = frozenset(
            name
            for name, hold in self.holds.items()
            if budget.period is not Period.SLIDING and _start(budget, hold.create_time) < first
        )
        self.limits[budget.key] = limit

    def lift_run(self, account: str, run: str) -> None:
        """Forget the budgets of a closed run."""
        for key, limit in list(self.limits.items()):
            if (limit.budget.account, limit.budget.run) == (account, run):
                del self.limits[key]

    def spent(self, limit: Limit, now: datetime) -> int:
        """Return what counts in the window of now."""
        return sum(
            hold.gas if _is_from_before(limit, hold) else hold.gas_spent
            for name, hold in self.holds.items()
            if name not in limit.unseen
            and any(self._counts(limit.budget, *payer, hold) for payer in _payers(hold))
            and _is_in_window(limit, hold.create_time, now)
        )

    def applying(self, asked: Reservation, tenants: tuple[str, ...]) -> list[Limit]:
        """Return the budgets in which a hold counts, or would."""
        payers = [*((one.account, one.run) for one in asked.callers), (asked.account, asked.run)]
        payers += [(tenant, "") for tenant in tenants]
        return [
            limit
            for limit in self.limits.values()
            for account, run in payers
            if limit.budget.account == account and _matches(limit.budget, run, asked.item)
        ]

    @staticmethod
    def _counts(budget: Budget, account: str, run: str, hold: Hold) -> bool:
        return budget.account == account and _matches(budget, run, hold.reservation.item)


def _payers(hold: Hold) -> Iterator[tuple[str, str]]:
    for payer in hold.payers:
        yield payer.account, payer.run
    for tenant in set(hold.tenants):
        yield tenant, ""


def _matches(budget: Budget, run: str, item: str) -> bool:
    pattern = budget.item
    is_item = not pattern or pattern == item
    if pattern[-1:] == "*":
        is_item = item[: len(pattern) - 1] == pattern[:-1]
    return is_item and budget.run in {"", run}


def _is_from_before(limit: Limit, hold: Hold) -> bool:
    """Tell whether only a clock that was set back made it count: then nothing of it comes back."""
    budget = limit.budget
    is_calendar = budget.period is not Period.SLIDING
    return is_calendar and _start(budget, hold.create_time) < _start(budget, limit.since)


def _is_in_window(limit: Limit, held: datetime, now: datetime) -> bool:
    budget = limit.budget
    if budget.period is not Period.SLIDING:
        # Later ones too: a clock that was set back opens nothing.
        return _start(budget, held) >= _start(budget, now)
    if held < limit.since:
        past = held - timedelta(minutes=held.minute % 15, seconds=held.second)
        past = past.replace(microsecond=0) + 15 * MINUTE - timedelta(microseconds=1)
        held = min(past, limit.since)
    step = Fraction(budget.window_seconds, 60)
    return _seconds(held) // step >= _seconds(now) // step - 60


def _seconds(time: datetime) -> Fraction:
    return Fraction((time - EPOCH) // timedelta(microseconds=1), 10**6)


def _start(budget: Budget, time: datetime) -> datetime:
    if budget.period is Period.TOTAL:
        return EPOCH
    quarter = time.astimezone(UTC).replace(second=0, microsecond=0)
    return _look(budget.period, budget.time_zone, quarter - MINUTE * (quarter.minute % 15))


@cache
def _look(period: Period, time_zone: str, start: datetime) -> datetime:
    """Return when a period began, by looking at the clock on the wall."""
    zone, quarter = ZoneInfo(time_zone or "UTC"), 15 * MINUTE
    while True:
        here, before = start.astimezone(zone), (start - quarter).astimezone(zone)
        match period:
            case Period.HOUR:
                has_begun = here.minute == 0 or here.hour != before.hour
            case Period.DAY:
                has_begun = here.date() != before.date()
            case _:
                has_begun = here.month != before.month
        if has_begun:
            return start
        start -= quarter
