"""What was used in a time, summed by what somebody wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import TypeAlias
from zoneinfo import ZoneInfo

from .ledger import AMOUNT_SUM_MAX, Consumption
from .prices import Meter, Rate, Usage
from .sums import SliceKey

# An agent as an item: what its callers paid for it, which it paid on.
_PASSED_ON = "agent "


class Dimension(Enum):
    """What to sum by; the values are the names of the contract."""

    ACCOUNT = "DIMENSION_ACCOUNT"
    ITEM = "DIMENSION_ITEM"
    DAY = "DIMENSION_DAY"
    TENANT = "DIMENSION_TENANT"


# Later than the last quarter of the year 9999.
EVER_AFTER = 2**38

# Account, item, tenant and day; empty where it is not summed by.
Place: TypeAlias = tuple[str, str, str, str]


@dataclass(frozen=True)
class UsageQuery:
    """Which usage counts: from a quarter of an hour on and before another one, as Unix time."""

    start: int = 0
    end: int = EVER_AFTER
    time_zone: str = ""
    dimensions: frozenset[Dimension] = frozenset()
    account: str = ""
    tenant: str = ""

    @property
    def shows_links(self) -> bool:
        """Tell whether what was passed on has rows of its own, so that nothing counts twice."""
        return {Dimension.ACCOUNT, Dimension.ITEM} <= self.dimensions


@dataclass
class UsageSum:
    """What was used at one place; without a cost if it is not known, or in several currencies."""

    place: Place
    amounts: dict[Meter, int] = field(default_factory=dict)
    gas: int = 0
    charge_count: int = 0
    gas_by_version: dict[str, int] = field(default_factory=dict)
    cost: tuple[int, str] | None = None

    @property
    def usages(self) -> tuple[Usage, ...]:
        """Return sums per meter."""
        return tuple(Usage(meter, amount) for meter, amount in self.amounts.items())

    def add(self, version: str, consumption: Consumption) -> None:
        """Add what was used at the prices of a table."""
        for usage in consumption.usages:
            amount = self.amounts.get(usage.meter, 0) + usage.amount
            self.amounts[usage.meter] = min(amount, AMOUNT_SUM_MAX)
        self.gas += consumption.gas
        self.charge_count += consumption.charge_count
        self.gas_by_version[version] = self.gas_by_version.get(version, 0) + consumption.gas


def sum_usage(
    query: UsageQuery,
    slices: Iterable[tuple[SliceKey, Consumption]],
    rate_of: Callable[[str], Rate | None],
) -> list[UsageSum]:
    """Sum slices, in the order of their places; `rate_of` gives the rate of a price table."""
    zone = ZoneInfo(query.time_zone) if query.time_zone else UTC
    by_day = Dimension.DAY in query.dimensions
    sums: dict[Place, UsageSum] = {}
    days: dict[int, str] = {}
    for key, consumption in slices:
        if key.item.startswith(_PASSED_ON) and not query.shows_links:
            continue
        if by_day and key.quarter not in days:
            days[key.quarter] = datetime.fromtimestamp(key.quarter, zone).date().isoformat()
        place = (
            key.account if Dimension.ACCOUNT in query.dimensions else "",
            key.item if Dimension.ITEM in query.dimensions else "",
            key.tenant if Dimension.TENANT in query.dimensions else "",
            days.get(key.quarter, ""),
        )
        sums.setdefault(place, UsageSum(place)).add(key.price_version, consumption)
    for found in sums.values():
        found.cost = _cost(found, rate_of)
    return [sums[place] for place in sorted(sums)]


def _cost(found: UsageSum, rate_of: Callable[[str], Rate | None]) -> tuple[int, str] | None:
    costs: dict[str, int] = {}
    for version, gas in found.gas_by_version.items():
        rate = rate_of(version)
        if rate is None:
            return None
        costs[rate.currency] = costs.get(rate.currency, 0) + rate.micros(gas)
    if len(costs) != 1:
        return None
    ((currency, micros),) = costs.items()
    return micros, currency
