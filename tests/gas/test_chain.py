"""What an agent spends for another one is paid by the outermost, link by link."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField, RequestIdReused
from gas.chain import Caller, require_chain
from gas.entries import Entry, Kind, first_break
from gas.errors import BudgetExceeded, BudgetMissing, RunClosed
from gas.ledger import Hold, HoldState
from gas.operations import Assign
from tests.gas.ledgers import (
    MODEL,
    HandSetClock,
    Ledger,
    budget,
    open_ledger,
    reservation,
    run_name,
    tokens,
)

OUTER, MIDDLE, INNER = "agents/outer", "agents/middle", "agents/inner"
RUNS = {OUTER: run_name(1), MIDDLE: run_name(2), INNER: run_name(3)}
CALLERS = (Caller(OUTER, RUNS[OUTER]), Caller(MIDDLE, RUNS[MIDDLE]))


@pytest.fixture
def clock() -> HandSetClock:
    return HandSetClock()


@pytest.fixture
def store(clock: HandSetClock) -> Ledger:
    ledger = open_ledger(clock=clock)
    for account in RUNS:
        ledger.set_budget(budget(100, account=account))
    return ledger


def reserve(store: Ledger, request_id: str, gas: int, *, depth: int = 3) -> Hold:
    """Hold gas for the agent at a depth of the chain, from 1."""
    account = list(RUNS)[depth - 1]
    asked = reservation(
        request_id, gas, account=account, run=RUNS[account], callers=CALLERS[: depth - 1]
    )
    return store.reserve(asked)


def entries(store: Ledger) -> list[Entry]:
    return store.store.entries(0, limit=1_000)


def lines(store: Ledger, account: str) -> list[tuple[str, int]]:
    return [(charge.item, charge.gas) for charge in store.receipt(RUNS[account]).charges]


def test_a_charge_goes_from_the_outermost_agent_to_the_provider(store: Ledger) -> None:
    store.settle(reserve(store, "r", 10).name, tokens(7))

    moved = [(entry.debit_account, entry.credit_account, entry.gas) for entry in entries(store)]

    assert moved == [
        (OUTER, MIDDLE, 7),
        (MIDDLE, INNER, 7),
        (INNER, "providers/local", 7),
    ]


def test_a_refund_comes_back_the_same_way(store: Ledger) -> None:
    hold = store.settle(reserve(store, "r", 10).name, tokens(7))
    store.refund("f", hold.name, 3)

    back = entries(store)[3:]

    assert [(entry.debit_account, entry.credit_account, entry.kind) for entry in back] == [
        ("providers/local", INNER, Kind.REFUND),
        (INNER, MIDDLE, Kind.REFUND),
        (MIDDLE, OUTER, Kind.REFUND),
    ]


def test_the_receipt_of_a_caller_has_a_line_for_each_run_that_it_called(store: Ledger) -> None:
    store.settle(reserve(store, "own", 10, depth=2).name, tokens(1))
    for number in range(2):
        store.settle(reserve(store, f"r{number}", 10).name, tokens(7))

    uuid = {account: run.removeprefix("runs/") for account, run in RUNS.items()}

    assert lines(store, OUTER) == [(f"agent middle/{uuid[MIDDLE]}", 15)]
    assert lines(store, MIDDLE) == [(MODEL, 1), (f"agent inner/{uuid[INNER]}", 14)]
    assert lines(store, INNER) == [(MODEL, 7), (MODEL, 7)]


def test_a_hold_counts_in_the_budget_of_every_caller(store: Ledger) -> None:
    reserve(store, "r", 10)

    spent = {account: store.budgets(account)[0].gas_spent for account in RUNS}

    assert spent == {OUTER: 10, MIDDLE: 10, INNER: 10}


@pytest.mark.parametrize("tight", RUNS)
def test_the_budget_of_any_payer_refuses_a_hold(store: Ledger, tight: str) -> None:
    store.set_budget(budget(9, account=tight))

    with pytest.raises(BudgetExceeded) as refused:
        reserve(store, "r", 10)

    assert refused.value.account == tight
    assert all(store.budgets(account)[0].gas_spent == 0 for account in RUNS)


def test_a_caller_without_a_budget_cannot_call() -> None:
    store = open_ledger()
    for account in (MIDDLE, INNER):
        store.set_budget(budget(100, account=account))

    with pytest.raises(BudgetMissing) as refused:
        reserve(store, "r", 10)

    assert refused.value.account == OUTER


def test_closing_a_run_gives_back_what_the_runs_that_it_called_hold(
    store: Ledger, clock: HandSetClock
) -> None:
    expired = reserve(store, "expired", 10)
    clock.advance(timedelta(hours=2))
    reserve(store, "open", 20)

    receipt = store.close_run(RUNS[OUTER], OUTER)

    assert receipt.total_gas == 0
    assert reserve(store, "open", 20).state is HoldState.RELEASED
    assert reserve(store, "expired", 10).name == expired.name
    assert all(store.budgets(account)[0].gas_spent == 0 for account in RUNS)


@pytest.mark.parametrize("account", [OUTER, MIDDLE])
def test_a_closed_run_calls_nobody_any_more(store: Ledger, account: str) -> None:
    reserve(store, "before", 1)
    store.close_run(RUNS[account], account)

    with pytest.raises(RunClosed) as refused:
        reserve(store, "r", 10)

    assert refused.value.run == RUNS[account]


def test_a_run_keeps_the_callers_of_its_first_hold(store: Ledger) -> None:
    reserve(store, "r", 10)

    with pytest.raises(InvalidField) as refused:
        store.reserve(reservation("alone", 1, account=INNER, run=RUNS[INNER]))

    assert refused.value.field == "callers"


def test_a_run_of_somebody_else_is_no_caller(store: Ledger) -> None:
    reserve(store, "mine", 1, depth=1)
    forged = (Caller(MIDDLE, RUNS[OUTER]),)

    with pytest.raises(InvalidField) as refused:
        store.reserve(reservation("r", account=INNER, run=RUNS[INNER], callers=forged))

    assert refused.value.field == "callers[0].account"


def test_a_repeated_request_with_other_callers_is_refused(store: Ledger) -> None:
    hold = reserve(store, "r", 10)

    with pytest.raises(RequestIdReused):
        store.reserve(replace(hold.reservation, callers=CALLERS[:1]))


def test_a_restart_forgets_no_caller(tmp_path: Path) -> None:
    store = open_ledger(tmp_path / "gas.db")
    for account in RUNS:
        store.set_budget(budget(100, account=account))
    hold = reserve(store, "r", 10)

    again = open_ledger(tmp_path / "gas.db")
    again.settle(hold.name, tokens(7))
    again.settle(reserve(again, "r2", 10).name, tokens(2))

    assert lines(again, OUTER) == [(f"agent middle/{RUNS[MIDDLE].removeprefix('runs/')}", 9)]


@pytest.mark.parametrize(
    ("callers", "field"),
    [
        ((Caller(INNER, run_name(9)),), "callers[0].account"),
        ((Caller(OUTER, RUNS[INNER]),), "callers[0].run"),
        ((Caller(OUTER, run_name(8)), Caller(OUTER, run_name(9))), "callers[0].account"),
    ],
)
def test_nobody_comes_twice_in_a_chain(callers: tuple[Caller, ...], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        require_chain(callers, Caller(INNER, RUNS[INNER]))

    assert refused.value.field == field


def test_the_budget_of_a_tenant_is_for_all_its_agents(store: Ledger) -> None:
    for account in (OUTER, INNER):
        store.apply(Assign(account, "tenants/acme"))
    store.set_budget(budget(15, account="tenants/acme"))
    # Twice in the chain, and counted once.
    reserve(store, "r", 10)

    with pytest.raises(BudgetExceeded) as refused:
        reserve(store, "r2", 6, depth=1)

    assert (refused.value.account, refused.value.gas_available) == ("tenants/acme", 5)


def test_an_agent_that_moves_leaves_what_it_holds_behind(store: Ledger) -> None:
    store.set_budget(budget(100, account="tenants/default"))
    store.set_budget(budget(100, account="tenants/acme"))
    hold = reserve(store, "r", 10, depth=1)
    store.apply(Assign(OUTER, "tenants/acme"))

    store.settle(hold.name, tokens(4))

    assert store.budgets("tenants/default")[0].gas_spent == 4
    assert store.budgets("tenants/acme")[0].gas_spent == 0


STEPS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12)),
    max_size=12,
)


@given(steps=STEPS)
def test_all_but_the_outermost_end_as_they_were(steps: list[tuple[int, int, int, int]]) -> None:
    store = open_ledger()
    for account in RUNS:
        store.set_budget(budget(100, account=account))
    for number, step in enumerate(steps):
        _spend_and_refund(store, f"r{number}", step)

    balance, kept = Counter[str](), entries(store)
    for entry in kept:
        balance[entry.debit_account] -= entry.gas
        balance[entry.credit_account] += entry.gas

    assert first_break(kept) is None
    assert sum(balance.values()) == 0
    provider = balance["providers/local"]
    assert {account: balance[account] for account in RUNS} == {
        OUTER: -provider,
        MIDDLE: 0,
        INNER: 0,
    }
    for caller, called in pairwise(RUNS):
        _check_line(store, caller, called)


def _spend_and_refund(store: Ledger, request_id: str, step: tuple[int, int, int, int]) -> None:
    depth, held, used, returned = step
    hold = reserve(store, request_id, held, depth=depth)
    charged = store.settle(hold.name, tokens(used)).charged_gas
    if gas := min(returned, charged):
        store.refund(request_id, hold.name, gas)


def _check_line(store: Ledger, caller: str, called: str) -> None:
    item = f"agent {called.removeprefix('agents/')}/{RUNS[called].removeprefix('runs/')}"
    found = [gas for name, gas in lines(store, caller) if name == item]
    total = store.receipt(RUNS[called]).total_gas
    assert found == [total] or (not found and total == 0)
