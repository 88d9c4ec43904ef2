"""The process of the assembler: `python -m assembler`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from grpc import aio

from chassis.clock import SystemClock
from chassis.config import load
from chassis.database import open_database
from chassis.server import Hosted, ensure_private_folder, run
from chassis.telemetry import Telemetry
from chassis.witness import remembering
from enrolment.join import join
from sandbox.choosing import read_digests
from sandbox.sandboxes import opened

from .assembly import Assembler
from .clients import connect_peers
from .config import AssemblerConfig
from .service import AssemblerService, hosted
from .store import TABLES, BundleStore


@asynccontextmanager
async def open_service(config: AssemblerConfig, telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Open the store and the channels to all peers."""
    ensure_private_folder(config.data_dir)
    async with AsyncExitStack() as stack:
        member = await stack.enter_async_context(join(config))
        engine = open_database(config.data_dir / "assembler.db", TABLES)
        stack.callback(engine.dispose)

        async def channel_to(
            peer: str, address: str, *others: aio.ClientInterceptor
        ) -> aio.Channel:
            heard = [*telemetry.client, *others]
            channel = member.connect(address, peer, interceptors=heard)
            return await stack.enter_async_context(channel)

        sandbox = await stack.enter_async_context(
            opened(1, native=read_digests(config.code_native))
        )
        witness = await stack.enter_async_context(remembering(config.data_dir / "keymanager.mark"))
        peers = connect_peers(
            runtime=await channel_to("runtime", config.runtime_address),
            linker=await channel_to("linker", config.linker_address),
            keymanager=await channel_to(
                "keymanager", config.keymanager_address, *witness.interceptors
            ),
            knowledge=await channel_to("knowledge", config.knowledge_address),
            gas=await channel_to("gas", config.gas_address),
            compiler=sandbox,
        )
        store = BundleStore(engine)
        yield hosted(AssemblerService(Assembler(peers, store, SystemClock()), store)).of(member)


def main() -> None:
    """Serve until stopped."""
    run("assembler", load(AssemblerConfig), open_service)


if __name__ == "__main__":
    main()
