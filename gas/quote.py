"""What a run will cost: a range, and what it takes for true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from chassis.errors import InvalidField

from .ledger import Consumption
from .prices import GAS_MAX, Meter, PriceTable, Usage


@dataclass(frozen=True)
class UsageRange:
    """What one call consumes of a meter; without `likely`, what earlier calls say."""

    meter: Meter
    least: int
    most: int
    likely: int | None = None


@dataclass(frozen=True)
class PlannedCall:
    """Calls that a run may make; without `count_likely`, the middle."""

    item: str
    count_least: int
    count_most: int
    usages: tuple[UsageRange, ...]
    count_likely: int | None = None


class Basis(Enum):
    """How it is known what is likely; the values are the names of the contract."""

    STATED = "BASIS_STATED"
    MEASURED = "BASIS_MEASURED"
    MIDDLE = "BASIS_MIDDLE"


@dataclass(frozen=True)
class Assumption:
    """One thing that a quote takes for true; without a meter, it is about the number of calls."""

    item: str
    meter: Meter | None
    least: int
    likely: int
    most: int
    basis: Basis
    charge_count: int = 0


@dataclass(frozen=True)
class GasRange:
    """Gas at least, most likely, and at most."""

    least: int = 0
    likely: int = 0
    most: int = 0

    def __add__(self, other: GasRange) -> GasRange:
        return GasRange(
            self.least + other.least, self.likely + other.likely, self.most + other.most
        )


@dataclass(frozen=True)
class Quote:
    """The range of a run and of each of its items, in the order of the plan."""

    gas: GasRange
    lines: tuple[tuple[str, GasRange], ...]
    assumptions: tuple[Assumption, ...]


def quote(
    table: PriceTable, plan: Sequence[PlannedCall], history: Mapping[str, Consumption]
) -> Quote:
    """Price a plan; `history` is what the account consumed of an item before.

    Refuse what costs more than any budget may hold.
    """
    total, lines, assumptions = GasRange(), [], []
    for call in plan:
        found = _assume(call, history.get(call.item))
        gas = _price(table, call.item, found)
        total += gas
        lines.append((call.item, gas))
        assumptions += found
    if total.most > GAS_MAX:
        problem = f"cost up to {total.most} gas, more than any budget ({GAS_MAX}); plan for less"
        raise InvalidField("calls", problem)
    return Quote(total, tuple(lines), tuple(assumptions))


def _price(table: PriceTable, item: str, assumptions: Sequence[Assumption]) -> GasRange:
    """Price one item: the number of calls, and then what each of them consumes."""
    count, *meters = assumptions
    weight = table.weight(item)
    cheapest = min((0, *(calls for calls, _ in weight.frequencies)), key=weight.frequency_permille)
    least = table.tariff(item, call_count=cheapest)
    usual = table.tariff(item)
    most = table.dearest_tariff(item)
    return GasRange(
        least=count.least * least.price(_usages((one.meter, one.least) for one in meters)),
        likely=count.likely * usual.price(_usages((one.meter, one.likely) for one in meters)),
        most=count.most * most.price(_usages((one.meter, one.most) for one in meters)),
    )


def _assume(call: PlannedCall, before: Consumption | None) -> list[Assumption]:
    found = [_assume_count(call)]
    amounts = {usage.meter: usage.amount for usage in before.usages} if before else {}
    charge_count = before.charge_count if before else 0
    for usage in call.usages:
        likely, basis, measured = usage.likely, Basis.STATED, 0
        if likely is None and charge_count:
            average = (amounts.get(usage.meter, 0) + charge_count // 2) // charge_count
            likely = min(max(average, usage.least), usage.most)
            basis, measured = Basis.MEASURED, charge_count
        elif likely is None:
            likely, basis = _middle(usage.least, usage.most), Basis.MIDDLE
        found.append(
            Assumption(call.item, usage.meter, usage.least, likely, usage.most, basis, measured)
        )
    return found


def _assume_count(call: PlannedCall) -> Assumption:
    likely, basis = call.count_likely, Basis.STATED
    if likely is None:
        likely, basis = _middle(call.count_least, call.count_most), Basis.MIDDLE
    return Assumption(call.item, None, call.count_least, likely, call.count_most, basis)


def _middle(least: int, most: int) -> int:
    return (least + most + 1) // 2


def _usages(amounts: Iterable[tuple[Meter | None, int]]) -> list[Usage]:
    return [Usage(meter, amount) for meter, amount in amounts if meter is not None]
