"""A hold that nobody settles is charged in time, also if nobody asks for anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from gas.errors import LedgerUnavailable
from gas.expiry import PAUSE_SECONDS, expire_in_time
from gas.ledger import HOLD_LIFE
from gas.operations import Operation
from gas.store import LedgerStore, Outcome
from gas.writer import Writer
from tests.gas.ledgers import HandSetClock, Ledger, budget, open_ledger, reservation, tokens


class Stopped(Exception):
    """The test has seen enough."""


@pytest.fixture
def clock() -> HandSetClock:
    return HandSetClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gas.db"


@pytest.fixture
def ledger(path: Path, clock: HandSetClock) -> Ledger:
    ledger = open_ledger(path, clock=clock)
    ledger.set_budget(budget(100))
    return ledger


async def test_a_hold_is_charged_soon_after_its_end(ledger: Ledger, clock: HandSetClock) -> None:
    ledger.reserve(reservation("r", 10))
    ends = clock.now() + HOLD_LIFE

    await _live(ledger.store, clock, seconds=HOLD_LIFE.total_seconds() + 2 * PAUSE_SECONDS)

    (entry,) = ledger.store.entries(0, limit=9)
    assert entry.gas == 10
    assert ends <= entry.create_time <= ends + timedelta(seconds=PAUSE_SECONDS)


async def test_what_an_earlier_process_left_is_charged(
    ledger: Ledger, path: Path, clock: HandSetClock
) -> None:
    ledger.reserve(reservation("r", 10))
    clock.advance(HOLD_LIFE)

    await _live(open_ledger(path, clock=clock).store, clock, seconds=0)

    assert len(ledger.store.entries(0, limit=9)) == 1


async def test_a_ledger_where_nothing_is_due_is_left_alone(
    ledger: Ledger, clock: HandSetClock
) -> None:
    store = Counting(ledger)
    held = ledger.reserve(reservation("r", 10))
    ledger.settle(held.name, tokens(1))

    await _live(store, clock, seconds=3 * HOLD_LIFE.total_seconds())

    # The first one, which learns what is open.
    assert store.batches == 1


async def test_a_database_that_was_away_is_asked_again(ledger: Ledger, clock: HandSetClock) -> None:
    store = Counting(ledger, failures=2)
    ledger.reserve(reservation("r", 10))
    clock.advance(HOLD_LIFE)

    await _live(store, clock, seconds=3 * PAUSE_SECONDS)

    assert (store.batches, len(ledger.store.entries(0, limit=9))) == (3, 1)


async def test_who_lost_the_ledger_stops(ledger: Ledger, path: Path, clock: HandSetClock) -> None:
    open_ledger(path, clock=clock)

    async with asyncio.timeout(10):
        await expire_in_time(Writer(ledger.store), ledger.store, clock=clock, sleep=asyncio.sleep)


class Counting(LedgerStore):
    """The store of a ledger, which counts batches and loses the database for some of them."""

    def __init__(self, ledger: Ledger, failures: int = 0) -> None:
        self._ledger = ledger.store
        self._failures = failures
        self.batches = 0
        self.next_expire_time = ledger.store.next_expire_time

    def apply(self, operations: Sequence[Operation[object]]) -> list[Outcome]:
        self.batches += 1
        if self.batches <= self._failures:
            raise LedgerUnavailable
        outcomes = self._ledger.apply(operations)
        self.next_expire_time = self._ledger.next_expire_time
        return outcomes

    @property
    def written_offset(self) -> int | None:
        return self._ledger.written_offset


async def _live(store: LedgerStore, clock: HandSetClock, *, seconds: float) -> None:
    """Let a time pass in which nobody asks for anything."""
    end = clock.now() + timedelta(seconds=seconds)

    async def sleep(pause: float) -> None:
        clock.advance(timedelta(seconds=pause))
        if clock.now() > end:
            raise Stopped

    with pytest.raises(Stopped):
        await expire_in_time(Writer(store), store, clock=clock, sleep=sleep)
