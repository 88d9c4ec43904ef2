"""Ledgers for tests: a small price table, a clock that is set by hand, seeded dice."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar, cast

from sqlalchemy import Engine

from chassis.database import open_memory_database
from chassis.errors import ServiceError
from gas.book import Refund, hold_name
from gas.budgets import Budget, Origin
from gas.chain import Caller
from gas.database import open_ledger_database
from gas.ledger import Consumption, Hold, Receipt, Reservation
from gas.operations import Close, Limit, Operation, Release, Reserve, Return, Settle
from gas.prices import Meter, PriceTable, Usage
from gas.store import LedgerStore
from gas.tables import TABLES
from gas.windows import Period

MODEL = "model local/babbler"
ACTION = "action board.post"
ACCOUNT = "agents/market-brief"

# One token costs one gas, and one connector call ten.
PRICES = PriceTable(
    {
        "model local/*": {Meter.INPUT_TOKENS: 1_000, Meter.OUTPUT_TOKENS: 2_000},
        "action *": {Meter.CONNECTOR_CALLS: 10_000},
    }
)


@dataclass
class HandSetClock:
    """A clock that stands still until a test moves it."""

    time: datetime = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the time that was set."""
        return self.time

    def advance(self, step: timedelta) -> None:
        """Move forward."""
        self.time += step


Result = TypeVar("Result")


class Ledger:
    """A ledger that a test changes one operation after another."""

    def __init__(self, store: LedgerStore) -> None:
        self.store = store

    def apply(self, operation: Operation[Result]) -> Result:
        """Apply one operation; return its result, or raise what it was refused with."""
        (outcome,) = self.store.apply([cast("Operation[object]", operation)])
        if isinstance(outcome, ServiceError):
            raise outcome
        return cast("Result", outcome)

    def reserve(self, reservation: Reservation) -> Hold:
        """Hold gas."""
        return self.apply(Reserve(reservation)).hold

    def settle(self, name: str, usages: Sequence[Usage], *, keep_open: bool = False) -> Hold:
        """Charge a hold."""
        return self.apply(Settle(name, tuple(usages), keep_open=keep_open)).hold

    def release(self, name: str) -> Hold:
        """Give a hold back."""
        return self.apply(Release(name))

    def refund(self, request_id: str, name: str, gas: int, *, cause: str = "a test") -> Hold:
        """Return gas of a charge."""
        return self.apply(Return(Refund(request_id, name, gas, cause)))

    def close_run(self, run: str, account: str) -> Receipt:
        """Close a run and return its receipt."""
        self.apply(Close(run, account))
        return self.receipt(run)

    def set_budget(self, budget: Budget) -> Budget:
        """Limit an account."""
        return self.apply(Limit(budget))

    def receipt(self, run: str) -> Receipt:
        """Return the bill of a run."""
        return self.store.receipt(run)

    def budgets(self, account: str) -> list[Budget]:
        """Return the limits of an account."""
        return list(self.store.standing(account).budgets)

    def consumptions(
        self, *, account: str, after: tuple[str, str] | None, limit: int
    ) -> list[Consumption]:
        """Return what accounts consumed."""
        return self.store.consumptions(account=account, after=after, limit=limit)


def open_ledger(
    path: Path | None = None,
    *,
    prices: PriceTable = PRICES,
    clock: HandSetClock | None = None,
    dice: random.Random | None = None,
    engine: Engine | None = None,
) -> Ledger:
    """Open a ledger in a file, or one that lives in memory."""
    if engine is None:
        engine = open_ledger_database(path, "") if path else open_memory_database(TABLES)
    store = LedgerStore(
        engine, prices, clock=clock or HandSetClock(), dice=dice or random.Random(1)
    )
    return Ledger(store)


def hold_names(seed: int) -> Iterator[str]:
    """Yield what a ledger with these dice names its holds while its clock stands still."""
    dice = random.Random(seed)
    # The first throw is for the ledger itself.
    dice.getrandbits(128)
    while True:
        yield hold_name(HandSetClock().now(), dice)


def run_name(number: int) -> str:
    """Return the name of a run."""
    return f"runs/{uuid.UUID(int=number, version=4)}"


def tokens(amount: int) -> tuple[Usage, ...]:
    """Return usages that cost this much gas."""
    return (Usage(Meter.INPUT_TOKENS, amount),)


def reservation(
    request_id: str,
    gas: int = 10,
    *,
    account: str = ACCOUNT,
    run: str = "",
    item: str = MODEL,
    callers: Sequence[Caller] = (),
) -> Reservation:
    """Return a request to hold this much gas for a generation."""
    return Reservation(request_id, account, run or run_name(1), item, tokens(gas), tuple(callers))


def budget(
    gas_limit: int,
    *,
    account: str = ACCOUNT,
    origin: Origin = Origin.OPERATOR,
    period: Period = Period.DAY,
) -> Budget:
    """Return a limit."""
    return Budget(account, origin, period, gas_limit)
