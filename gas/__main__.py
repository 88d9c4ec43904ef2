"""Starts the gas system: `python -m gas`."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis import server
from chassis.clock import SystemClock
from chassis.config import load
from chassis.server import Hosted
from chassis.telemetry import Telemetry

from .config import GasConfig
from .database import open_ledger_database
from .market.service import MarketplaceService
from .price_file import read_prices
from .service import GasService, hosted
from .store import LedgerStore


@asynccontextmanager
async def open_service(config: GasConfig, _telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Build the service on the ledger of its data folder."""
    prices = read_prices(config.prices_file)
    server.ensure_private_folder(config.data_dir)
    engine = open_ledger_database(config.data_dir / "gas.db", config.database_url)
    try:
        store = LedgerStore(engine, prices, clock=SystemClock(), dice=random.SystemRandom())
        yield hosted(GasService(store), MarketplaceService())
    finally:
        engine.dispose()


def main() -> None:
    """Serve until SIGTERM."""
    server.run("gas", load(GasConfig), open_service)


if __name__ == "__main__":
    main()
