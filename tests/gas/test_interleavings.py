"""Random interleavings of everything that moves gas: nothing is lost, nothing is overspent."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from chassis.errors import ServiceError
from gas.book import Refund
from gas.budgets import Budget, Origin
from gas.chain import DEFAULT_TENANT, Caller
from gas.entries import Tip, first_break
from gas.ledger import Hold, Reservation
from gas.operations import Close, Held, Limit, Operation, Release, Reserve, Return, Settle
from gas.windows import Period
from tests.gas.ledgers import (
    HandSetClock,
    Ledger,
    budget,
    open_ledger,
    reservation,
    run_name,
    tokens,
)

ACCOUNTS = [f"agents/a{number}" for number in range(3)]
# Nested: what fits into that of an agent may not fit into that of its run, or of all of them.
LIMITS = {account: 60 + 25 * number for number, account in enumerate(ACCOUNTS)}
LIMITS[DEFAULT_TENANT] = 150
RUN_LIMIT = 45
BATCH_MAX = 12
RECENT = 40


@dataclass
class Spending:
    """What answers say that each account, each tenant and each run has spent."""

    holds: dict[str, Hold] = field(default_factory=dict)
    unfinished: dict[str, Hold] = field(default_factory=dict)
    spent: Counter[str] = field(default_factory=Counter)

    def learn(self, hold: Hold) -> None:
        """Take in what a hold is now."""
        before = self.holds.get(hold.name)
        self.holds[hold.name] = hold
        self.unfinished[hold.name] = hold
        if hold.is_final:
            del self.unfinished[hold.name]
        gas = hold.gas_spent - (before.gas_spent if before else 0)
        for payer in hold.payers:
            self.spent[payer.account] += gas
            self.spent[payer.run] += gas
        self.spent[DEFAULT_TENANT] += gas
        assert 0 <= hold.refunded_gas <= hold.charged_gas <= hold.gas


@pytest.mark.parametrize("seed", range(4))
def test_no_interleaving_loses_or_overspends(seed: int) -> None:
    _interleave(seed, steps=4_000)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 150))
def test_no_interleaving_of_a_million_loses_or_overspends(seed: int) -> None:
    _interleave(seed, steps=20_000)


def _interleave(seed: int, *, steps: int) -> None:
    """Apply random batches, and compare the ledger with what its answers add up to."""
    dice, clock, model = random.Random(seed), HandSetClock(), Spending()
    store = open_ledger(clock=clock, dice=random.Random(seed))
    for account, limit in LIMITS.items():
        store.set_budget(budget(limit, account=account, period=Period.TOTAL))
    step, tip, moved, balance = 0, Tip(), Counter[str](), Counter[str]()
    while step < steps:
        batch = [_operation(dice, model, step + n) for n in range(dice.randint(1, BATCH_MAX))]
        step += len(batch)
        for outcome in store.store.apply(batch):
            assert outcome is None or isinstance(outcome, Held | Hold | Budget | ServiceError)
            if isinstance(outcome, Held):
                model.learn(outcome.hold)
            elif isinstance(outcome, Hold):
                model.learn(outcome)
        _look_again(store, model)
        clock.advance(timedelta(minutes=dice.choice([0, 0, 1, 20])))
        entries = store.store.entries(tip.sequence, limit=1_000)
        assert first_break(entries, tip) is None
        tip = entries[-1].tip if entries else tip
        for entry in entries:
            moved[entry.account] += entry.gas_charged
            balance[entry.debit_account] -= entry.gas
            balance[entry.credit_account] += entry.gas
        _compare(store, model, moved)
    _compare_balances(model, balance)


def _look_again(store: Ledger, model: Spending) -> None:
    """Learn what became of holds without an answer: they expired, or their run was closed."""
    for hold in list(model.unfinished.values()):
        model.learn(store.reserve(hold.reservation))


def _compare(store: Ledger, model: Spending, moved: Counter[str]) -> None:
    for account, limit in LIMITS.items():
        of_all, *of_runs = store.budgets(account)
        assert 0 <= moved[account] <= of_all.gas_spent <= limit
        assert of_all.gas_spent == model.spent[account]
        for of_run in of_runs:
            assert of_run.gas_spent == model.spent[of_run.run] <= RUN_LIMIT


def _compare_balances(model: Spending, balance: Counter[str]) -> None:
    """Check that the outermost agents have paid, and all others end as they were."""
    expected = Counter[str]()
    for hold in model.holds.values():
        paid = hold.charged_gas - hold.refunded_gas
        expected[hold.payers[0].account] -= paid
        expected["providers/local"] += paid
    assert +balance == +expected
    assert -balance == -expected
    assert any(hold.reservation.callers and hold.charged_gas for hold in model.holds.values())


def _operation(dice: random.Random, model: Spending, step: int) -> Operation[object]:
    if step % 50 == 0:
        return Limit(_budget_of_run(step // 50))
    known = list(model.holds)[-RECENT:]
    if not known or dice.random() < 0.4:
        number = step - dice.choice([0, 0, 0, 1])
        return Reserve(_reservation(step // 50, f"r{number}", dice.randint(0, 30)))
    name = dice.choice(known)
    match dice.randrange(8):
        case 0 | 1:
            return Settle(name, tokens(dice.randint(0, 35)))
        case 2 | 3:
            return Settle(name, tokens(dice.randint(0, 35)), keep_open=True)
        case 4 | 5:
            return Release(name)
        case 6:
            return Return(Refund(f"f{step}", name, dice.randint(1, 20), "a test"))
    payer = dice.choice(model.holds[name].payers)
    return Close(payer.run, payer.account)


def _budget_of_run(run: int) -> Budget:
    """Return a budget of a run, or of one that calls it."""
    payer = dict(enumerate(_reservation(run, "r", 0).callers)).get(run % 2)
    account, name = (payer.account, payer.run) if payer else (ACCOUNTS[run % 3], run_name(run))
    limit = budget(RUN_LIMIT, account=account, origin=Origin.OPERATOR, period=Period.TOTAL)
    return replace(limit, id=f"run{run}", run=name)


def _reservation(run: int, request_id: str, gas: int) -> Reservation:
    """Return a request of a run, of which a third has one caller, and a third has two."""
    account, *others = ACCOUNTS[run % 3 :] + ACCOUNTS[: run % 3]
    callers = [
        Caller(caller, run_name(10**6 + 10 * run + place))
        for place, caller in enumerate(others[: run // 3 % 3])
    ]
    return reservation(request_id, gas, account=account, run=run_name(run), callers=callers)
