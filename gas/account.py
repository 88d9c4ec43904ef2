"""What one account may spend and has spent, held in memory by the one who writes the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from . import ledger
from .ledger import Budget, Origin, Period


@dataclass(frozen=True)
class Spend:
    """Gas that a run holds, or gives back if it is negative, at the time of its hold."""

    run: str
    item: str
    time: datetime
    gas: int


class Account:
    """Limits, and gas per hour in which it was held; the sum of each period is kept."""

    def __init__(
        self,
        name: str,
        limits: Mapping[Origin, tuple[Period, int]],
        gas_by_hour: Mapping[str, int],
    ) -> None:
        self.name = name
        self.limits = dict(limits)
        self.gas_by_hour = dict(gas_by_hour)
        self._sums: dict[Period, tuple[str, int]] = {}

    def budgets(self, now: datetime) -> list[Budget]:
        """Return the limits by origin, with what is spent of them."""
        return [
            Budget(self.name, origin, period, gas_limit, self.spent(period, now))
            for origin, (period, gas_limit) in sorted(
                self.limits.items(), key=lambda limit: limit[0].value
            )
        ]

    def spent(self, period: Period, now: datetime) -> int:
        """Return gas that is charged or held in the current period."""
        start = ledger.period_start_text(period, now)
        known, gas = self._sums.get(period, ("", 0))
        if known != start:
            # Later hours count too: a clock that was set back must not open the budget again.
            gas = sum(spent for hour, spent in self.gas_by_hour.items() if hour >= start)
            self._sums[period] = (start, gas)
        return gas

    def require_fit(self, spend: Spend, now: datetime) -> None:
        """Refuse what a budget does not cover; only agents need one."""
        budgets = self.budgets(now)
        if budgets or not self.name.startswith("tenants/"):
            ledger.require_fit(self.name, spend.gas, budgets)

    def spend(self, spend: Spend) -> str:
        """Add gas in the hour in which its hold was made; return that hour."""
        hour, gas = ledger.period_start_text(Period.HOUR, spend.time), spend.gas
        spent = self.gas_by_hour.get(hour, 0) + gas
        assert spent >= 0, "what is given back was held before"
        self.gas_by_hour[hour] = spent
        for period, (start, known) in self._sums.items():
            if hour >= start:
                self._sums[period] = (start, known + gas)
        return hour
