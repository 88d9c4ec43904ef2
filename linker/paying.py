"""Gas for requests: held before a model starts, charged after, however it ends."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from chassis.canonical import sha256_hex
from chassis.errors import ServiceError
from chassis.log import log

from .conversation import Tokens
from .errors import GasRefused, PriceNotFound
from .orders import Payer
from .ports import GasMeter, Hold, Reservation
from .tokens import Count

Event = TypeVar("Event")
Found = TypeVar("Found")

# Holds of one item that one request takes, one after another.
HOLDS_MAX = 64
# Prices of which this many are remembered; a new price table counts after so many other items.
ITEMS_KNOWN_MAX = 1_000
# For a comparison of prices; no price is so small that it would show in none.
SAMPLE_TOKENS = 1_000_000
# Where time has a price, so much of it is held, and no more is charged. It is always as much,
# because a repeated request holds what the first one did.
MILLISECONDS_MAX = 10 * 60 * 1_000


@dataclass(frozen=True)
class _Prices:
    """What of an item is dearest, and whether its time has a price."""

    keeping_is_dearer: bool
    thinking_is_dearer: bool
    time_counts: bool


class Stopwatch:
    """Measures how long a model was waited for; without a clock, nothing."""

    def __init__(self, monotonic: Callable[[], float] | None) -> None:
        self._monotonic = monotonic
        self._seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what a block takes."""
        if self._monotonic is None:
            yield
            return
        start = self._monotonic()
        try:
            yield
        finally:
            self._seconds += self._monotonic() - start

    def over(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """Return events, and measure how long they are waited for; who reads them may be slow."""
        return events if self._monotonic is None else self._measured(events)

    async def _measured(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        async with aclosing(events):
            while True:
                with self.running():
                    event = await anext(events, None)
                if event is None:
                    return
                yield event

    def worst(self, tokens: Tokens) -> Tokens:
        """Return a worst case with its time."""
        return tokens if self._monotonic is None else replace(tokens, milliseconds=MILLISECONDS_MAX)

    def stamped(self, used: Tokens) -> Tokens:
        """Return what was used with its time, rounded up; who used nothing has taken none."""
        if self._monotonic is None or used == Tokens():
            return used
        milliseconds = math.ceil(1_000 * self._seconds)
        return replace(used, milliseconds=min(milliseconds, MILLISECONDS_MAX))


class Cashier:
    """Keeps the promise that whatever a model used is charged."""

    def __init__(self, gas: GasMeter, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._gas = gas
        self._monotonic = monotonic
        self._prices: dict[str, _Prices] = {}
        self._paying: set[asyncio.Task[int]] = set()

    def bill(self, payer: Payer) -> Bill:
        """Return an empty bill."""
        return Bill(self, self._gas, payer)

    async def check_price(self, item: str) -> None:
        """Raise `PriceNotFound` if gas cannot charge for an item; look what of it is dearest."""
        await self._look(item)

    async def _look(self, item: str) -> _Prices:
        if len(self._prices) >= ITEMS_KNOWN_MAX:
            self._prices.clear()
        amounts = (
            Tokens(input=SAMPLE_TOKENS),
            Tokens(cache_write=SAMPLE_TOKENS),
            Tokens(output=SAMPLE_TOKENS),
            Tokens(reasoning=SAMPLE_TOKENS),
            Tokens(milliseconds=SAMPLE_TOKENS),
        )
        read, kept, seen, thought, waited = await asyncio.gather(
            *(self._gas.quote(item, tokens) for tokens in amounts)
        )
        found = _Prices(kept > read, thought > seen, waited > 0)
        self._prices[item] = found
        return found

    async def worst(self, item: str, *, read: int, written: int) -> Tokens:
        """Return the dearest use of so many tokens: providers choose which meters they are on."""
        prices = self._prices.get(item) or await self._look(item)
        tokens = Tokens(cache_write=read) if prices.keeping_is_dearer else Tokens(input=read)
        meter = "reasoning" if prices.thinking_is_dearer else "output"
        return replace(tokens, **{meter: written})

    async def stopwatch(self, item: str) -> Stopwatch:
        """Return what measures the time of an item, if it has a price."""
        prices = self._prices.get(item) or await self._look(item)
        return Stopwatch(self._monotonic if prices.time_counts else None)

    async def close(self) -> None:
        """Wait until everything that was used is charged."""
        await asyncio.gather(*self._paying, return_exceptions=True)

    def run(self, work: Coroutine[object, object, int]) -> asyncio.Task[int]:
        """Pay in a task of its own, which goes on when the caller does not wait for it."""
        task = asyncio.ensure_future(work)
        self._paying.add(task)
        task.add_done_callback(self._paid)
        return task

    def _paid(self, task: asyncio.Task[int]) -> None:
        self._paying.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("gas.settle_failed", problem=str(error))


class Bill:
    """What one request costs, over all models that were tried for it.

    At most one hold is open. A try that used nothing leaves it to the next one for the same item;
    what was used is charged at once, and a later try takes another hold.
    """

    def __init__(self, cashier: Cashier, gas: GasMeter, payer: Payer) -> None:
        self._cashier = cashier
        self._gas = gas
        self._payer = payer
        self._counts: dict[str, int] = {}
        self._open: tuple[str, Hold] | None = None
        self._first_item = ""
        self.gas = 0

    async def hold(self, item: str, worst: Tokens) -> None:
        """Hold gas for an item; a hold for another one is given back before.

        Raises `BudgetExceeded`, `GasRefused`, `RequestIdReused` and `PeerUnavailable`.
        """
        self._first_item = self._first_item or item
        if self._open is not None:
            held, hold = self._open
            if held == item:
                return
            self._open = None
            await asyncio.shield(self._cashier.run(self._give_back(hold)))
        payer = self._payer
        for _ in range(HOLDS_MAX):
            hold = await self._gas.reserve(
                Reservation(
                    request_id=self._request_id(item),
                    account=payer.account,
                    run=payer.run,
                    callers=payer.callers,
                    item=item,
                    worst=worst,
                )
            )
            if not hold.is_released:
                self._open = (item, hold)
                return
            # The same request came before, and gave this one back for a fallback.
            self._count(item)
        raise GasRefused(payer.account, "this request was tried too often; begin another one")

    async def charge(self, used: Tokens, counted: Count | None = None) -> int:
        """Charge the open hold, and return the gas of all that this bill has charged."""
        assert self._open is not None, "nothing is used before it is held"
        item, hold = self._open
        self._open = None
        self._count(item)
        settled = self._cashier.run(self._gas.settle(hold.name, used, counted))
        self.gas += await asyncio.shield(settled)
        return self.gas

    async def charge_anyway(self, used: Tokens) -> None:
        """Charge what a try has used that failed: a settlement that fails too is in the log."""
        if used != Tokens():
            with suppress(ServiceError):
                await self.charge(used)

    def _request_id(self, item: str) -> str:
        count = self._counts.get(item, 0)
        if item == self._first_item and not count:
            return self._payer.request_id
        return sha256_hex(f"{self._payer.request_id}\n{item}\n{count}".encode())

    def _count(self, item: str) -> None:
        self._counts[item] = self._counts.get(item, 0) + 1

    async def _give_back(self, hold: Hold) -> int:
        await self._gas.release(hold.name)
        return 0


async def quoted(payer: Payer, asked: Awaitable[Found]) -> Found:
    """Return what the prices of an item say, which had one when it was linked."""
    try:
        return await asked
    except PriceNotFound as error:
        raise GasRefused(payer.account, f"{error}") from error
