"""A marketplace on a ledger of its own, whose waits take no time."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

import httpx

from chassis.courier import Courier, HttpCourier
from chassis.seal import Seal
from gas.market.operations import AddWebhook
from gas.market.outbox import Outbox
from gas.market.store import MarketStore
from gas.market.webhooks import Webhook, webhook_name
from gas.messages.events import cloud_event
from gas.operations import Close, Limit, Operation, Reserve, Settle
from gas.store import LedgerStore
from gas.writer import Writer
from tests.gas.ledgers import HandSetClock, Ledger, Result, budget, open_ledger, reservation, tokens

KEY = bytes(range(32))
# Short, because tests wait for it; long enough for an honest receiver on a busy machine.
ANSWER_SECONDS = 2.0


class TellingWriter(Writer):
    """A writer that says whenever it has written."""

    def __init__(self, store: LedgerStore) -> None:
        super().__init__(store)
        self.applied = asyncio.Event()

    async def apply(self, operation: Operation[Result]) -> Result:
        """Apply, and wake who waits."""
        try:
            return await super().apply(operation)
        finally:
            self.applied.set()
            self.applied = asyncio.Event()


@dataclass
class Market:
    """What a test needs to make events and to deliver them."""

    ledger: Ledger
    clock: HandSetClock
    writer: TellingWriter
    store: MarketStore
    outbox: Outbox
    naps: list[float] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    async def charge(self, account: str, gas: int = 1) -> str:
        """Charge an account, which makes one event; return the run."""
        number = next(self._numbers)
        run = f"runs/{uuid.UUID(int=9_000 + number, version=4)}"
        asked = reservation(f"charge {number}", gas, account=account, run=run)
        held = await self.writer.apply(Reserve(asked))
        await self.writer.apply(Settle(held.hold.name, tokens(gas)))
        return run

    async def close(self, run: str, account: str) -> None:
        """Close a run, which makes one event."""
        await self.writer.apply(Close(run, account))

    async def hook(
        self, url: str, *, types: tuple[str, ...] = (), subject: str = "", asked_as: str = "hook"
    ) -> Webhook:
        """Make a webhook."""
        name = webhook_name(self.store.ledger_id, asked_as)
        return await self.outbox.add(AddWebhook(asked_as, name, url, types, subject))

    async def limit(self, *accounts: str) -> None:
        """Let accounts spend; their budgets never warn."""
        for account in accounts:
            await self.writer.apply(Limit(budget(10**12, account=account)))

    async def until_done(self, webhook: Webhook) -> None:
        """Wait until all that happened so far is delivered or dead."""
        last = self.store.last_offset()
        async with asyncio.timeout(60):
            while True:
                # Taken before looking, so that what is written meanwhile wakes us.
                written = self.writer.applied
                if self.store.progress(self.store.webhook(webhook.name)).done_offset >= last:
                    return
                await written.wait()


def outbox_of(
    writer: Writer,
    store: LedgerStore,
    clock: HandSetClock,
    courier: Courier,
    *,
    naps: list[float] | None = None,
) -> Outbox:
    """Return an outbox whose pauses only move the clock; `naps` notes them."""

    async def sleep(seconds: float) -> None:
        if naps is not None:
            naps.append(seconds)
        clock.advance(timedelta(seconds=seconds))
        await asyncio.sleep(0)

    return Outbox(
        writer,
        MarketStore(store),
        courier=courier,
        seal=Seal(KEY),
        envelope=cloud_event,
        clock=clock,
        sleep=sleep,
        dice=random.Random(1),
    )


@asynccontextmanager
async def delivering(path: Path, *accounts: str) -> AsyncIterator[Market]:
    """Open a ledger with accounts, and deliver its events over real HTTP while the block runs."""
    clock = HandSetClock()
    ledger = await asyncio.to_thread(open_ledger, path, clock=clock)
    async with httpx.AsyncClient(trust_env=False) as http:
        courier = HttpCourier(http, clock, seconds_max=ANSWER_SECONDS)
        writer, naps = TellingWriter(ledger.store), list[float]()
        outbox = outbox_of(writer, ledger.store, clock, courier, naps=naps)
        market = Market(ledger, clock, writer, MarketStore(ledger.store), outbox, naps)
        await market.limit(*accounts)
        async with market.outbox.delivering():
            yield market
