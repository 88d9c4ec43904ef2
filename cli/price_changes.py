"""What a new price table changes: prices that come, go, rise and fall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.text import Text

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import gas_pb2, prices_pb2
from chassis.canonical import Json

from .meters import meter_words
from .output import table
from .quantities import money_text

# Enough to see what happens; --json has all.
LINES_MAX = 60

# Item, meter, and from how many tokens read on.
Key = tuple[str, action_pb2.Usage.Meter.ValueType, int]


@dataclass(frozen=True)
class Change:
    """A price that is not what it was; `None` where there was or will be none."""

    key: Key
    before: int | None
    after: int | None

    @property
    def percent(self) -> float | None:
        """Return how much it rises, in percent; None where that cannot be said."""
        if not self.before or self.after is None:
            return None
        return 100 * (self.after - self.before) / self.before


@dataclass(frozen=True)
class Changes:
    """Everything that a new table changes, by item; `others` are in words."""

    prices: list[Change] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Return whether both tables say the same."""
        return not self.prices and not self.others

    def to_json(self) -> Json:
        """Return the changes for programs."""
        return {
            "prices": [
                {
                    "item": change.key[0],
                    "meter": action_pb2.Usage.Meter.Name(change.key[1]),
                    "input_tokens_above": change.key[2],
                    "before": change.before,
                    "after": change.after,
                }
                for change in self.prices
            ],
            "others": self.others,
        }


def compare(
    before: gas_pb2.GetPriceTableResponse, after: gas_pb2.UpdatePriceTableRequest
) -> Changes:
    """Return what changes; a rate that an update does not name stays as it is."""
    old, new = _by_key(before.prices), _by_key(after.prices)
    prices = [
        Change(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    others = []
    if after.HasField("rate") and after.rate != before.rate:
        others.append(f"1,000 gas: {_rate(before.rate)} → {_rate(after.rate)}")
    was = {weight.item: weight for weight in before.weights}
    will = {weight.item: weight for weight in after.weights}
    for item in sorted(was.keys() | will.keys()):
        if item not in will:
            others.append(f"weights of {item}: none any more")
        elif was.get(item) != will[item]:
            others.append(f"weights of {item}: {'changed' if item in was else 'new'}")
    sources = [
        {(one.item, one.source_url, one.source_date) for one in prices if one.source_url}
        for prices in (before.prices, after.prices)
    ]
    count = len({item for item, *_ in sources[0] ^ sources[1]})
    if count:
        others.append(f"sources of {count} item{'s' if count > 1 else ''}: changed")
    return Changes(prices, others)


def render_changes(changes: Changes, version: str) -> RenderableType:
    """Return the changes as a table, and how many there are."""
    if changes.is_empty:
        return Text(f"nothing changes against prices {version}")
    shown = changes.prices[:LINES_MAX]
    numbers = ("before", "after", "")
    parts: list[RenderableType] = [
        Text(f"changes against prices {version}, in gas per 1,000 units", "bold")
    ]
    if shown:
        parts.append(table("item", "meter", *numbers, rows=map(_row, shown), right=numbers))
    if len(shown) < len(changes.prices):
        parts.append(Text(f"and {len(changes.prices) - len(shown)} more; --json has all"))
    parts += map(Text, changes.others)
    counts = {
        "new": sum(change.before is None for change in changes.prices),
        "gone": sum(change.after is None for change in changes.prices),
        "dearer": sum((change.percent or 0) > 0 for change in changes.prices),
        "cheaper": sum((change.percent or 0) < 0 for change in changes.prices),
    }
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return Group(*parts, Text(words))


def _by_key(prices: Iterable[gas_pb2.Price]) -> dict[Key, int]:
    return {
        (price.item, price.meter, price.input_tokens_above): price.gas_per_thousand
        for price in prices
    }


def _row(change: Change) -> tuple[str | Text, ...]:
    item, meter, above = change.key
    tier = f", above {above} read" if above else ""
    percent = change.percent
    verdict = Text("new" if change.before is None else "gone" if change.after is None else "")
    if percent is not None:
        verdict = Text(f"{percent:+.1f} %", "red" if percent > 0 else "green")
    return item, f"{meter_words(meter)}{tier}", _gas(change.before), _gas(change.after), verdict


def _gas(gas: int | None) -> str:
    return "" if gas is None else str(gas)


def _rate(rate: prices_pb2.Rate) -> str:
    return money_text(rate.micros_per_thousand_gas, rate.currency) if rate.currency else "nothing"
