"""A ledger and dictionaries that must agree, whatever is asked and in whatever order."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)
from sqlalchemy import Engine

from chassis.database import open_memory_database
from chassis.errors import InvalidField, RequestIdReused
from gas import entries
from gas.budgets import Origin
from gas.errors import (
    BudgetExceeded,
    BudgetMissing,
    HoldOpen,
    HoldReleased,
    HoldSettled,
    RunClosed,
)
from gas.ledger import HoldState, Reservation
from gas.tables import TABLES
from gas.windows import Period
from tests.gas.ledgers import (
    ACCOUNT,
    HandSetClock,
    budget,
    open_ledger,
    reservation,
    run_name,
    tokens,
)

ACCOUNTS = st.sampled_from([ACCOUNT, "agents/other"])
RUNS = st.integers(1, 3).map(run_name)
GAS = st.integers(0, 12)
STEPS = st.sampled_from([timedelta(minutes=25), timedelta(hours=3), timedelta(days=1)])

# What two moments of one period have in common, as an oracle for `period_start`.
PREFIX = {Period.TOTAL: 0, Period.MONTH: 7, Period.DAY: 10, Period.HOUR: 13}


@dataclass(eq=False)
class HoldModel:
    """What the dictionary knows of a hold."""

    name: str
    reservation: Reservation
    gas: int
    time: datetime
    expire_time: datetime
    state: HoldState = HoldState.OPEN
    reported: int = 0
    charged: int = 0
    refunded: int = 0

    @property
    def spent(self) -> int:
        """Return what it takes from the budgets."""
        is_final = self.state in {HoldState.SETTLED, HoldState.RELEASED}
        return self.charged - self.refunded if is_final else self.gas


class LedgerMachine(RuleBasedStateMachine):
    """Does the same to a ledger and to dictionaries."""

    holds: Bundle[HoldModel] = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.engine = self.open_engine()
        self.clock = HandSetClock()
        self.dice = random.Random(1)
        self.restart()
        self.limits: dict[tuple[str, Origin], tuple[Period, int]] = {}
        # Lowering a limit may leave an account above it; nothing else may.
        self.ceilings: dict[tuple[str, Origin], int] = {}
        self.known: dict[str, HoldModel] = {}
        self.runs: dict[str, str] = {}
        self.closed: set[str] = set()
        # Holds in the order in which they were first charged.
        self.charged: list[HoldModel] = []

    def open_engine(self) -> Engine:
        """Open an empty database."""
        return open_memory_database(TABLES)

    def teardown(self) -> None:
        self.engine.dispose()

    @rule()
    def restart(self) -> None:
        self.store = open_ledger(engine=self.engine, clock=self.clock, dice=self.dice)

    @rule(step=STEPS)
    def wait(self, step: timedelta) -> None:
        self.clock.advance(step)

    @initialize(gas_limit=st.integers(5, 40))
    def start_with_a_budget(self, gas_limit: int) -> None:
        self.set_budget(ACCOUNT, Origin.MANIFEST, Period.TOTAL, gas_limit)

    @rule(
        account=ACCOUNTS,
        origin=st.sampled_from(Origin),
        period=st.sampled_from(list(PREFIX)),
        gas_limit=st.integers(1, 60),
    )
    def set_budget(self, account: str, origin: Origin, period: Period, gas_limit: int) -> None:
        asked = budget(gas_limit, account=account, origin=origin, period=period)
        answer = self.store.set_budget(asked)
        spent = self.spent(account, period)
        self.limits[account, origin] = (period, gas_limit)
        self.ceilings[account, origin] = max(gas_limit, spent)
        assert (answer.gas_limit, answer.gas_spent) == (gas_limit, spent)

    @rule(target=holds, account=ACCOUNTS, run=RUNS, gas=GAS)
    def reserve(self, account: str, run: str, gas: int) -> HoldModel:
        asked = reservation(f"r{len(self.known)}", gas, account=account, run=run)
        now = self.clock.now()
        hold = HoldModel("", asked, gas, now, now + timedelta(hours=1))
        error = self.expected_refusal(asked, gas)
        if error:
            with pytest.raises(error):
                self.store.reserve(asked)
            return hold
        hold.name = self.store.reserve(asked).name
        self.known[asked.request_id] = hold
        self.runs[run] = account
        return hold

    def expected_refusal(self, asked: Reservation, gas: int) -> type[Exception] | None:
        account = asked.account
        if self.runs.get(asked.run, account) != account:
            return InvalidField
        if asked.run in self.closed:
            return RunClosed
        limits = [limit for (owner, _), limit in self.limits.items() if owner == account]
        if not limits:
            return BudgetMissing
        left = min(max(0, limit - self.spent(account, period)) for period, limit in limits)
        return BudgetExceeded if gas > left else None

    @rule(hold=holds)
    def repeat_with_other_content(self, hold: HoldModel) -> None:
        if hold.name:
            other = reservation(hold.reservation.request_id, hold.gas + 1)
            with pytest.raises(RequestIdReused):
                self.store.reserve(other)

    @rule(hold=holds, gas=GAS, keep_open=st.booleans())
    def settle(self, hold: HoldModel, gas: int, *, keep_open: bool) -> None:
        if not hold.name:
            return
        self.expire()
        if hold.state is HoldState.RELEASED:
            with pytest.raises(HoldReleased):
                self.store.settle(hold.name, tokens(gas))
            return
        if hold.state is not HoldState.SETTLED:
            hold.state = HoldState.OPEN if keep_open else HoldState.SETTLED
            if keep_open:
                hold.expire_time = self.clock.now() + timedelta(hours=1)
            hold.reported = max(hold.reported, gas)
            self.charge(hold, min(hold.reported, hold.gas))
        settled = self.store.settle(hold.name, tokens(gas), keep_open=keep_open)
        assert settled.charged_gas == hold.charged

    def charge(self, hold: HoldModel, gas: int) -> None:
        hold.charged = gas
        if hold not in self.charged:
            self.charged.append(hold)

    def expire(self) -> None:
        for hold in self.known.values():
            if hold.state is HoldState.OPEN and hold.expire_time <= self.clock.now():
                hold.state = HoldState.EXPIRED
                self.charge(hold, hold.gas)

    @rule(hold=holds, gas=st.integers(1, 12))
    def refund(self, hold: HoldModel, gas: int) -> None:
        if not hold.name:
            return
        self.expire()
        if hold.state not in {HoldState.SETTLED, HoldState.RELEASED}:
            with pytest.raises(HoldOpen):
                self.store.refund("never", hold.name, gas)
            return
        request_id = f"{hold.name}/{hold.refunded}"
        if gas > hold.charged - hold.refunded:
            with pytest.raises(InvalidField):
                self.store.refund(request_id, hold.name, gas)
            return
        hold.refunded += gas
        for _ in range(2):
            assert self.store.refund(request_id, hold.name, gas).refunded_gas == hold.refunded

    @rule(hold=consumes(holds))
    def release(self, hold: HoldModel) -> None:
        if not hold.name:
            return
        if hold.state is HoldState.SETTLED:
            with pytest.raises(HoldSettled):
                self.store.release(hold.name)
            return
        self.expire()
        self.give_back(hold)
        assert self.store.release(hold.name).gas_spent == hold.spent

    def give_back(self, hold: HoldModel) -> None:
        if hold.state is not HoldState.RELEASED:
            hold.state, hold.charged = HoldState.RELEASED, min(hold.reported, hold.gas)

    @rule(run=RUNS, account=ACCOUNTS)
    def close_run(self, run: str, account: str) -> None:
        if self.runs.setdefault(run, account) != account:
            with pytest.raises(InvalidField):
                self.store.close_run(run, account)
            return
        self.closed.add(run)
        self.expire()
        for hold in self.known.values():
            if hold.reservation.run == run and hold.state is not HoldState.SETTLED:
                self.give_back(hold)
        assert self.store.close_run(run, account) == self.store.receipt(run)

    @invariant()
    def every_hold_is_as_the_dictionary_has_it(self) -> None:
        self.expire()
        for hold in self.known.values():
            found = self.store.reserve(hold.reservation)
            assert (found.name, found.gas, found.state, found.charged_gas) == (
                hold.name,
                hold.gas,
                hold.state,
                hold.charged,
            )

    @invariant()
    def no_account_is_ever_overspent(self) -> None:
        for account in {account for account, _ in self.limits}:
            for found in self.store.budgets(account):
                assert found.gas_spent == self.spent(account, found.period)
                assert found.gas_spent <= self.ceilings[account, found.origin]

    @invariant()
    def every_receipt_has_the_charges_of_its_run(self) -> None:
        for run, account in self.runs.items():
            receipt = self.store.receipt(run)
            charged = [hold.charged for hold in self.charged if hold.reservation.run == run]
            assert receipt.account == account
            # Holds that expire at once do so in any order.
            assert sorted(charge.gas for charge in receipt.charges) == sorted(charged)

    @invariant()
    def the_ledger_is_whole_and_says_what_is_charged(self) -> None:
        found = self.store.store.entries(0, limit=1_000)
        assert entries.first_break(found) is None
        for hold in self.known.values():
            moved = sum(entry.gas_charged for entry in found if entry.hold == hold.name)
            assert moved == hold.charged - hold.refunded

    @invariant()
    def usage_has_what_was_charged(self) -> None:
        rows = self.store.consumptions(account="", after=None, limit=10)
        for account in (ACCOUNT, "agents/other"):
            charged = [
                hold.charged - hold.refunded
                for hold in self.charged
                if hold.reservation.account == account
            ]
            found = [(row.gas, row.charge_count) for row in rows if row.account == account]
            assert found == ([(sum(charged), len(charged))] if charged else [])

    def spent(self, account: str, period: Period) -> int:
        length = PREFIX[period]
        now = self.clock.now().isoformat()[:length]
        return sum(
            hold.spent
            for hold in self.known.values()
            if hold.reservation.account == account and hold.time.isoformat()[:length] == now
        )
