"""Usage adds up, by whatever it is summed, and days are those of the time zone."""

from __future__ import annotations

import random
from collections import Counter as Sums
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.database import open_memory_database
from gas.chain import Caller
from gas.operations import Assign, Publish, Settle
from gas.price_schedule import Update
from gas.prices import Meter, PriceTable, Rate
from gas.sums import Counter, TokenCount, TokenDrift
from gas.tables import TABLES
from gas.usage_report import Dimension, UsageQuery, UsageSum
from gas.windows import quarter
from tests.gas.ledgers import (
    ACCOUNT,
    MODEL,
    HandSetClock,
    Ledger,
    budget,
    open_ledger,
    reservation,
    run_name,
    tokens,
)

OTHER = "agents/other"
KATHMANDU = "Asia/Kathmandu"
EVERYTHING = frozenset(Dimension)


@pytest.fixture
def clock() -> HandSetClock:
    return HandSetClock()


@pytest.fixture
def store(clock: HandSetClock) -> Ledger:
    ledger = open_ledger(clock=clock)
    for account in (ACCOUNT, OTHER):
        ledger.set_budget(budget(10**9, account=account))
    return ledger


NUMBERS = iter(range(10**6))


def spend(store: Ledger, gas: int, *, account: str = ACCOUNT, item: str = MODEL) -> str:
    run = run_name(1 if account == ACCOUNT else 2)
    asked = reservation(f"r{next(NUMBERS)}", gas, account=account, item=item, run=run)
    return store.settle(store.reserve(asked).name, tokens(gas)).name


def report(store: Ledger, query: UsageQuery) -> list[UsageSum]:
    return store.store.usage(query, None, 1_000)


def by_day(store: Ledger, time_zone: str) -> dict[str, int]:
    query = UsageQuery(time_zone=time_zone, dimensions=frozenset({Dimension.DAY}))
    return {found.place[3]: found.gas for found in report(store, query)}


def test_a_day_begins_at_midnight_of_the_time_zone(store: Ledger, clock: HandSetClock) -> None:
    # In Kathmandu it is 5:45 later than in UTC, so the day begins at 18:15.
    clock.time = datetime(2026, 4, 1, 18, 14, tzinfo=UTC)
    spend(store, 1)
    clock.advance(timedelta(minutes=1))
    spend(store, 2)

    assert by_day(store, KATHMANDU) == {"2026-04-01": 1, "2026-04-02": 2}
    assert by_day(store, "") == {"2026-04-01": 3}


def test_what_an_agent_passes_on_counts_once(store: Ledger) -> None:
    asked = reservation(
        "r", 7, account=OTHER, run=run_name(2), callers=[Caller(ACCOUNT, run_name(1))]
    )
    store.settle(store.reserve(asked).name, tokens(7))

    total = report(store, UsageQuery())
    lines = report(store, UsageQuery(dimensions=frozenset({Dimension.ACCOUNT, Dimension.ITEM})))

    assert [found.gas for found in total] == [7]
    assert [(found.place[:2], found.gas) for found in lines] == [
        ((ACCOUNT, "agent other"), 7),
        ((OTHER, MODEL), 7),
    ]


def test_usage_stays_with_the_tenant_of_its_hold(store: Ledger) -> None:
    spend(store, 1)
    store.apply(Assign(ACCOUNT, "tenants/acme"))
    spend(store, 2)

    by_tenant = UsageQuery(dimensions=frozenset({Dimension.TENANT}))

    assert [(found.place[2], found.gas) for found in report(store, by_tenant)] == [
        ("tenants/acme", 2),
        ("tenants/default", 1),
    ]
    assert [found.gas for found in report(store, UsageQuery(tenant="tenants/acme"))] == [2]


def test_cost_is_at_the_rate_of_each_charge(store: Ledger) -> None:
    spend(store, 1_000)
    rate = Rate(300, "USD")
    prices = PriceTable({"model *": {Meter.INPUT_TOKENS: 1_000}}, rate=rate)
    store.apply(Publish(Update("p", prices, has_rate=True, effective_time=None)))
    spend(store, 1_000)

    (found,) = report(store, UsageQuery())

    assert found.cost == (100 + 300, "USD")


def test_costs_in_two_currencies_are_not_added_up(store: Ledger) -> None:
    spend(store, 1)
    prices = PriceTable({"model *": {Meter.INPUT_TOKENS: 1_000}}, rate=Rate(1, "EUR"))
    store.apply(Publish(Update("p", prices, has_rate=True, effective_time=None)))
    spend(store, 1)

    (found,) = report(store, UsageQuery())

    assert (found.gas, found.cost) == (2, None)


def test_what_a_clock_that_was_set_back_sees_is_not_lost(
    store: Ledger, clock: HandSetClock
) -> None:
    spend(store, 1)
    clock.advance(timedelta(hours=-2))
    spend(store, 2)

    assert [found.gas for found in report(store, UsageQuery())] == [3]


