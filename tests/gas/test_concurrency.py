"""Threads that spend from one account at once must neither overspend nor waste its budget."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import TypeVar

from chassis.errors import ServiceError
from gas.errors import BudgetExceeded, HoldReleased, HoldSettled
from gas.ledger import HoldState
from gas.store import LedgerStore
from tests.gas.ledgers import ACCOUNT, budget, open_ledger, reservation, run_name, tokens

Result = TypeVar("Result")

THREADS = 6
ROUNDS = 12


def test_threads_take_exactly_what_the_budget_has(tmp_path: Path) -> None:
    store = open_ledger(tmp_path / "gas.db")
    store.set_budget(budget(10 * 40 + 9))

    def spend(thread: int) -> int:
        asked = [reservation(f"{thread}/{number}", 10) for number in range(ROUNDS)]
        return sum(_outcome(partial(store.reserve, one)) == "" for one in asked)

    assert sum(_at_once(spend)) == 40


def test_threads_that_settle_never_hold_more_than_the_budget(tmp_path: Path) -> None:
    store = open_ledger(tmp_path / "gas.db")
    store.set_budget(budget(25))

    def spend(thread: int) -> int:
        spent = 0
        for number in range(ROUNDS):
            try:
                hold = store.reserve(reservation(f"{thread}/{number}", 10))
            except BudgetExceeded:
                continue
            spent += store.settle(hold.name, tokens(2)).charged_gas
        return spent

    spent = sum(_at_once(spend))

    assert [found.gas_spent for found in store.budgets(ACCOUNT)] == [spent]
    assert spent <= 25
    assert store.receipt(run_name(1)).total_gas == spent


def test_a_request_that_arrives_many_times_at_once_holds_once(tmp_path: Path) -> None:
    store = open_ledger(tmp_path / "gas.db")
    store.set_budget(budget(1000))

    names = _at_once(lambda _: store.reserve(reservation("r", 10)).name)

    assert len(set(names)) == 1
    assert store.budgets(ACCOUNT)[0].gas_spent == 10


def test_either_the_settlement_or_the_release_wins(tmp_path: Path) -> None:
    store = open_ledger(tmp_path / "gas.db")
    store.set_budget(budget(1000))
    name = store.reserve(reservation("r", 10)).name

    def end(thread: int) -> str:
        if thread % 2:
            return _outcome(lambda: store.settle(name, tokens(4)))
        return _outcome(lambda: store.release(name))

    outcomes = set(_at_once(end))

    state = store.reserve(reservation("r", 10)).state
    loser = HoldSettled.reason if state is HoldState.SETTLED else HoldReleased.reason
    assert outcomes == {"", loser}
    assert _spent(store) == (4 if state is HoldState.SETTLED else 0)


def _at_once(work: Callable[[int], Result]) -> list[Result]:
    """Run something in every thread, and start them together."""
    start = Barrier(THREADS)

    def run(thread: int) -> Result:
        start.wait(10)
        return work(thread)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def _outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except ServiceError as error:
        return error.reason
    return ""


def _spent(store: LedgerStore) -> int:
    return store.budgets(ACCOUNT)[0].gas_spent
