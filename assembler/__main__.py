"""The process of the assembler: `python -m assembler`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from grpc import aio

from chassis.channel import connect
from chassis.clock import SystemClock
from chassis.config import load, read_token
from chassis.database import open_database
from chassis.server import Hosted, ensure_private_folder, run
from chassis.telemetry import Telemetry

from .assembly import Assembler
from .clients import connect_peers
from .config import AssemblerConfig
from .service import AssemblerService, hosted
from .store import TABLES, BundleStore


@asynccontextmanager
async def open_service(config: AssemblerConfig, telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Open the store and the channels to all peers."""
    ensure_private_folder(config.data_dir)
    token = read_token(config)
    async with AsyncExitStack() as stack:
        engine = open_database(config.data_dir / "assembler.db", TABLES)
        stack.callback(engine.dispose)

        async def open_channel(address: str) -> aio.Channel:
            channel = connect(address, token, interceptors=telemetry.client)
            return await stack.enter_async_context(channel)

        peers = connect_peers(
            runtime=await open_channel(config.runtime_address),
            linker=await open_channel(config.linker_address),
            keymanager=await open_channel(config.keymanager_address),
            knowledge=await open_channel(config.knowledge_address),
            gas=await open_channel(config.gas_address),
        )
        store = BundleStore(engine)
        yield hosted(AssemblerService(Assembler(peers, store, SystemClock()), store))


def main() -> None:
    """Serve until stopped."""
    run("assembler", load(AssemblerConfig), open_service)


if __name__ == "__main__":
    main()