def test_usage_counts_at_its_time_after_the_clock_was_ahead_for_a_while(
    store: Ledger, clock: HandSetClock
) -> None:
    spend(store, 1)
    clock.advance(timedelta(days=365))
    spend(store, 2)
    clock.advance(timedelta(days=-365))
    spend(store, 4)

    assert by_day(store, "") == {"2026-03-31": 5, "2027-03-31": 2}


def test_a_refund_lowers_what_was_used(store: Ledger) -> None:
    store.refund("f", spend(store, 5), 2)

    (found,) = report(store, UsageQuery())

    assert (found.gas, found.charge_count, found.usages) == (3, 1, tokens(5))


CHARGES = st.lists(
    st.tuples(
        st.sampled_from([ACCOUNT, OTHER]),
        st.sampled_from([MODEL, "model local/other"]),
        st.integers(0, 50),
        # Up to two days, so that hours and quarters are left and entered.
        st.sampled_from([0, 1, 7, 16, 61, 700, 1_500]),
        st.booleans(),
    ),
    max_size=15,
)


@given(
    charges=CHARGES,
    zone=st.sampled_from(["", KATHMANDU, "America/St_Johns"]),
    cut=st.integers(0, 14),
)
def test_every_sum_is_that_of_its_charges(
    charges: list[tuple[str, str, int, int, bool]], zone: str, cut: int
) -> None:
    clock, dice, engine = HandSetClock(), random.Random(1), open_memory_database(TABLES)
    store = open_ledger(clock=clock, dice=dice, engine=engine)
    for account in (ACCOUNT, OTHER):
        store.set_budget(budget(10**9, account=account))
    made: list[tuple[str, str, str, int, int]] = []
    for account, item, gas, wait, restart in charges:
        spend(store, gas, account=account, item=item)
        day = clock.now().astimezone(ZoneInfo(zone or "UTC")).date().isoformat()
        made.append((account, item, day, quarter(clock.now()), gas))
        clock.advance(timedelta(minutes=wait))
        if restart:
            store = open_ledger(clock=clock, dice=dice, engine=engine)
    start = made[cut % len(made)][3] if made else 0
    expected, counts = Sums[tuple[str, str, str]](), Sums[tuple[str, str, str]]()
    for account, item, day, at, gas in made:
        if at >= start:
            expected[account, item, day] += gas
            counts[account, item, day] += 1

    found = report(store, UsageQuery(start=start, time_zone=zone, dimensions=EVERYTHING))

    assert {(one.place[0], one.place[1], one.place[3]): one.gas for one in found} == expected
    assert sum(one.charge_count for one in found) == counts.total()


def test_pages_of_any_size_give_the_same_sums(store: Ledger) -> None:
    for number in range(5):
        spend(store, number, item=f"model local/{number}")
    query = UsageQuery(dimensions=EVERYTHING)

    def pages(limit: int) -> Iterator[UsageSum]:
        after = None
        while page := store.store.usage(query, after, limit):
            yield from page
            after = page[-1].place

    assert list(pages(2)) == list(pages(100))


# --- Who counts tokens ---------------------------------------------------------------------------


def count(counter: Counter, amount: int) -> TokenCount:
    return TokenCount(Meter.INPUT_TOKENS, counter, amount)


def settle_counted(store: Ledger, request_id: str, *counts: TokenCount, **options: bool) -> None:
    hold = store.reserve(reservation(request_id, 10))
    store.apply(Settle(hold.name, tokens(1), token_counts=counts, **options))


def test_counters_are_compared_with_the_provider(store: Ledger) -> None:
    for request_id, provider, tokenizer in (("a", 100, 110), ("b", 200, 190), ("c", 10, 10)):
        counts = (count(Counter.PROVIDER, provider), count(Counter.TOKENIZER, tokenizer))
        settle_counted(store, request_id, *counts)

    assert store.store.drifts(MODEL) == [
        TokenDrift(MODEL, Meter.INPUT_TOKENS, Counter.TOKENIZER, 3, 310, 310, 1, 100)
    ]


@pytest.mark.parametrize("counter", Counter)
def test_one_counter_alone_is_compared_with_nothing(store: Ledger, counter: Counter) -> None:
    settle_counted(store, "a", count(counter, 5))

    assert store.store.drifts("") == []


def test_a_hold_is_compared_once(store: Ledger) -> None:
    counts = (count(Counter.PROVIDER, 5), count(Counter.UPPER_BOUND, 9))
    hold = store.reserve(reservation("a", 10))
    for keep_open in (True, False, False):
        store.apply(Settle(hold.name, tokens(1), keep_open=keep_open, token_counts=counts))

    (drift,) = store.store.drifts("")
    assert (drift.charge_count, drift.drift_permille_max) == (1, 800)


def test_comparisons_survive_a_restart() -> None:
    dice, engine = random.Random(1), open_memory_database(TABLES)
    counts = (count(Counter.PROVIDER, 5), count(Counter.UPPER_BOUND, 9))
    for request_id in ("a", "b"):
        store = open_ledger(dice=dice, engine=engine)
        store.set_budget(budget(100))
        settle_counted(store, request_id, *counts)

    (drift,) = store.store.drifts("")
    assert drift.charge_count == 2
