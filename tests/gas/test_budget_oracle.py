"""Random budgets over random holds, through moved clocks: what fits is held, and nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from chassis.database import open_memory_database
from gas.book import Refund
from gas.budgets import Budget, BudgetKey, Origin
from gas.chain import DEFAULT_TENANT, Caller
from gas.errors import AccountNotFound, BudgetExceeded, BudgetMissing
from gas.ledger import Hold, Reservation
from gas.operations import (
    Assign,
    Close,
    Held,
    Lift,
    Limit,
    Operation,
    Release,
    Reserve,
    Return,
    Settle,
)
from gas.tables import TABLES
from gas.windows import Period
from tests.gas import budget_oracle
from tests.gas.budget_oracle import Oracle
from tests.gas.ledgers import HandSetClock, Ledger, open_ledger, reservation, run_name, tokens

AGENTS = [f"agents/a{number}" for number in range(3)]
TENANTS = [DEFAULT_TENANT, "tenants/other"]
ITEMS = ["model local/babbler", "model local/tiny", "action board.post"]
PATTERNS = ["", "", "", "model *", "model local/tiny", "action board.*"]
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", ""]
# Shortly before clocks are moved in some of them.
STARTS = [
    datetime(2026, 3, 28, 20, 7, 13, 5, tzinfo=UTC),
    datetime(2026, 10, 24, 20, 59, 59, tzinfo=UTC),
    datetime(2026, 4, 4, 12, tzinfo=UTC),
    datetime(2026, 10, 31, 23, 30, tzinfo=UTC),
]
WINDOWS = [60, 61, 600, 3_600, 5_000, 86_400]
STEPS = [
    timedelta(0),
    timedelta(microseconds=1),
    timedelta(seconds=1.7),
    timedelta(seconds=61),
    timedelta(minutes=7),
    timedelta(minutes=50),
    timedelta(hours=5),
]
# Runs in the order of their agents; each is called by the one before.
CHAIN_LENGTH = 3


@dataclass
class Play:
    """A ledger and an oracle that are asked the same."""

    seed: int
    periods: list[Period] = field(default_factory=lambda: list(Period))
    steps: list[timedelta] = field(default_factory=lambda: STEPS)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.clock = HandSetClock(STARTS[self.seed % len(STARTS)])
        self.engine: Engine = open_memory_database(TABLES)
        self.oracle = Oracle()
        self.tenants: dict[str, str] = {}
        self.number = 0
        self.refused = 0
        self.restart()
        for agent in AGENTS:
            # Something that covers every hold, or few of them would be held.
            self.limit(Budget(agent, Origin.OPERATOR, Period.TOTAL, 2_000, id="base"))

    def limit(self, budget: Budget) -> None:
        self.learn(Limit(budget), self.store.apply(Limit(budget)))

    def restart(self) -> None:
        dice = random.Random(self.dice.random())
        self.store: Ledger = open_ledger(engine=self.engine, clock=self.clock, dice=dice)

    def run(self, rounds: int) -> None:
        """Play, and compare after each batch."""
        for _ in range(rounds):
            if self.dice.random() < 0.05:
                self.restart()
            if self.dice.random() < 0.04:
                self.close()
            batch = [self.operation() for _ in range(self.dice.randint(1, 6))]
            outcomes = self.store.store.apply(batch)
            for asked, outcome in zip(batch, outcomes, strict=True):
                self.learn(asked, outcome)
            self.compare()
            self.clock.advance(self.dice.choice(self.steps))
        self.engine.dispose()

    def operation(self) -> Operation[object]:
        self.number += 1
        known = list(self.oracle.holds)[-12:]
        kind = self.dice.random()
        if kind < 0.08:
            return Limit(self.budget())
        if kind < 0.11 and len(self.oracle.limits) > len(AGENTS):
            return Lift(self.dice.choice([key for key in self.oracle.limits if key[2] != "base"]))
        if kind < 0.13:
            return Assign(self.dice.choice(AGENTS), self.dice.choice(TENANTS))
        if kind < 0.65 or not known:
            return Reserve(self.reservation())
        name = self.dice.choice(known)
        if kind < 0.86:
            gas = tokens(self.dice.randint(0, 20))
            return Settle(name, gas, keep_open=self.dice.random() < 0.3)
        if kind < 0.93:
            return Release(name)
        return Return(Refund(f"f{self.number}", name, self.dice.randint(1, 5), "a test"))

    def budget(self) -> Budget:
        period = self.dice.choice(self.periods)
        is_tenant = self.dice.random() < 0.2
        is_calendar = period in {Period.HOUR, Period.DAY, Period.MONTH}
        return Budget(
            account=self.dice.choice(TENANTS if is_tenant else AGENTS),
            origin=self.dice.choice(list(Origin)),
            period=period,
            gas_limit=self.dice.choice([40, 100, 300]),
            id=self.dice.choice(["default", "b"]),
            run="" if is_tenant or self.dice.random() < 0.8 else self.current_run(),
            item=self.dice.choice(PATTERNS),
            time_zone=self.dice.choice(ZONES) if is_calendar else "",
            window_seconds=self.dice.choice(WINDOWS) if period is Period.SLIDING else 0,
            soft=self.dice.random() < 0.3,
        )

    def current_run(self, agent: int | None = None) -> str:
        index = self.dice.randrange(CHAIN_LENGTH) if agent is None else agent
        return run_name(1 + self.number // 40 * CHAIN_LENGTH + index)

    def reservation(self) -> Reservation:
        depth = self.dice.randrange(CHAIN_LENGTH)
        return reservation(
            f"r{self.number}",
            self.dice.randint(0, 25),
            account=AGENTS[depth],
            run=self.current_run(depth),
            item=self.dice.choice(ITEMS[:2]),
            callers=tuple(Caller(AGENTS[i], self.current_run(i)) for i in range(depth)),
        )

    def close(self) -> None:
        """Close a run that spent something; what it held is given back."""
        runs = sorted({(hold.reservation.account, hold.reservation.run) for hold in self.holds()})
        if runs:
            account, run = self.dice.choice(runs)
            self.store.apply(Close(run, account))
            self.oracle.lift_run(account, run)
            for hold in self.holds():
                self.oracle.learn(self.store.reserve(hold.reservation))

    def holds(self) -> list[Hold]:
        return list(self.oracle.holds.values())

    def learn(self, asked: Operation[object], outcome: object) -> None:
        """Check an outcome against the oracle, and let the oracle learn what it cannot know."""
        now = self.clock.now()
        match asked:
            case Limit(budget) if isinstance(outcome, Budget):
                self.oracle.set_budget(budget, now)
                limit = self.oracle.limits[budget.key]
                assert outcome.gas_spent == self.oracle.spent(limit, now)
            case Lift(key):
                self.oracle.limits.pop(key, None)
            case Assign(agent, tenant):
                self.tenants[agent] = tenant
            case Reserve(reserved):
                self.check_fit(reserved, outcome)
        if isinstance(outcome, Held):
            self.oracle.learn(outcome.hold)
            self.check_warnings(outcome)
        elif isinstance(outcome, Hold):
            self.oracle.learn(outcome)

    def check_fit(self, asked: Reservation, outcome: object) -> None:
        payers = [*(caller.account for caller in asked.callers), asked.account]
        tenants = tuple(self.tenants.get(account, DEFAULT_TENANT) for account in payers)
        limits = self.oracle.applying(asked, tuple(dict.fromkeys(tenants)))
        hard = [limit for limit in limits if not limit.budget.soft]
        left = {
            limit.budget.name: max(0, limit.budget.gas_limit - self.spent(limit)) for limit in hard
        }
        gas = sum(usage.amount for usage in asked.usages)
        covered = {limit.budget.account for limit in hard}
        if isinstance(outcome, BudgetMissing):
            assert outcome.account in set(payers) - covered
        elif isinstance(outcome, BudgetExceeded):
            self.refused += 1
            assert gas > min(left.values()) == left[outcome.budget] == outcome.gas_available
        elif isinstance(outcome, Held):
            assert set(payers) <= covered
            assert gas <= min(left.values())

    def check_warnings(self, held: Held) -> None:
        expected = {}
        tenants = tuple(dict.fromkeys(held.hold.tenants))
        for limit in self.oracle.applying(held.hold.reservation, tenants):
            used = 100 * self.spent(limit) // limit.budget.gas_limit
            percent = max((one for one in (50, 80, 100) if used >= one), default=0)
            if percent:
                expected[limit.budget.name] = percent
        assert {one.budget: one.percent for one in held.warnings} == expected

    def spent(self, limit: budget_oracle.Limit) -> int:
        return self.oracle.spent(limit, self.clock.now())

    def compare(self) -> None:
        found: dict[BudgetKey, int] = {}
        for account in [*AGENTS, *TENANTS]:
            try:
                standing = self.store.store.standing(account)
            except AccountNotFound:
                continue
            found |= {budget.key: budget.gas_spent for budget in standing.budgets}
        assert found == {key: self.spent(limit) for key, limit in self.oracle.limits.items()}


@pytest.mark.parametrize("seed", range(8))
def test_what_fits_into_every_budget_is_held_and_nothing_else(seed: int) -> None:
    play = Play(seed)
    play.run(90)
    assert play.refused, "some holds must not fit, or this tests nothing"


@pytest.mark.parametrize("seed", range(8))
def test_a_clock_that_is_set_back_at_any_time_opens_no_calendar(seed: int) -> None:
    calendars: list[Period] = [period for period in Period if period is not Period.SLIDING]
    back = [timedelta(hours=-1), timedelta(hours=-3), timedelta(minutes=-16)]
    play = Play(100 + seed, periods=calendars, steps=[*STEPS, *back])
    play.run(90)
    assert play.refused, "some holds must not fit, or this tests nothing"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1_000, 1_040))
def test_what_fits_into_every_budget_is_held_for_long(seed: int) -> None:
    Play(seed).run(200)
