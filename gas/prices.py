"""What consumption costs: a price per 1,000 units of a meter, for each item."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from chassis.canonical import Json, canonical_json, sha256_hex
from chassis.errors import InvalidField

from .errors import PriceNotFound

WILDCARD = "*"
UNITS_PER_PRICE = 1_000
VERSION_CHARACTERS = 12
# The largest budget, and therefore the most that anything can cost.
GAS_MAX = 10**15
# A weight of this many thousandths changes nothing.
NEUTRAL = 1_000


class Meter(Enum):
    """What is metered; the values are the names of the contract."""

    INPUT_TOKENS = "METER_INPUT_TOKENS"
    CACHED_INPUT_TOKENS = "METER_CACHED_INPUT_TOKENS"
    OUTPUT_TOKENS = "METER_OUTPUT_TOKENS"
    REASONING_TOKENS = "METER_REASONING_TOKENS"
    EMBEDDING_TOKENS = "METER_EMBEDDING_TOKENS"
    IMAGES = "METER_IMAGES"
    INFERENCE_MILLISECONDS = "METER_INFERENCE_MILLISECONDS"
    SANDBOX_FUEL = "METER_SANDBOX_FUEL"
    HOST_CALLS = "METER_HOST_CALLS"
    STORED_BYTES = "METER_STORED_BYTES"
    CONNECTOR_CALLS = "METER_CONNECTOR_CALLS"
    CACHE_WRITE_TOKENS = "METER_CACHE_WRITE_TOKENS"

    # Of an enumeration it is written in Python, and a charge looks meters up dozens of times.
    __hash__ = object.__hash__


# What a model reads, however it is billed.
INPUTS = frozenset({Meter.INPUT_TOKENS, Meter.CACHED_INPUT_TOKENS, Meter.CACHE_WRITE_TOKENS})


@dataclass(frozen=True)
class Usage:
    """An amount of one meter, in its units."""

    meter: Meter
    amount: int


@dataclass(frozen=True)
class Source:
    """Where prices were published, and the day on which they were read there."""

    url: str
    date: str


@dataclass(frozen=True)
class Price:
    """One line of the price table, for calls that read more than `input_tokens_above` tokens."""

    item: str
    meter: Meter
    gas_per_thousand: int
    input_tokens_above: int = 0
    source: Source | None = None


@dataclass(frozen=True)
class Rate:
    """What gas is in money."""

    micros_per_thousand_gas: int
    currency: str

    def micros(self, gas: int) -> int:
        """Return millionths of the currency, rounded up."""
        return -(-gas * self.micros_per_thousand_gas // 1_000)


# Ten million gas are a dollar, so the prices of all providers are whole numbers.
DEFAULT_RATE = Rate(micros_per_thousand_gas=100, currency="USD")


@dataclass(frozen=True)
class Weight:
    """What the price of an item depends on besides its meters; the contract has the formula.

    `frequencies` are pairs of calls in an hour, rising, and the weight from there on.
    """

    item: str
    complexity_permille: int = NEUTRAL
    inference_time_permille: int = NEUTRAL
    frequencies: tuple[tuple[int, int], ...] = ()

    def frequency_permille(self, call_count: int) -> int:
        """Return what a call weighs after so many in the same hour."""
        reached = [weight for least, weight in self.frequencies if least <= call_count]
        return reached[-1] if reached else NEUTRAL


@dataclass(frozen=True)
class Tariff:
    """The prices that apply to one item, and the version of the table that they come from.

    A hold keeps its tariff, so that a new table changes neither its charge nor whether it has one.
    `tiers` are prices for calls that read more than so many tokens, rising; a meter that a tier
    does not name costs what it costs below.
    """

    version: str
    gas_per_thousand: Mapping[Meter, int]
    tiers: tuple[tuple[int, Mapping[Meter, int]], ...] = ()
    complexity_permille: int = NEUTRAL
    inference_time_permille: int = NEUTRAL
    frequency_permille: int = NEUTRAL

    def price(self, usages: Sequence[Usage]) -> int:
        """Return gas: each meter is rounded up by itself; a meter without a price is free."""
        prices = self._prices(usages) if self.tiers else self.gas_per_thousand
        time = others = 0
        for usage in usages:
            # Floor division of the negative rounds up without floats, which lose digits.
            gas = -(-usage.amount * prices.get(usage.meter, 0) // UNITS_PER_PRICE)
            if usage.meter is Meter.INFERENCE_MILLISECONDS:
                time += gas
            else:
                others += gas
        weighted = self.inference_time_permille * time + self.complexity_permille * others
        return -(-self.frequency_permille * weighted // NEUTRAL**2)

    def _prices(self, usages: Sequence[Usage]) -> Mapping[Meter, int]:
        tokens = sum(usage.amount for usage in usages if usage.meter in INPUTS)
        prices = dict(self.gas_per_thousand)
        for above, dearer in self.tiers:
            if tokens > above:
                prices.update(dearer)
        return prices


@dataclass(frozen=True)
class PriceTable:
    """Prices that are in force together: item -> meter -> gas per 1,000 units.

    An item that ends in `*` stands for every item that starts with the rest of it.
    """

    gas_per_thousand: Mapping[str, Mapping[Meter, int]]
    tiers: Mapping[str, Mapping[int, Mapping[Meter, int]]] = field(default_factory=dict)
    rate: Rate = DEFAULT_RATE
    weights: Mapping[str, Weight] = field(default_factory=dict)
    # By item, meter and tier.
    sources: Mapping[tuple[str, Meter, int], Source] = field(default_factory=dict)

    def tariff(self, item: str, *, call_count: int = 0) -> Tariff:
        """Return the prices of the longest match, or raise `PriceNotFound`.

        `call_count` is the number of calls that were charged in the same hour.
        """
        found = next((one for one in _matching(item) if one in self.gas_per_thousand), None)
        if found is None:
            raise PriceNotFound(item)
        tiers = tuple(sorted(self.tiers.get(found, {}).items()))
        weight = self.weight(item)
        return Tariff(
            self.version,
            self.gas_per_thousand[found],
            tiers,
            weight.complexity_permille,
            weight.inference_time_permille,
            weight.frequency_permille(call_count),
        )

    def weight(self, item: str) -> Weight:
        """Return the weight of the longest match, or one that changes nothing."""
        found = (one for one in _matching(item) if one in self.weights) if self.weights else ()
        return next((self.weights[one] for one in found), Weight(item))

    def dearest_tariff(self, item: str) -> Tariff:
        """Return the prices of an item that is called as often as costs most."""
        weight = self.weight(item)
        dearest = max(
            (0, *(least for least, _ in weight.frequencies)), key=weight.frequency_permille
        )
        return self.tariff(item, call_count=dearest)

    def quote(self, item: str, usages: Sequence[Usage]) -> int:
        """Return gas of a worst case, or refuse what costs more than any budget may hold."""
        gas = self.dearest_tariff(item).price(usages)
        if gas > GAS_MAX:
            problem = f"costs {gas} gas, more than any budget ({GAS_MAX}); ask for less"
            raise InvalidField("usages", problem)
        return gas

    @cached_property
    def prices(self) -> tuple[Price, ...]:
        """Return every line, by item, tier and meter."""
        order = list(Meter)
        lines = []
        for item in sorted(self.gas_per_thousand):
            tiers = {0: self.gas_per_thousand[item], **self.tiers.get(item, {})}
            for above, prices in sorted(tiers.items()):
                for meter in sorted(prices, key=order.index):
                    source = self.sources.get((item, meter, above))
                    lines.append(Price(item, meter, prices[meter], above, source))
        return tuple(lines)

    @cached_property
    def content(self) -> bytes:
        """Return canonical JSON from which `table_from_content` makes the same table."""
        sources = sorted({(source.url, source.date) for source in self.sources.values()})
        places = {source: place for place, source in enumerate(sources)}
        prices: list[Json] = [
            [
                line.item,
                line.meter.value,
                line.gas_per_thousand,
                line.input_tokens_above,
                places[line.source.url, line.source.date] if line.source else None,
            ]
            for line in self.prices
        ]
        weights: list[Json] = [
            [
                item,
                weight.complexity_permille,
                weight.inference_time_permille,
                [list(frequency) for frequency in weight.frequencies],
            ]
            for item, weight in sorted(self.weights.items())
        ]
        rate: list[Json] = [self.rate.micros_per_thousand_gas, self.rate.currency]
        listed: list[Json] = [list(source) for source in sources]
        return canonical_json(
            {"prices": prices, "rate": rate, "sources": listed, "weights": weights}
        )

    @cached_property
    def version(self) -> str:
        """Return a name for exactly this content, whatever its order."""
        return sha256_hex(self.content)[:VERSION_CHARACTERS]


def table_of(
    prices: Iterable[Price], *, rate: Rate = DEFAULT_RATE, weights: Iterable[Weight] = ()
) -> PriceTable:
    """Return the table of these lines, each of which is there once."""
    base: dict[str, dict[Meter, int]] = {}
    tiers: dict[str, dict[int, dict[Meter, int]]] = {}
    sources: dict[tuple[str, Meter, int], Source] = {}
    for line in prices:
        above = line.input_tokens_above
        tier = tiers.setdefault(line.item, {}).setdefault(above, {}) if above else None
        meters = base.setdefault(line.item, {}) if tier is None else tier
        meters[line.meter] = line.gas_per_thousand
        if line.source:
            sources[line.item, line.meter, above] = line.source
    return PriceTable(base, tiers, rate, {weight.item: weight for weight in weights}, sources)


def table_from_content(content: str) -> PriceTable:
    """Return the table whose `content` this is."""
    parts = json.loads(content)
    sources = [Source(*source) for source in parts["sources"]]
    prices = (
        Price(item, Meter(meter), gas, above, None if place is None else sources[place])
        for item, meter, gas, above, place in parts["prices"]
    )
    weights = (
        Weight(item, complexity, time, tuple((least, weight) for least, weight in frequencies))
        for item, complexity, time, frequencies in parts["weights"]
    )
    return table_of(prices, rate=Rate(*parts["rate"]), weights=weights)


def rate_from_content(content: str) -> Rate:
    """Return the rate of the table whose `content` this is."""
    return Rate(*json.loads(content)["rate"])


def _matching(item: str) -> Iterator[str]:
    """Yield what matches an item, the longest first."""
    yield item
    for end in range(len(item), 0, -1):
        yield item[:end] + WILDCARD
