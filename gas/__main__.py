"""Starts the gas system: `python -m gas`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from chassis import server
from chassis.clock import SystemClock
from chassis.config import load
from chassis.courier import HttpCourier
from chassis.seal import Seal
from chassis.server import Hosted
from chassis.telemetry import Telemetry
from enrolment.join import join

from .config import GasConfig
from .database import open_ledger_database
from .expiry import expire_in_time
from .market.outbox import IN_FLIGHT_MAX, Outbox
from .market.store import MarketStore
from .market.webhooks import WEBHOOKS_MAX
from .messages.events import cloud_event
from .price_file import read_prices
from .service import GasService, hosted
from .store import LedgerStore
from .writer import Writer


@asynccontextmanager
async def open_service(config: GasConfig, _telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Build the service on the ledger of its data folder."""
    prices = read_prices(config.prices_file)
    server.ensure_private_folder(config.data_dir)
    engine = open_ledger_database(config.data_dir / "gas.db", config.database_url)
    try:
        # Seeded by the system once: to ask it for each hold lets go of the interpreter each time.
        dice = random.Random(random.SystemRandom().getrandbits(256))  # noqa: S311  # names, not keys
        store = LedgerStore(engine, prices, clock=SystemClock(), dice=dice)
        gas = GasService(store)
        async with (
            join(config) as member,
            _expiring(gas.writer, store),
            _delivering(gas.writer, MarketStore(store), config) as outbox,
        ):
            yield hosted(gas, outbox).of(member)
    finally:
        engine.dispose()


@asynccontextmanager
async def _expiring(writer: Writer, store: LedgerStore) -> AsyncIterator[None]:
    """Let holds expire in time while the block runs."""
    expiring = expire_in_time(writer, store, clock=SystemClock(), sleep=asyncio.sleep)
    task = asyncio.create_task(expiring)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _delivering(
    writer: Writer, market: MarketStore, config: GasConfig
) -> AsyncIterator[Outbox | None]:
    """Deliver to webhooks while the block runs, if there is a key to sign with."""
    if config.webhook_key_file is None:
        yield None
        return
    clock = SystemClock()
    # The proxies of the environment are for people; events go where their webhook says.
    limits = httpx.Limits(max_connections=WEBHOOKS_MAX * IN_FLIGHT_MAX)
    async with httpx.AsyncClient(trust_env=False, limits=limits) as http:
        outbox = Outbox(
            writer,
            market,
            courier=HttpCourier(http, clock),
            seal=Seal(config.webhook_key_file.read_bytes()),
            envelope=cloud_event,
            clock=clock,
            sleep=asyncio.sleep,
            dice=random.SystemRandom(),
        )
        async with outbox.delivering():
            yield outbox


def main() -> None:
    """Serve until SIGTERM."""
    server.run("gas", load(GasConfig), open_service)


if __name__ == "__main__":
    main()
