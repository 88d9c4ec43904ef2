"""Prices must be exact, whatever the amounts, and the longest match must win."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionvm.action.v1 import action_pb2
from chassis.errors import InvalidField
from gas.errors import PriceNotFound
from gas.prices import (
    GAS_MAX,
    Meter,
    Price,
    PriceTable,
    Rate,
    Source,
    Tariff,
    Usage,
    Weight,
    table_from_content,
    table_of,
)

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


PERMILLES = st.integers(0, 10**6)


@given(rates=RATES, usages=USAGES, time=PERMILLES, complexity=PERMILLES, frequency=PERMILLES)
def test_weights_apply_as_the_contract_says(
    rates: dict[Meter, int], usages: list[Usage], time: int, complexity: int, frequency: int
) -> None:
    parts = {True: 0, False: 0}
    for usage in usages:
        gas = ceil(Fraction(usage.amount * rates.get(usage.meter, 0), 1000))
        parts[usage.meter is Meter.INFERENCE_MILLISECONDS] += gas
    weighted = frequency * (time * parts[True] + complexity * parts[False])
    tariff = Tariff("v", rates, (), complexity, time, frequency)

    assert tariff.price(usages) == ceil(Fraction(weighted, 10**6))


@given(first=RATES, added=st.lists(RATES, max_size=3), usages=USAGES, more=USAGES)
def test_using_more_never_costs_less(
    first: dict[Meter, int],
    added: list[dict[Meter, int]],
    usages: list[Usage],
    more: list[Usage],
) -> None:
    tiers, below = [], first
    for number, rates in enumerate(added, start=1):
        dearer = {meter: below.get(meter, 0) + gas for meter, gas in rates.items()}
        tiers.append((number * 2**50, dearer))
        below = {**below, **dearer}
    tariff = Tariff("v", first, tuple(tiers))

    assert tariff.price([*usages, *more]) >= tariff.price(usages)


def test_a_tier_counts_everything_that_a_call_reads() -> None:
    dearer = {Meter.INPUT_TOKENS: 2_000, Meter.OUTPUT_TOKENS: 5_000}
    base = {Meter.INPUT_TOKENS: 1_000, Meter.OUTPUT_TOKENS: 1_000, Meter.CACHED_INPUT_TOKENS: 100}
    tariff = Tariff("v", base, ((100, dearer),))

    def price(*, cached: int) -> int:
        reads = [Usage(Meter.INPUT_TOKENS, 50), Usage(Meter.CACHED_INPUT_TOKENS, cached)]
        return tariff.price([*reads, Usage(Meter.OUTPUT_TOKENS, 10)])

    assert price(cached=50) == 50 + 5 + 10
    # A meter that the tier does not name costs what it costs below.
    assert price(cached=60) == 100 + 6 + 50


@pytest.mark.parametrize(("calls", "permille"), [(0, 1000), (9, 1000), (10, 900), (20, 1500)])
def test_the_last_frequency_that_is_reached_counts(calls: int, permille: int) -> None:
    weight = Weight("model *", frequencies=((10, 900), (20, 1500)))
    table = PriceTable({"model *": {Meter.IMAGES: 1}}, weights={"model *": weight})

    assert table.tariff("model x", call_count=calls).frequency_permille == permille


def test_a_quote_is_at_the_frequency_that_costs_most() -> None:
    weight = Weight("model *", frequencies=((10, 1500), (20, 900)))
    table = PriceTable({"model *": {Meter.IMAGES: 1000}}, weights={"model *": weight})

    assert table.quote("model x", [Usage(Meter.IMAGES, 10)]) == 15


@given(gas=st.integers(0, GAS_MAX), micros=st.integers(1, 10**9))
def test_money_is_rounded_up(gas: int, micros: int) -> None:
    assert Rate(micros, "USD").micros(gas) == ceil(Fraction(gas * micros, 1000))


LINES = st.builds(
    Price,
    item=PATTERNS,
    meter=METERS,
    gas_per_thousand=st.integers(0, 10**12),
    input_tokens_above=st.sampled_from([0, 1000]),
    source=st.none() | st.builds(Source, st.just("https://x.org"), st.just("2026-11-22")),
)


@given(
    lines=st.lists(LINES, unique_by=lambda line: (line.item, line.meter, line.input_tokens_above))
)
def test_a_table_survives_being_stored(lines: list[Price]) -> None:
    based = [line for line in lines if not line.input_tokens_above]
    items = {line.item for line in based}
    table = table_of(
        [*based, *(line for line in lines if line.input_tokens_above and line.item in items)],
        rate=Rate(7, "EUR"),
        weights=[Weight("model *", 1, 2, ((3, 4),))],
    )

    again = table_from_content(table.content.decode())

    assert (again, again.version) == (table, table.version)


@pytest.mark.parametrize(
    "change",
    [
        {"rate": Rate(1, "USD")},
        {"weights": {"model *": Weight("model *", 2)}},
        {"tiers": {"model a": {5: {Meter.IMAGES: 9}}}},
    ],
)
def test_whatever_changes_a_bill_changes_the_version(change: dict[str, Any]) -> None:
    table = PriceTable({"model a": {Meter.IMAGES: 1}})

    assert replace(table, **change).version != table.version


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
