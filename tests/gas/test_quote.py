"""A quote is a range that holds every run within its plan, and says what it assumes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from gas.ledger import Consumption
from gas.prices import GAS_MAX, Meter, PriceTable, Usage, Weight
from gas.quote import Basis, PlannedCall, UsageRange, quote
from tests.gas.ledgers import ACCOUNT, MODEL

TABLE = PriceTable(
    {"model *": {Meter.INPUT_TOKENS: 1_000, Meter.OUTPUT_TOKENS: 3_000}},
    tiers={"model *": {50: {Meter.INPUT_TOKENS: 2_000}}},
    weights={"model *": Weight("model *", 1_500, frequencies=((2, 700), (4, 1_900)))},
)
PLAN = PlannedCall(MODEL, 1, 3, (UsageRange(Meter.INPUT_TOKENS, 10, 31),))


def history(amount: int, charge_count: int) -> dict[str, Consumption]:
    usages = (Usage(Meter.INPUT_TOKENS, amount),)
    return {MODEL: Consumption(ACCOUNT, MODEL, usages, 0, charge_count)}


@st.composite
def ranges(draw: st.DrawFn, *, most: int) -> tuple[int, int]:
    least = draw(st.integers(0, most))
    return least, draw(st.integers(least, most))


@st.composite
def runs_within_plans(draw: st.DrawFn) -> tuple[PlannedCall, list[tuple[Usage, ...]]]:
    """Return a plan, and what the calls of a run within it consume."""
    meters = [Meter.INPUT_TOKENS, Meter.OUTPUT_TOKENS]
    usages = tuple(UsageRange(meter, *draw(ranges(most=90))) for meter in meters)
    least, most = draw(ranges(most=6))
    count = draw(st.integers(least, max(most, 1)))
    calls = [
        tuple(Usage(one.meter, draw(st.integers(one.least, one.most))) for one in usages)
        for _ in range(count)
    ]
    return PlannedCall(MODEL, least, max(most, 1), usages), calls


@given(case=runs_within_plans(), before=st.integers(0, 5))
def test_no_run_within_the_plan_costs_less_or_more(
    case: tuple[PlannedCall, list[tuple[Usage, ...]]], before: int
) -> None:
    plan, calls = case
    gas = quote(TABLE, [plan], {}).gas

    spent = sum(
        TABLE.tariff(MODEL, call_count=before + number).price(usages)
        for number, usages in enumerate(calls)
    )

    assert gas.least <= spent <= gas.most
    assert gas.least <= gas.likely <= gas.most


@pytest.mark.parametrize(
    ("known", "likely", "basis", "charge_count"),
    [
        ({}, 21, Basis.MIDDLE, 0),
        (history(100, 4), 25, Basis.MEASURED, 4),
        # Never outside of what the plan says.
        (history(1_000, 4), 31, Basis.MEASURED, 4),
        (history(4, 4), 10, Basis.MEASURED, 4),
    ],
)
def test_what_is_likely_comes_from_earlier_calls(
    known: dict[str, Consumption], likely: int, basis: Basis, charge_count: int
) -> None:
    count, usage = quote(TABLE, [PLAN], known).assumptions

    assert (count.meter, count.least, count.likely, count.most) == (None, 1, 2, 3)
    assert (usage.likely, usage.basis, usage.charge_count) == (likely, basis, charge_count)


def test_what_is_stated_is_likely() -> None:
    usages = (UsageRange(Meter.INPUT_TOKENS, 10, 31, likely=11),)
    plan = PlannedCall(MODEL, 1, 3, usages, count_likely=3)

    assumptions = quote(TABLE, [plan], history(100, 4)).assumptions

    assert [(one.likely, one.basis) for one in assumptions] == [
        (3, Basis.STATED),
        (11, Basis.STATED),
    ]


def test_a_quote_has_a_line_for_each_item() -> None:
    table = PriceTable({"model *": {Meter.IMAGES: 1_000}})
    plan = [
        PlannedCall(f"model {name}", 1, 2, (UsageRange(Meter.IMAGES, 1, size),))
        for name, size in (("b", 3), ("a", 5))
    ]

    found = quote(table, plan, {})

    assert [(item, gas.least, gas.most) for item, gas in found.lines] == [
        ("model b", 1, 6),
        ("model a", 1, 10),
    ]
    assert (found.gas.least, found.gas.most) == (2, 16)


def test_what_costs_more_than_any_budget_is_refused() -> None:
    table = PriceTable({"model *": {Meter.IMAGES: 1_000}})
    plan = PlannedCall(MODEL, 0, 2, (UsageRange(Meter.IMAGES, 0, GAS_MAX // 2 + 1),))

    with pytest.raises(InvalidField, match="plan for less"):
        quote(table, [plan], {})
