"""The calls that tests of budgets make, on a ledger of their own."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import cast

import pytest

from gas.chain import Caller
from gas.errors import BudgetExceeded
from gas.ledger import Hold
from gas.notices import BUDGET_WARNING, Notice
from gas.windows import Period
from tests.gas.ledgers import ACCOUNT, MODEL, Ledger, budget, reservation, run_name

CALLED = "agents/called"
BY_THE_HOUR = replace(budget(10), period=Period.SLIDING, window_seconds=3_600)
NUMBERS = count()


def hold(
    store: Ledger, gas: int, *, account: str = ACCOUNT, item: str = MODEL, run: int = 1
) -> Hold:
    asked = reservation(f"n{next(NUMBERS)}", gas, account=account, item=item, run=run_name(run))
    return store.reserve(asked)


def call(store: Ledger, gas: int) -> Hold:
    """Hold gas for an agent that another one called."""
    callers = (Caller(ACCOUNT, run_name(1)),)
    asked = reservation(f"n{next(NUMBERS)}", gas, account=CALLED, run=run_name(2), callers=callers)
    return store.reserve(asked)


def spent(store: Ledger, account: str = ACCOUNT) -> list[int]:
    return [found.gas_spent for found in store.budgets(account)]


def refusal(store: Ledger, gas: int) -> BudgetExceeded:
    with pytest.raises(BudgetExceeded) as refused:
        hold(store, gas)
    return refused.value


def told(store: Ledger) -> list[tuple[str, object]]:
    """Return which budgets were told, and their percentages."""
    found = (event.what for event in store.store.events(after_offset=0, limit=1_000))
    contents = [
        cast("dict[str, object]", what.content)
        for what in found
        if isinstance(what, Notice) and what.kind == BUDGET_WARNING
    ]
    return [(str(content["budget"]), content["percent"]) for content in contents]
