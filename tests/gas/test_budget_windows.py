"""Budgets count in their windows, in SQLite and PostgreSQL, and what is told is told once."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from gas.budgets import STEPS_KEPT, STEPS_MAX, Budget, Origin, Tally
from gas.chain import DEFAULT_TENANT
from gas.operations import Held, Limit, Operation, Reserve, Settle
from gas.windows import Period
from tests.gas.budget_calls import BY_THE_HOUR, hold, refusal, spent, told
from tests.gas.ledgers import (
    ACCOUNT,
    HandSetClock,
    Ledger,
    budget,
    open_ledger,
    reservation,
    run_name,
    tokens,
)


@pytest.fixture
def clock() -> HandSetClock:
    return HandSetClock()


@pytest.fixture
def store(engine: Engine, clock: HandSetClock) -> Ledger:
    return open_ledger(engine=engine, clock=clock)


def test_a_sliding_window_forgets_step_by_step(store: Ledger, clock: HandSetClock) -> None:
    store.set_budget(BY_THE_HOUR)
    for _ in range(2):
        hold(store, 5)
        clock.advance(timedelta(minutes=30))
    # At the full step, the one an hour ago still counts.
    assert spent(store) == [10]

    clock.advance(timedelta(minutes=1))

    assert spent(store) == [5]
    assert refusal(store, 6).gas_available == 5


def test_a_new_budget_counts_what_its_window_has_seen(store: Ledger, clock: HandSetClock) -> None:
    store.set_budget(budget(100, period=Period.TOTAL))
    hold(store, 1)
    clock.advance(timedelta(hours=2))
    hold(store, 2)
    clock.advance(timedelta(minutes=45))
    hold(store, 4, item="model local/tiny")
    clock.time = datetime(2026, 4, 1, 1, 20, tzinfo=UTC)
    kinds = {
        # Berlin is two hours ahead, so its day and month began when UTC was at 22.
        "month": replace(budget(100, period=Period.MONTH), time_zone="Europe/Berlin"),
        "utc": budget(100, period=Period.MONTH),
        "sliding": BY_THE_HOUR,
        "model": replace(budget(100), item="model local/tiny"),
        "run": replace(budget(100, period=Period.TOTAL), run=run_name(1)),
        "other-run": replace(budget(100, period=Period.TOTAL), run=run_name(2)),
    }

    found = {id_: store.set_budget(replace(kind, id=id_)).gas_spent for id_, kind in kinds.items()}

    assert found == {"month": 7, "utc": 6, "sliding": 6, "model": 4, "run": 7, "other-run": 0}


def test_a_new_budget_counts_what_its_own_batch_holds(store: Ledger) -> None:
    store.set_budget(budget(100))
    held = hold(store, 10)
    batch: list[Operation[object]] = [
        Reserve(reservation("r", 4)),
        Settle(held.name, tokens(3)),
        Limit(replace(budget(100), id="new")),
    ]

    found = store.store.apply(batch)[2]

    assert isinstance(found, Budget)
    assert found.gas_spent == 7
    assert spent(store) == [7, 7]


def test_what_is_given_back_of_an_earlier_window_makes_no_room(
    store: Ledger, clock: HandSetClock
) -> None:
    store.set_budget(budget(10))
    before = hold(store, 10)
    clock.advance(timedelta(hours=2))
    hold(store, 8)

    store.release(before.name)

    assert refusal(store, 3).gas_available == 2


@pytest.mark.parametrize("back", [timedelta(minutes=1), timedelta(hours=30), timedelta(days=70)])
@pytest.mark.parametrize(
    "kind",
    [
        BY_THE_HOUR,
        replace(budget(10), time_zone="America/New_York"),
        budget(10, period=Period.MONTH),
        replace(budget(10), run=run_name(1)),
    ],
    ids=lambda kind: kind.period.value,
)
def test_a_clock_that_is_set_back_opens_no_budget(
    store: Ledger, clock: HandSetClock, kind: Budget, back: timedelta
) -> None:
    store.set_budget(kind)
    hold(store, 10)
    clock.advance(-back)

    assert refusal(store, 1).gas_available == 0


def test_setting_a_budget_again_changes_nothing(store: Ledger, clock: HandSetClock) -> None:
    store.set_budget(BY_THE_HOUR)
    hold(store, 7)
    clock.advance(timedelta(minutes=50))

    assert store.set_budget(replace(BY_THE_HOUR, gas_limit=12)).gas_spent == 7
    clock.advance(timedelta(minutes=11))
    assert spent(store) == [0]


def test_a_budget_that_counts_something_else_begins_anew(store: Ledger) -> None:
    store.set_budget(budget(100))
    hold(store, 7)
    store.set_budget(replace(budget(100), item="action *"))

    assert spent(store) == [0]
    store.set_budget(budget(100))
    assert spent(store) == [7]


def test_budgets_of_every_kind_are_found_again(engine: Engine, clock: HandSetClock) -> None:
    store = open_ledger(engine=engine, clock=clock)
    kinds = [
        replace(BY_THE_HOUR, id="a"),
        replace(budget(20, period=Period.HOUR), id="b", time_zone="Asia/Kathmandu"),
        replace(budget(30), id="c", item="model *", soft=True),
        replace(budget(40, period=Period.TOTAL), id="d", run=run_name(1)),
    ]
    for kind in kinds:
        store.set_budget(kind)
    hold(store, 10)

    again = open_ledger(engine=engine, clock=clock)

    assert again.budgets(ACCOUNT) == [replace(kind, gas_spent=10) for kind in kinds]
    assert refusal(again, 1).gas_available == 0


# --- What is told --------------------------------------------------------------------------------


def test_each_percentage_is_told_once_per_window(engine: Engine, clock: HandSetClock) -> None:
    store = open_ledger(engine=engine, clock=clock)
    store.set_budget(replace(budget(10), soft=True))
    store.set_budget(budget(1_000, origin=Origin.MANIFEST))
    name = "agents/market-brief/budgets/operator.default"
    for gas, percents in ((4, []), (1, [50]), (2, [50]), (3, [50, 100]), (9, [50, 100])):
        # Also by one who has just begun.
        store = open_ledger(engine=engine, clock=clock, dice=random.Random(gas))
        hold(store, gas)
        assert told(store) == [(name, percent) for percent in percents]

    clock.advance(timedelta(hours=2))
    hold(store, 8)

    assert told(store) == [(name, 50), (name, 100), (name, 80)]


def test_a_sliding_window_tells_again_when_the_last_time_has_left_it(
    store: Ledger, clock: HandSetClock
) -> None:
    store.set_budget(BY_THE_HOUR)
    for _ in range(5):
        store.release(hold(store, 5).name)
        clock.advance(timedelta(minutes=20))

    # At 0 and 80 minutes; at 60 the first one is in the window still.
    assert [percent for _, percent in told(store)] == [50, 50]


def test_another_limit_tells_again_what_it_has_not_reached(store: Ledger) -> None:
    store.set_budget(budget(10))
    hold(store, 10)
    store.set_budget(budget(40))
    hold(store, 10)

    assert [percent for _, percent in told(store)] == [100, 50]


def test_answers_say_how_far_budgets_are_used_up(store: Ledger) -> None:
    store.set_budget(budget(10))
    store.set_budget(replace(budget(16, account=DEFAULT_TENANT), soft=True))
    held = store.apply(Reserve(reservation("r", 9)))
    settled = store.apply(Settle(held.hold.name, tokens(5)))

    assert [_percents(answer) for answer in (held, settled)] == [
        {ACCOUNT: 80, DEFAULT_TENANT: 50},
        {ACCOUNT: 50},
    ]


def _percents(answer: Held) -> dict[str, int]:
    return {warning.account: warning.percent for warning in answer.warnings}


def test_a_refused_hold_tells_nothing(store: Ledger) -> None:
    store.set_budget(budget(10))
    refusal(store, 11)

    assert told(store) == []


# --- What is remembered --------------------------------------------------------------------------


def test_only_the_last_steps_are_remembered(engine: Engine, clock: HandSetClock) -> None:
    store = open_ledger(engine=engine, clock=clock)
    store.set_budget(replace(budget(1_000), period=Period.SLIDING, window_seconds=60))
    for _ in range(STEPS_MAX + 1):
        hold(store, 1)
        clock.advance(timedelta(seconds=1))

    again = open_ledger(engine=engine, clock=clock)
    clock.advance(timedelta(seconds=-STEPS_KEPT + 1))

    # All that is remembered is later than the window of now, and counts.
    assert spent(store) == spent(again) == [STEPS_KEPT]


def test_what_a_forgotten_step_gets_back_is_forgotten() -> None:
    now = HandSetClock().now()
    tally = Tally(replace(budget(10), period=Period.SLIDING, window_seconds=60), since=now)

    assert tally.add(now + timedelta(hours=1), -5) is None
    assert tally.spent(now) == 0
