"""Prices must be exact, whatever the amounts, and the longest match must win."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionvm.action.v1 import action_pb2
from chassis.errors import InvalidField
from gas.errors import PriceNotFound
from gas.prices import GAS_MAX, Meter, PriceTable, Tariff, Usage

METERS = st.sampled_from(Meter)
AMOUNTS = st.integers(0, 2**53 - 1)
RATES = st.dictionaries(METERS, st.integers(0, 10**12), min_size=1)
USAGES = st.lists(st.builds(Usage, METERS, AMOUNTS), max_size=16)
NAMES = st.text("ab/", max_size=4)
PATTERNS = st.one_of(NAMES.map("model {}".format), NAMES.map("model {}*".format))


@given(rates=RATES, usages=USAGES)
def test_a_price_is_each_meter_rounded_up_by_itself(
    rates: dict[Meter, int], usages: list[Usage]
) -> None:
    oracle = sum(ceil(Fraction(u.amount * rates.get(u.meter, 0), 1000)) for u in usages)

    assert Tariff("v", rates).price(usages) == oracle


@given(patterns=st.lists(PATTERNS, unique=True), item=NAMES.map("model {}".format))
def test_the_longest_match_wins_and_the_exact_one_before_all(
    patterns: list[str], item: str
) -> None:
    table = PriceTable({pattern: {Meter.IMAGES: number} for number, pattern in enumerate(patterns)})
    matching = [p for p in patterns if p == item or (p.endswith("*") and item.startswith(p[:-1]))]
    if not matching:
        with pytest.raises(PriceNotFound):
            table.tariff(item)
        return
    best = max(matching, key=lambda p: (not p.endswith("*"), len(p)))

    assert table.tariff(item).gas_per_thousand == {Meter.IMAGES: patterns.index(best)}


def test_a_meter_without_a_price_is_free() -> None:
    tariff = Tariff("v", {Meter.IMAGES: 1000})

    assert tariff.price([Usage(Meter.HOST_CALLS, 5)]) == 0


def test_a_quote_may_cost_the_largest_budget() -> None:
    table = PriceTable({"model *": {Meter.IMAGES: 1000}})

    assert table.quote("model x", [Usage(Meter.IMAGES, GAS_MAX)]) == GAS_MAX


def test_a_quote_above_the_largest_budget_is_refused() -> None:
    table = PriceTable({"model *": {Meter.IMAGES: 1000}})

    with pytest.raises(InvalidField, match="ask for less"):
        table.quote("model x", [Usage(Meter.IMAGES, GAS_MAX + 1)])


def test_the_order_of_a_table_does_not_change_its_version() -> None:
    one, two = {Meter.IMAGES: 1, Meter.HOST_CALLS: 2}, {Meter.IMAGES: 3}
    forwards = PriceTable({"model a": one, "model b": two})
    backwards = PriceTable({"model b": two, "model a": dict(reversed(one.items()))})

    assert forwards.version == backwards.version


def test_any_price_changes_the_version() -> None:
    versions = {PriceTable({"model a": {Meter.IMAGES: gas}}).version for gas in range(10)}

    assert len(versions) == 10


def test_a_version_has_twelve_characters() -> None:
    assert len(PriceTable({}).version) == 12


def test_the_meters_are_those_of_the_contract() -> None:
    known = {meter.value for meter in Meter}

    assert known == set(action_pb2.Usage.Meter.keys()) - {"METER_UNSPECIFIED"}
