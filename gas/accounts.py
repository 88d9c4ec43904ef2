"""Everybody who spends or whose agents spend: one hold counts for several of them at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from chassis.errors import InvalidField

from .account import Account, Spend
from .budgets import Budget, BudgetKey, BudgetWarning, Tally
from .errors import BudgetExceeded, BudgetMissing
from .ledger import Hold
from .windows import quarter

BUDGETS_MAX = 1_000

# Account, start of the quarter of an hour as Unix time, run, item.
SpendingKey: TypeAlias = tuple[str, int, str, str]
# Asked with a budget and the quarter of an hour in which its window begins, it returns what is on
# disk of what the budget's account and run spent from then on: item, quarter and gas.
Past: TypeAlias = Callable[[Budget, int], Iterable[tuple[str, int, int]]]
Spends: TypeAlias = Sequence[tuple[Account, Spend]]


@dataclass
class AccountChanges:
    """What a batch has changed, by the keys of its rows."""

    # Gas that is added to what is on disk.
    spendings: defaultdict[SpendingKey, int] = field(default_factory=lambda: defaultdict(int))
    budgets: dict[BudgetKey, None] = field(default_factory=dict)
    steps: dict[tuple[BudgetKey, int], None] = field(default_factory=dict)
    # Budgets of which all steps are written anew.
    rewritten: dict[BudgetKey, None] = field(default_factory=dict)


class Accounts(dict[str, Account]):
    """The accounts that a batch needs, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = AccountChanges()
        self._past: Past = _nothing

    def begin(self, past: Past) -> None:
        """Start a batch."""
        self.changes = AccountChanges()
        self._past = past

    def spends(self, hold: Hold, gas: int) -> Spends:
        """Return for whom gas of a hold counts: all payers, and each of their tenants."""
        item, time = hold.reservation.item, hold.create_time
        own = [(self[payer.account], Spend(payer.run, item, time, gas)) for payer in hold.payers]
        tenants = dict.fromkeys(hold.tenants)
        return [*own, *((self[tenant], Spend("", item, time, gas)) for tenant in tenants)]

    def require_fit(self, spends: Spends, now: datetime) -> None:
        """Refuse what does not fit into every hard budget that applies.

        Raise `BudgetMissing` for an agent without one, or `BudgetExceeded` with the tightest.
        """
        tightest, gas_left = None, 0
        for account, spend in spends:
            is_covered = not account.is_agent
            for tally in account.applying(spend.run, spend.item):
                if tally.budget.soft:
                    continue
                is_covered = True
                left = tally.budget.gas_limit - tally.spent(now)
                if tightest is None or left < gas_left:
                    tightest, gas_left = tally, left
            if not is_covered:
                raise BudgetMissing(account.name, spend.item)
        gas = spends[0][1].gas
        if tightest is not None and gas > max(0, gas_left):
            raise BudgetExceeded(
                account=tightest.budget.account,
                budget=tightest.budget.name,
                gas=gas,
                gas_available=max(0, gas_left),
                period=tightest.budget.period.value,
            )

    def spend(self, spends: Spends) -> None:
        """Count gas in the step in which its hold was made."""
        changes = self.changes
        for account, spend in spends:
            if not spend.gas:
                continue
            key = (account.name, quarter(spend.time), spend.run, spend.item)
            changes.spendings[key] += spend.gas
            for tally in account.applying(spend.run, spend.item):
                step = tally.add(spend.time, spend.gas)
                if step is not None:
                    changes.steps[tally.budget.key, step] = None
                if tally.forget():
                    changes.rewritten[tally.budget.key] = None

    def warnings(self, spends: Spends, now: datetime) -> tuple[BudgetWarning, ...]:
        """Return what to say about the budgets that apply."""
        found = (tally.warning(now) for tally in _applying(spends))
        return tuple(warning for warning in found if warning)

    def warn(self, spends: Spends, now: datetime) -> Iterator[BudgetWarning]:
        """Yield what to tell once per window, and was not told yet."""
        for tally in _applying(spends):
            warning = tally.warn(now)
            if warning:
                self.changes.budgets[tally.budget.key] = None
                yield warning

    def set_budget(self, budget: Budget, now: datetime) -> Budget:
        """Add or replace a budget; return it with what was spent since its window began."""
        account = self[budget.account]
        tally = account.tally(budget.key)
        if tally is None and len(account) >= BUDGETS_MAX:
            problem = f"would be the budget number {BUDGETS_MAX + 1}; delete another one first"
            raise InvalidField("budget.id", problem)
        if tally is not None and tally.budget.counts_as(budget):
            tally.change(budget, now)
        else:
            tally = Tally(budget, since=now)
            for quarter_start, gas in self._spent_before(budget, now):
                tally.add_past(quarter_start, gas)
            self.changes.rewritten[budget.key] = None
        account.put(tally)
        self.changes.budgets[budget.key] = None
        return tally.at(now)

    def lift_budget(self, key: BudgetKey) -> None:
        """Remove a budget, if there is one."""
        if self[key[0]].drop(key):
            self.changes.budgets[key] = None

    def close_run(self, account: str, run: str) -> None:
        """Remove the budgets of a run that spends no more."""
        for key in self[account].keys_of(run):
            self.lift_budget(key)

    def _spent_before(self, budget: Budget, now: datetime) -> Iterator[tuple[int, int]]:
        start = budget.window.start(now)
        for item, quarter_start, gas in self._past(budget, start):
            if budget.counts(budget.run, item):
                yield quarter_start, gas
        # What this batch has spent is not on disk yet.
        for (name, quarter_start, run, item), gas in self.changes.spendings.items():
            is_ours = name == budget.account and budget.counts(run, item)
            if is_ours and quarter_start >= start:
                yield quarter_start, gas


def _applying(spends: Spends) -> Iterator[Tally]:
    for account, spend in spends:
        yield from account.applying(spend.run, spend.item)


def _nothing(_budget: Budget, _start: int) -> Iterable[tuple[str, int, int]]:
    return ()
