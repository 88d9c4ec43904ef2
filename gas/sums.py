"""What was used, summed: by account and item, by quarter of an hour, and by who counted it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias

from .entries import Entry
from .ledger import AMOUNT_SUM_MAX, Consumption, consume
from .prices import Meter, Usage
from .windows import quarter

_HOUR_SECONDS = 3_600


@dataclass(frozen=True)
class SliceKey:
    """What is summed for a quarter of an hour, as Unix time; the rest is that of the holds."""

    quarter: int
    account: str
    item: str
    tenant: str
    price_version: str


class Counter(Enum):
    """Who counts tokens; the values are the names of the contract."""

    PROVIDER = "COUNTER_PROVIDER"
    TOKENIZER = "COUNTER_TOKENIZER"
    UPPER_BOUND = "COUNTER_UPPER_BOUND"


@dataclass(frozen=True)
class TokenCount:
    """What somebody counted of one meter."""

    meter: Meter
    counter: Counter
    amount: int


DriftKey: TypeAlias = tuple[str, Meter, Counter]


@dataclass(frozen=True)
class TokenDrift:
    """How a counter of ours compares with the provider's, over charges that had both."""

    item: str
    meter: Meter
    counter: Counter
    charge_count: int = 0
    provider_amount: int = 0
    counted_amount: int = 0
    below_count: int = 0
    drift_permille_max: int = 0

    def and_also(self, *, provider: int, counted: int) -> TokenDrift:
        """Return the comparison with one more charge."""
        drift = abs(counted - provider) * 1_000 // max(provider, 1)
        return TokenDrift(
            self.item,
            self.meter,
            self.counter,
            self.charge_count + 1,
            min(self.provider_amount + provider, AMOUNT_SUM_MAX),
            min(self.counted_amount + counted, AMOUNT_SUM_MAX),
            self.below_count + (counted < provider),
            max(self.drift_permille_max, drift),
        )


class Sums:
    """The sums of the one who writes the ledger.

    Of slices it has those of the present hour of accounts that were brought in.
    """

    def __init__(self, drifts: Iterable[TokenDrift]) -> None:
        self.consumptions: dict[tuple[str, str], Consumption] = {}
        self.slices: dict[SliceKey, Consumption] = {}
        self.drifts: dict[DriftKey, TokenDrift] = {
            (drift.item, drift.meter, drift.counter): drift for drift in drifts
        }
        self.changed_consumptions: dict[tuple[str, str], None] = {}
        self.changed_slices: dict[SliceKey, None] = {}
        self.changed_drifts: dict[DriftKey, None] = {}
        self.quarter = 0
        self._calls: dict[tuple[str, str], int] = {}

    @property
    def hour(self) -> int:
        """Return the first quarter of the present hour."""
        return self.quarter - self.quarter % _HOUR_SECONDS

    def begin(self, now: datetime) -> None:
        """Forget what only the last batch needed, and earlier hours."""
        for batch in (self.changed_consumptions, self.changed_slices, self.changed_drifts):
            batch.clear()
        # A clock that was set back goes on where it was: what is forgotten is not written again.
        now_quarter, hour = max(self.quarter, quarter(now)), self.hour
        if now_quarter != self.quarter:
            self.quarter = now_quarter
            self.slices.clear()
        if self.hour != hour:
            self._calls.clear()

    def add_slices(self, slices: Iterable[tuple[SliceKey, Consumption]]) -> None:
        """Bring in the slices of the present hour of accounts that were not there."""
        calls: dict[tuple[str, str], int] = {}
        for key, consumption in slices:
            if key.quarter == self.quarter:
                self.slices[key] = consumption
            place = (key.account, key.item)
            calls[place] = calls.get(place, 0) + consumption.charge_count
        self._calls |= calls

    def call_count(self, account: str, item: str) -> int:
        """Return how many calls of an item the account had charged in this hour."""
        return self._calls.get((account, item), 0)

    def count(
        self, entry: Entry, gas: int, usages: Sequence[Usage], *, tenant: str, is_first: bool
    ) -> None:
        """Add an entry; returned gas is negative, and `is_first` starts a charge."""
        place = (entry.account, entry.item)
        before = self.consumptions.get(place) or Consumption(*place)
        self.consumptions[place] = consume(before, usages, gas, is_first=is_first)
        self.changed_consumptions[place] = None
        key = SliceKey(self.quarter, *place, tenant, entry.price_version)
        before = self.slices.get(key) or Consumption(*place)
        self.slices[key] = consume(before, usages, gas, is_first=is_first)
        self.changed_slices[key] = None
        if is_first:
            self._calls[place] = self.call_count(*place) + 1

    def compare(self, item: str, counts: Sequence[TokenCount]) -> None:
        """Add what several counters said about one charge."""
        provider = {one.meter: one.amount for one in counts if one.counter is Counter.PROVIDER}
        for one in counts:
            if one.counter is Counter.PROVIDER or one.meter not in provider:
                continue
            key = (item, one.meter, one.counter)
            before = self.drifts.get(key) or TokenDrift(*key)
            self.drifts[key] = before.and_also(provider=provider[one.meter], counted=one.amount)
            self.changed_drifts[key] = None
