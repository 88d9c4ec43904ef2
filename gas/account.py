"""What one account may spend and has spent, held in memory by the one who writes the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from . import ledger
from .ledger import Budget, Origin, Period


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

    def spend(self, hour: str, gas: int) -> None:
        """Add gas, or take it away, in the hour in which its hold was made."""
        spent = self.gas_by_hour.get(hour, 0) + gas
        assert spent >= 0, "what is given back was held before"
        self.gas_by_hour[hour] = spent
        for period, (start, known) in self._sums.items():
            if hour >= start:
                self._sums[period] = (start, known + gas)
