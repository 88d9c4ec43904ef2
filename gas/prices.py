"""What consumption costs: a price per 1,000 units of a meter, for each item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from chassis.canonical import canonical_json, sha256_hex
from chassis.errors import InvalidField

from .errors import PriceNotFound

WILDCARD = "*"
UNITS_PER_PRICE = 1_000
VERSION_CHARACTERS = 12
# The largest budget, and therefore the most that anything can cost.
GAS_MAX = 10**15


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


@dataclass(frozen=True)
class Usage:
    """An amount of one meter, in its units."""

    meter: Meter
    amount: int


@dataclass(frozen=True)
class Price:
    """One line of the price table."""

    item: str
    meter: Meter
    gas_per_thousand: int


@dataclass(frozen=True)
class Tariff:
    """The prices that apply to one item, and the version of the table that they come from.

    A hold keeps its tariff, so that a new table changes neither its charge nor whether it has one.
    """

    version: str
    gas_per_thousand: Mapping[Meter, int]

    def price(self, usages: Sequence[Usage]) -> int:
        """Return gas: each meter is rounded up by itself; a meter without a price is free."""
        return sum(
            # Floor division of the negative rounds up without floats, which lose digits.
            -(-usage.amount * self.gas_per_thousand.get(usage.meter, 0) // UNITS_PER_PRICE)
            for usage in usages
        )


@dataclass(frozen=True)
class PriceTable:
    """All prices in force: item -> meter -> gas per 1,000 units.

    An item that ends in `*` stands for every item that starts with the rest of it.
    """

    gas_per_thousand: Mapping[str, Mapping[Meter, int]]

    def tariff(self, item: str) -> Tariff:
        """Return the prices of the longest match, or raise `PriceNotFound`."""
        patterns = (item[:end] + WILDCARD for end in range(len(item), 0, -1))
        for pattern in (item, *patterns):
            if pattern in self.gas_per_thousand:
                return Tariff(self.version, self.gas_per_thousand[pattern])
        raise PriceNotFound(item)

    def quote(self, item: str, usages: Sequence[Usage]) -> int:
        """Return gas, or refuse what costs more than any budget may hold."""
        gas = self.tariff(item).price(usages)
        if gas > GAS_MAX:
            problem = f"costs {gas} gas, more than any budget ({GAS_MAX}); ask for less"
            raise InvalidField("usages", problem)
        return gas

    @property
    def prices(self) -> tuple[Price, ...]:
        """Return every line, by item and meter."""
        order = list(Meter)
        return tuple(
            Price(item, meter, meters[meter])
            for item, meters in sorted(self.gas_per_thousand.items())
            for meter in sorted(meters, key=order.index)
        )

    @cached_property
    def version(self) -> str:
        """Return a name for exactly this content, whatever its order."""
        content = {
            item: {meter.value: gas for meter, gas in meters.items()}
            for item, meters in self.gas_per_thousand.items()
        }
        return sha256_hex(canonical_json(content))[:VERSION_CHARACTERS]
