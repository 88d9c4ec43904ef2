"""Money is exact: nothing is lost, nothing made, and everybody gets what is theirs."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from gas.market.fees import (
    MICROS_MAX,
    Dao,
    FeeSchedule,
    Holding,
    Payout,
    price_run,
    share_out,
)
from gas.prices import Rate

RATE = Rate(micros_per_thousand_gas=100, currency="USD")
MICROS = st.integers(0, 10**20)
HOLDERS = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1)
HOLDINGS = st.dictionaries(HOLDERS, st.integers(1, 10**15), min_size=1, max_size=30).map(
    lambda units: tuple(Holding(holder, unit) for holder, unit in units.items())
)
POINTS = st.integers(0, 10_000)
SCHEDULES = st.builds(
    FeeSchedule,
    account=st.just("agents/a"),
    service_cost_micros=st.integers(0, 10**12),
    commission_basis_points=POINTS,
    discounts=st.dictionaries(st.sampled_from(["MAGNET", "ETH"]), POINTS),
    creator_fee_micros=st.integers(0, 10**12),
    creator_basis_points=st.integers(0, 100_000),
    dao=st.just("daos/d"),
)


@given(MICROS, HOLDINGS)
def test_payouts_sum_up_to_what_was_split(micros: int, holdings: tuple[Holding, ...]) -> None:
    assert sum(paid.micros for paid in share_out(micros, holdings)) == micros


@given(MICROS, HOLDINGS)
def test_everybody_gets_their_share_rounded_up_or_down(
    micros: int, holdings: tuple[Holding, ...]
) -> None:
    paid = {payout.holder: payout.micros for payout in share_out(micros, holdings)}
    total = sum(holding.units for holding in holdings)

    for holding in holdings:
        exact = Fraction(micros * holding.units, total)
        assert abs(paid.get(holding.holder, 0) - exact) < 1


@given(MICROS, HOLDINGS)
def test_nobody_pays_in_and_nobody_is_named_for_nothing(
    micros: int, holdings: tuple[Holding, ...]
) -> None:
    assert all(paid.micros > 0 for paid in share_out(micros, holdings))


@given(MICROS, st.lists(HOLDERS, min_size=1, max_size=30, unique=True), st.integers(1, 10**15))
def test_equal_holdings_get_equal_shares_but_for_one_micro(
    micros: int, holders: list[str], units: int
) -> None:
    paid = {paid.holder: paid.micros for paid in share_out(micros, _equal(holders, units))}
    shares = [paid.get(holder, 0) for holder in holders]

    assert max(shares) - min(shares) <= 1


@given(MICROS, HOLDINGS)
def test_who_holds_more_never_gets_less(micros: int, holdings: tuple[Holding, ...]) -> None:
    paid = {payout.holder: payout.micros for payout in share_out(micros, holdings)}
    rising = sorted(holdings, key=lambda holding: holding.units)

    for poorer, richer in pairwise(rising):
        if poorer.units < richer.units:
            assert paid.get(poorer.holder, 0) <= paid.get(richer.holder, 0)


@given(MICROS, HOLDINGS, st.randoms(use_true_random=False))
def test_the_order_of_holdings_changes_nothing(
    micros: int, holdings: tuple[Holding, ...], dice: object
) -> None:
    shuffled = list(holdings)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # a Random of Hypothesis

    assert share_out(micros, shuffled) == share_out(micros, holdings)


def test_what_is_left_goes_to_the_largest_fractions_and_of_equal_ones_by_name() -> None:
    holdings = (Holding("c", 1), Holding("a", 1), Holding("b", 1), Holding("d", 3))

    # 1/6, 1/6, 1/6 and 3/6 of 7 are 1 1/6, three times, and 3 1/2.
    paid = [(payout.holder, payout.micros) for payout in share_out(7, holdings)]

    assert paid == [("a", 1), ("b", 1), ("c", 1), ("d", 4)]
    assert share_out(1, _equal(["z", "y", "x"], 5)) == (Payout("x", 1),)


@given(st.integers(0, 10**15), SCHEDULES, HOLDINGS, st.sampled_from(["", "MAGNET", "ETH", "X"]))
def test_the_price_of_a_run_is_what_its_parts_are(
    gas: int, schedule: FeeSchedule, holdings: tuple[Holding, ...], token: str
) -> None:
    dao = Dao("daos/d", holdings, 1)
    price = price_run({RATE: gas}, schedule=schedule, dao=dao, payment_token=token)

    paid = sum(payout.micros for payout in price.payouts)
    assert paid == price.creator_micros
    assert price.total_micros == (
        price.actionvm_micros + paid + price.commission_micros - price.discount_micros
    )
    assert 0 <= price.discount_micros <= price.commission_micros
    assert price.actionvm_micros >= schedule.service_cost_micros
    assert price.total_micros >= price.actionvm_micros + price.creator_micros


def test_a_price_is_what_the_contract_says() -> None:
    schedule = FeeSchedule(
        "agents/a", 50, 250, {"MAGNET": 5_000}, creator_fee_micros=7, creator_basis_points=1_000
    )
    dao = Dao("daos/d", _equal(["a", "b"], 1), 1)

    price = price_run({RATE: 12_345}, schedule=schedule, dao=dao, payment_token="MAGNET")

    # In the order of the formulas: 1,234.5 up, and 50; 7 and 128.5 down; 35.5 down; 17.5 down.
    assert price.actionvm_micros == 1_285
    assert price.creator_micros == 135
    assert price.commission_micros == 35
    assert price.discount_micros == 17
    assert price.total_micros == 1_438


def test_gas_of_each_rate_is_rounded_up_by_itself() -> None:
    gas_by_rate = {RATE: 11, Rate(3 * RATE.micros_per_thousand_gas, "USD"): 11}

    price = price_run(gas_by_rate, schedule=FeeSchedule(), dao=None, payment_token="")

    # 1.1 up, and 3.3 up.
    assert (price.gas, price.actionvm_micros, price.rate) == (22, 6, list(gas_by_rate)[1])


def test_a_token_without_a_discount_takes_nothing_off() -> None:
    schedule = FeeSchedule(commission_basis_points=1_000, discounts={"MAGNET": 10_000})

    prices = [
        price_run({RATE: 10**6}, schedule=schedule, dao=None, payment_token=token)
        for token in ("", "ETH", "MAGNET")
    ]

    assert [price.discount_micros for price in prices] == [0, 0, 10_000]


def test_money_that_no_database_holds_is_refused() -> None:
    rate = Rate(10**9, "USD")
    most = MICROS_MAX // 10**6

    price_run({rate: most}, schedule=FeeSchedule(), dao=None, payment_token="")
    with pytest.raises(InvalidField, match="costs more than"):
        price_run({rate: most + 1}, schedule=FeeSchedule(), dao=None, payment_token="")


def _equal(holders: list[str], units: int) -> tuple[Holding, ...]:
    return tuple(Holding(holder, units) for holder in holders)
