"""Every ledger does what the contract says: one suite for SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from gas import entries
from gas.book import Book
from gas.database import open_ledger_database
from gas.errors import BudgetExceeded, LedgerFenced
from gas.ledger import HoldState
from gas.operations import Close, Operation, Reserve, Settle
from gas.prices import Meter, PriceTable
from gas.windows import Period
from tests.gas.ledgers import (
    ACCOUNT,
    MODEL,
    PRICES,
    HandSetClock,
    budget,
    open_ledger,
    reservation,
    run_name,
    tokens,
)
from tests.gas.machine import LedgerMachine
from tests.gas.postgres import Postgres


def test_a_ledger_in_sqlite_agrees_with_dictionaries() -> None:
    run_state_machine_as_test(LedgerMachine, settings=settings(stateful_step_count=25))


def test_a_ledger_in_postgres_agrees_with_dictionaries(postgres: Postgres) -> None:
    class PostgresMachine(LedgerMachine):
        def open_engine(self) -> Engine:
            return open_ledger_database(Path(), postgres.fresh_database())

    few = settings(stateful_step_count=25, max_examples=8)
    run_state_machine_as_test(PostgresMachine, settings=few)


def test_a_hold_keeps_the_prices_of_its_moment(engine: Engine) -> None:
    before = open_ledger(engine=engine)
    before.set_budget(budget(100))
    hold = before.reserve(reservation("r", 10))
    after = open_ledger(engine=engine, prices=PriceTable({}))

    settled = after.settle(hold.name, tokens(7))

    assert (settled.charged_gas, settled.tariff.version) == (7, PRICES.version)


def test_a_repeated_request_needs_no_price_any_more(engine: Engine) -> None:
    before = open_ledger(engine=engine)
    before.set_budget(budget(100))
    hold = before.reserve(reservation("r", 10))

    after = open_ledger(engine=engine, prices=PriceTable({}))

    assert after.reserve(reservation("r", 10)) == hold


def test_a_repeated_request_of_a_closed_run_gives_its_hold(engine: Engine) -> None:
    store = open_ledger(engine=engine)
    store.set_budget(budget(100))
    store.reserve(reservation("r", 10))
    store.close_run(run_name(1), ACCOUNT)

    assert store.reserve(reservation("r", 10)).state is HoldState.RELEASED


def test_a_receipt_lists_charges_as_they_were_charged_not_as_they_were_held(engine: Engine) -> None:
    store = open_ledger(engine=engine)
    store.set_budget(budget(100))
    holds = [store.reserve(reservation(f"r{gas}", gas)) for gas in (1, 2, 3)]
    for hold in (holds[1], holds[2], holds[0]):
        store.settle(hold.name, hold.reservation.usages)

    assert [charge.gas for charge in store.receipt(run_name(1)).charges] == [2, 3, 1]


def test_a_hold_counts_in_the_period_in_which_it_was_made(engine: Engine) -> None:
    clock = HandSetClock()
    store = open_ledger(engine=engine, clock=clock)
    store.set_budget(budget(10, period=Period.HOUR))
    hold = store.reserve(reservation("r", 10))
    clock.advance(timedelta(hours=1))

    store.settle(hold.name, tokens(10))

    assert [found.gas_spent for found in store.budgets(ACCOUNT)] == [0]


def test_who_opens_the_ledger_last_alone_writes(engine: Engine) -> None:
    before = open_ledger(engine=engine)
    before.set_budget(budget(100))
    open_ledger(engine=engine)

    with pytest.raises(LedgerFenced):
        before.reserve(reservation("r", 10))


def test_a_clock_that_is_set_back_does_not_open_the_budget_again(engine: Engine) -> None:
    clock = HandSetClock()
    store = open_ledger(engine=engine, clock=clock)
    store.set_budget(budget(10, period=Period.HOUR))
    store.reserve(reservation("r", 10))
    clock.advance(timedelta(hours=-2))

    with pytest.raises(BudgetExceeded):
        store.reserve(reservation("s", 1))


def test_what_was_held_before_the_clock_was_set_back_keeps_nothing_from_expiring(
    engine: Engine,
) -> None:
    clock = HandSetClock()
    store = open_ledger(engine=engine, clock=clock)
    store.set_budget(budget(100, period=Period.TOTAL))
    clock.advance(timedelta(days=365))
    store.reserve(reservation("from the future", 10))
    clock.advance(timedelta(days=-365))
    store.reserve(reservation("r", 10))
    clock.advance(timedelta(hours=1))

    assert store.reserve(reservation("r", 10)).state is HoldState.EXPIRED
    assert store.reserve(reservation("from the future", 10)).state is HoldState.OPEN


def test_a_refused_hold_leaves_nothing_behind(engine: Engine) -> None:
    store = open_ledger(engine=engine)
    store.set_budget(budget(10))
    with pytest.raises(BudgetExceeded):
        store.reserve(reservation("r", 11))

    # Neither the request id nor the run is taken.
    hold = store.reserve(reservation("r", 9))

    assert hold.gas == 9


def test_what_costs_more_than_any_number_of_the_database_is_refused(engine: Engine) -> None:
    table = PriceTable({MODEL: {Meter.INPUT_TOKENS: 10**12}})
    store = open_ledger(engine=engine, prices=table)
    store.set_budget(budget(10**15))

    with pytest.raises(BudgetExceeded):
        store.reserve(reservation("r", 2**53 - 1))


def test_sums_that_no_column_holds_are_still_charged(engine: Engine) -> None:
    store = open_ledger(engine=engine)
    store.set_budget(budget(10**15))
    for request_id, amount in (("r", 2**63 - 1), ("s", 1)):
        hold = store.reserve(reservation(request_id, 0))
        store.settle(hold.name, tokens(amount))

    rows = store.consumptions(account=ACCOUNT, after=None, limit=10)

    assert [row.usages[0].amount for row in rows] == [2**63 - 1]


def test_a_chain_shows_what_was_changed_dropped_or_swapped(engine: Engine) -> None:
    store = open_ledger(engine=engine)
    store.set_budget(budget(100))
    for gas in range(1, 6):
        store.settle(store.reserve(reservation(f"r{gas}", gas)).name, tokens(gas))
    whole = store.store.entries(0, limit=10)
    assert entries.first_break(whole) is None

    for place in range(len(whole)):
        before, rest = whole[:place], whole[place + 1 :]
        richer = replace(whole[place], gas=whole[place].gas + 1)
        late = replace(whole[place], create_time=whole[place].create_time + timedelta(seconds=1))
        assert entries.first_break([*before, richer, *rest]) == place + 1
        assert entries.first_break([*before, late, *rest]) == place + 1
        if rest:
            assert entries.first_break([*before, *rest]) == place + 1
            swapped = [*before, rest[0], whole[place], *rest[1:]]
            assert entries.first_break(swapped) == place + 1


def test_a_batch_that_is_not_written_leaves_nothing(engine: Engine) -> None:
    store = open_ledger(engine=engine)
    store.set_budget(budget(10))
    with pytest.raises(ZeroDivisionError):
        store.store.apply([Reserve(reservation("r", 10)), Broken()])

    assert store.budgets(ACCOUNT)[0].gas_spent == 0
    assert store.reserve(reservation("s", 10)).gas == 10


def test_a_hold_that_expired_is_in_the_ledger_in_full_and_is_corrected(engine: Engine) -> None:
    clock = HandSetClock()
    store = open_ledger(engine=engine, clock=clock)
    store.set_budget(budget(100, period=Period.TOTAL))
    name = store.reserve(reservation("r", 10)).name
    clock.advance(timedelta(hours=1))
    assert store.reserve(reservation("r", 10)).state is HoldState.EXPIRED

    store.settle(name, tokens(4))

    moved = [entry.gas_charged for entry in store.store.entries(0, limit=10)]
    assert (moved, store.budgets(ACCOUNT)[0].gas_spent) == ([10, -6], 4)


def test_closing_a_run_gives_an_expired_hold_back(engine: Engine) -> None:
    clock = HandSetClock()
    store = open_ledger(engine=engine, clock=clock)
    store.set_budget(budget(100, period=Period.TOTAL))
    store.reserve(reservation("r", 10))
    clock.advance(timedelta(hours=2))
    store.reserve(reservation("r", 10))

    receipt = store.close_run(run_name(1), ACCOUNT)

    assert (receipt.total_gas, store.budgets(ACCOUNT)[0].gas_spent) == (0, 0)


def test_a_hold_that_opens_again_in_the_batch_that_closes_its_run_is_given_back_once(
    engine: Engine,
) -> None:
    clock = HandSetClock()
    store = open_ledger(engine=engine, clock=clock)
    store.set_budget(budget(100, period=Period.TOTAL))
    name = store.reserve(reservation("r", 10)).name
    clock.advance(timedelta(hours=2))
    store.reserve(reservation("r", 10))

    store.store.apply([Settle(name, tokens(4), keep_open=True), Close(run_name(1), ACCOUNT)])

    moved = [entry.gas_charged for entry in store.store.entries(after=0, limit=10)]
    assert (moved, store.budgets(ACCOUNT)[0].gas_spent) == ([10, -6], 4)


class Broken(Operation[None]):
    """A bug in the middle of a batch."""

    def decide(self, book: Book, now: datetime) -> None:
        raise ZeroDivisionError
