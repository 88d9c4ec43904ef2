"""Budgets of every kind, in SQLite and PostgreSQL: all that apply must fit."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import cast

import pytest
from sqlalchemy import Engine

from chassis.errors import InvalidField
from gas.accounts import BUDGETS_MAX
from gas.budgets import Origin
from gas.chain import DEFAULT_TENANT
from gas.errors import AccountNotFound, BudgetExceeded, BudgetMissing
from gas.operations import Assign, Lift, Limit, Operation, Reserve
from tests.gas.budget_calls import CALLED, call, hold, refusal, spent
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


@pytest.fixture
def clock() -> HandSetClock:
    return HandSetClock()


@pytest.fixture
def store(engine: Engine, clock: HandSetClock) -> Ledger:
    return open_ledger(engine=engine, clock=clock)


def test_the_tightest_of_all_budgets_is_named(store: Ledger) -> None:
    store.set_budget(budget(50))
    store.set_budget(replace(budget(7, account=DEFAULT_TENANT), id="small"))
    store.set_budget(budget(9, account=CALLED, origin=Origin.MANIFEST))

    with pytest.raises(BudgetExceeded) as refused:
        call(store, 10)

    assert refused.value.metadata == {
        "account": DEFAULT_TENANT,
        "budget": "tenants/default/budgets/operator.small",
        "gas": "10",
        "gas_available": "7",
        "period": "day",
    }


def test_a_hold_of_exactly_what_is_left_fits(store: Ledger) -> None:
    store.set_budget(budget(5))

    assert hold(store, 5).gas == 5


def test_a_budget_below_what_is_spent_leaves_nothing(store: Ledger) -> None:
    store.set_budget(budget(10))
    hold(store, 9)
    store.set_budget(budget(5))

    assert refusal(store, 1).gas_available == 0
    assert hold(store, 0).gas == 0


def test_a_budget_of_a_model_counts_only_that(store: Ledger) -> None:
    store.set_budget(budget(100))
    store.set_budget(replace(budget(5), id="b", item="model local/b*"))
    hold(store, 6, item="model local/tiny")
    hold(store, 2)

    assert spent(store) == [2, 8]
    assert refusal(store, 4).budget == "agents/market-brief/budgets/operator.b"


def test_a_budget_of_a_run_counts_what_it_calls_and_no_other_run(store: Ledger) -> None:
    store.set_budget(budget(100))
    store.set_budget(budget(100, account=CALLED))
    store.set_budget(replace(budget(10), id="run", run=run_name(1)))
    hold(store, 50, run=3)
    call(store, 4)

    assert spent(store) == [54, 4]
    assert refusal(store, 7).gas_available == 6


def test_a_budget_of_a_run_goes_with_it(store: Ledger) -> None:
    store.set_budget(budget(100))
    store.set_budget(replace(budget(10), id="run", run=run_name(1)))
    hold(store, 4)
    store.close_run(run_name(1), ACCOUNT)

    assert [found.id for found in store.budgets(ACCOUNT)] == ["default"]


def test_a_soft_budget_refuses_nothing_and_covers_nothing(store: Ledger) -> None:
    store.set_budget(replace(budget(10), soft=True))
    with pytest.raises(BudgetMissing):
        hold(store, 1)
    store.set_budget(budget(100, origin=Origin.MANIFEST))

    assert hold(store, 20).gas == 20


def test_what_no_hard_budget_counts_is_refused(store: Ledger) -> None:
    store.set_budget(replace(budget(10), item="action *"))

    with pytest.raises(BudgetMissing, match=MODEL):
        hold(store, 1)


def test_a_tenant_counts_each_hold_once_for_all_its_agents(store: Ledger) -> None:
    for account in (ACCOUNT, CALLED):
        store.set_budget(budget(100, account=account))
    store.set_budget(budget(50, account=DEFAULT_TENANT))
    call(store, 10)

    assert spent(store, DEFAULT_TENANT) == [10]


def test_an_agent_that_moves_spends_for_its_new_tenant(engine: Engine, store: Ledger) -> None:
    store.set_budget(budget(100))
    store.set_budget(budget(50, account=DEFAULT_TENANT))
    store.set_budget(budget(5, account="tenants/new"))
    before = hold(store, 10)
    # One who has just begun, and does not know that tenant yet.
    store = open_ledger(engine=engine, dice=random.Random(2))
    asked = reservation("moved", 6)
    batch = cast("list[Operation[object]]", [Assign(ACCOUNT, "tenants/new"), Reserve(asked)])

    (_, refused) = store.store.apply(batch)
    store.settle(before.name, tokens(3))

    assert isinstance(refused, BudgetExceeded)
    assert (spent(store, DEFAULT_TENANT), spent(store, "tenants/new")) == ([3], [0])


def test_a_lifted_budget_refuses_no_more(store: Ledger) -> None:
    store.set_budget(budget(100))
    tight = replace(budget(5), id="tight")
    store.set_budget(tight)
    for _ in range(2):
        store.apply(Lift(tight.key))

    assert hold(store, 10).gas == 10
    assert spent(store) == [10]


def test_an_account_without_budgets_is_known_by_what_it_spent(store: Ledger) -> None:
    store.set_budget(budget(5))
    hold(store, 1)
    store.apply(Lift(budget(5).key))

    assert store.budgets(ACCOUNT) == []
    with pytest.raises(AccountNotFound):
        store.budgets("agents/nobody")


def test_an_account_has_only_so_many_budgets(store: Ledger) -> None:
    many = [Limit(replace(budget(5), id=f"b{number}")) for number in range(BUDGETS_MAX)]
    store.store.apply(cast("list[Operation[object]]", many))

    with pytest.raises(InvalidField):
        store.set_budget(replace(budget(5), id="one-more"))
    # One of those that are there can still be changed.
    assert store.set_budget(replace(budget(7), id="b0")).gas_limit == 7
