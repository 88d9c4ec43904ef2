"""Ledgers for tests: a small price table, a clock that is set by hand, seeded dice."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine

from chassis.database import open_database, open_memory_database
from gas.ledger import Budget, Origin, Period, Reservation
from gas.prices import Meter, PriceTable, Usage
from gas.store import TABLES, LedgerStore

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


def open_ledger(
    path: Path | None = None,
    *,
    prices: PriceTable = PRICES,
    clock: HandSetClock | None = None,
    dice: random.Random | None = None,
    engine: Engine | None = None,
) -> LedgerStore:
    """Open a ledger in a file, or one that lives in memory."""
    if engine is None:
        engine = open_database(path, TABLES) if path else open_memory_database(TABLES)
    return LedgerStore(engine, prices, clock=clock or HandSetClock(), dice=dice or random.Random(1))


def uuids(seed: int) -> Iterator[uuid.UUID]:
    """Yield what a ledger with these dice names its holds."""
    dice = random.Random(seed)
    while True:
        yield uuid.UUID(int=dice.getrandbits(128), version=4)


def run_name(number: int) -> str:
    """Return the name of a run."""
    return f"runs/{uuid.UUID(int=number, version=4)}"


def tokens(amount: int) -> tuple[Usage, ...]:
    """Return usages that cost this much gas."""
    return (Usage(Meter.INPUT_TOKENS, amount),)


def reservation(
    request_id: str, gas: int = 10, *, account: str = ACCOUNT, run: str = "", item: str = MODEL
) -> Reservation:
    """Return a request to hold this much gas for a generation."""
    return Reservation(request_id, account, run or run_name(1), item, tokens(gas))


def budget(
    gas_limit: int,
    *,
    account: str = ACCOUNT,
    origin: Origin = Origin.OPERATOR,
    period: Period = Period.DAY,
) -> Budget:
    """Return a limit."""
    return Budget(account, origin, period, gas_limit)
