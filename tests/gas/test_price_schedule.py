"""At any time exactly one price table counts, whatever was scheduled and however often asked."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField, RequestIdReused
from gas.errors import PriceTableNotFound
from gas.operations import Held, Operation, Publish, Reserve
from gas.price_schedule import EVER, Update
from gas.prices import Meter, PriceTable, Rate, Weight
from tests.gas.ledgers import (
    ACCOUNT,
    MODEL,
    HandSetClock,
    Ledger,
    budget,
    open_ledger,
    reservation,
    tokens,
)

START = HandSetClock().now()
HOUR = timedelta(hours=1)


def table(gas: int) -> PriceTable:
    """Return prices at which a token costs this much gas."""
    return PriceTable({"model *": {Meter.INPUT_TOKENS: gas * 1_000}})


def update(request_id: str, gas: int, time: datetime | None = None) -> Publish:
    return Publish(Update(request_id, table(gas), has_rate=True, effective_time=time))


def price(store: Ledger, time: datetime | None = None) -> int:
    """Return what 1,000 tokens cost at a time."""
    _, found = store.store.prices.at(time)
    return found.tariff(MODEL).price(tokens(1_000)) // 1_000


@pytest.fixture
def clock() -> HandSetClock:
    return HandSetClock()


@pytest.fixture
def store(clock: HandSetClock) -> Ledger:
    ledger = open_ledger(clock=clock, prices=table(1))
    ledger.set_budget(budget(10**9))
    return ledger


def test_the_file_counts_from_ever(store: Ledger) -> None:
    scheduled, found = store.store.prices.at(EVER)

    assert (scheduled.is_from_file, found) == (True, table(1))


def test_an_update_counts_at_once_and_keeps_what_is_held(store: Ledger) -> None:
    before = store.reserve(reservation("before", 10))
    store.apply(update("p", 3))
    after = store.reserve(reservation("after", 10))

    settled = [store.settle(hold.name, tokens(10)) for hold in (before, after)]

    assert [hold.charged_gas for hold in settled] == [10, 30]
    versions = [entry.price_version for entry in store.store.entries(0, limit=9)]
    assert versions == [table(1).version, table(3).version]


def test_a_table_for_later_counts_from_its_time_on(store: Ledger, clock: HandSetClock) -> None:
    store.apply(update("p", 3, START + HOUR))

    assert price(store, START + HOUR) == 3
    assert store.reserve(reservation("early", 10)).gas == 10
    clock.advance(HOUR)
    assert store.reserve(reservation("late", 10)).gas == 30


def test_the_present_table_takes_a_later_one_back(store: Ledger, clock: HandSetClock) -> None:
    store.apply(update("p", 3, START + HOUR))
    store.apply(update("back", 1, START + HOUR))
    clock.advance(HOUR)

    assert store.reserve(reservation("r", 10)).gas == 10


def test_a_repeated_update_changes_nothing(store: Ledger, clock: HandSetClock) -> None:
    first = store.apply(update("p", 3))
    clock.advance(HOUR)
    store.apply(update("q", 4))

    again = store.apply(update("p", 3))

    assert again == first
    assert price(store) == 4


def test_an_update_with_the_id_of_another_is_refused(store: Ledger) -> None:
    store.apply(update("p", 3))

    with pytest.raises(RequestIdReused):
        store.apply(update("p", 4))


def test_a_time_that_has_passed_is_refused(store: Ledger) -> None:
    with pytest.raises(InvalidField) as refused:
        store.apply(update("p", 3, START - timedelta(seconds=1)))

    assert refused.value.field == "effective_time"


def test_an_update_without_a_rate_keeps_the_rate(store: Ledger) -> None:
    euro = Rate(9, "EUR")
    for request_id, prices, has_rate in (
        ("p", replace(table(2), rate=euro), True),
        ("q", table(3), False),
    ):
        store.apply(Publish(Update(request_id, prices, has_rate=has_rate, effective_time=None)))

    assert store.store.prices.at()[1] == replace(table(3), rate=euro)


def test_a_restart_keeps_what_was_updated(tmp_path: Path) -> None:
    path = tmp_path / "gas.db"
    open_ledger(path, prices=table(1)).apply(update("p", 3))

    assert price(open_ledger(path, prices=table(1))) == 3


def test_another_file_is_an_update_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "gas.db"
    open_ledger(path, prices=table(1)).apply(update("p", 3))

    store = open_ledger(path, prices=table(5))

    assert price(store) == 5
    assert [listed.in_force for listed in store.store.prices.page(before=None, limit=9)] == [
        True,
        False,
        False,
    ]


def test_a_version_is_found_with_the_time_since_when_it_counts(store: Ledger) -> None:
    store.apply(update("p", 3, START + HOUR))

    scheduled, found = store.store.prices.find(table(3).version)

    assert (scheduled.effective_time, found) == (START + HOUR, table(3))


def test_a_version_that_never_was_is_not_found(store: Ledger) -> None:
    with pytest.raises(PriceTableNotFound):
        store.store.prices.find(table(9).version)


def test_the_frequency_of_calls_is_that_of_the_hour(tmp_path: Path) -> None:
    weight = Weight("model *", frequencies=((2, 3_000),))
    prices = replace(table(1), weights={"model *": weight})
    clock, dice = HandSetClock(), random.Random(1)

    def spend(number: int) -> int:
        # A restart forgets no call.
        store = open_ledger(tmp_path / "gas.db", prices=prices, clock=clock, dice=dice)
        store.set_budget(budget(10**9))
        hold = store.reserve(reservation(f"r{number}", 10))
        return store.settle(hold.name, tokens(10)).charged_gas

    gas = [spend(number) for number in range(4)]
    clock.advance(timedelta(minutes=29))
    gas.append(spend(4))
    clock.advance(timedelta(minutes=1))
    gas.append(spend(5))

    assert gas == [10, 10, 30, 30, 30, 10]


def test_the_frequency_of_calls_starts_anew_with_the_hour(clock: HandSetClock) -> None:
    weight = Weight("model *", frequencies=((1, 3_000),))
    store = open_ledger(clock=clock, prices=replace(table(1), weights={"model *": weight}))
    store.set_budget(budget(10**9))
    gas = []
    for minutes in (0, 15, 30):
        clock.time = START.replace(minute=30) + timedelta(minutes=minutes)
        hold = store.reserve(reservation(f"r{minutes}", 10))
        gas.append(store.settle(hold.name, tokens(10)).charged_gas)

    assert gas == [10, 30, 10]


def test_what_comes_after_an_update_in_a_batch_has_its_prices(store: Ledger) -> None:
    operations: list[Operation[Any]] = [update("p", 3), Reserve(reservation("r", 10))]
    _, held = store.store.apply(operations)

    assert isinstance(held, Held)
    assert held.hold.gas == 30


def test_a_hold_keeps_weights_and_tiers_over_a_restart(tmp_path: Path) -> None:
    dear = PriceTable(
        {"model *": {Meter.INPUT_TOKENS: 1_000}},
        tiers={"model *": {5: {Meter.INPUT_TOKENS: 2_000}}},
        weights={"model *": Weight("model *", complexity_permille=1_500)},
    )
    store = open_ledger(tmp_path / "gas.db", prices=dear)
    store.set_budget(budget(100))
    hold = store.reserve(reservation("r", 10))

    again = open_ledger(tmp_path / "gas.db", prices=table(1))

    assert hold.gas == 30
    assert again.settle(hold.name, tokens(8)).charged_gas == 24
    assert again.budgets(ACCOUNT)[0].gas_spent == 24


UPDATES = st.lists(
    st.tuples(st.integers(1, 5), st.none() | st.integers(0, 6), st.integers(0, 3)), max_size=8
)


@given(updates=UPDATES)
def test_the_table_in_force_is_that_of_a_simple_model(
    updates: list[tuple[int, int | None, int]],
) -> None:
    clock = HandSetClock()
    store = open_ledger(clock=clock, prices=table(1))
    store.set_budget(budget(10**9))
    model = [(EVER, 1)]
    for number, (gas, hours, wait) in enumerate(updates):
        time = None if hours is None else clock.now() + hours * HOUR
        store.apply(update(f"p{number}", gas, time))
        model.append((time or clock.now(), gas))
        for offset in range(8):
            at = clock.now() + offset * HOUR
            # `max` gives the first of equal ones, so the last scheduled has to come first.
            expected = max(
                (one for one in reversed(model) if one[0] <= at), key=lambda one: one[0]
            )[1]
            assert price(store, at) == expected
        held = store.reserve(reservation(f"r{number}", 10)).gas
        assert held == 10 * price(store)
        clock.advance(wait * HOUR)
