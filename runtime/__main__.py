"""Starts the runtime: `python -m runtime`."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from grpc import aio

from chassis import server
from chassis.clock import SystemClock
from chassis.config import load
from chassis.server import Hosted
from chassis.telemetry import Telemetry
from chassis.witness import remembering
from enrolment.join import join

from .audience import Audience
from .balancing import BalancedModel
from .clients import (
    AssemblerClient,
    GasClient,
    KeymanagerClient,
    KnowledgeClient,
    LinkerClient,
)
from .conductor import Conductor
from .config import RuntimeConfig
from .connectors.catalogue import catalogue
from .database import open_run_database
from .service import RuntimeService, hosted
from .stage import Stage
from .store import RunStore


@asynccontextmanager
async def open_service(config: RuntimeConfig, telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Open the journal, resume what is open, and build the service."""
    folder = server.ensure_private_folder(config.data_dir)
    engine = open_run_database(folder / "runtime.db")
    async with AsyncExitStack() as stack:
        stack.callback(engine.dispose)
        member = await stack.enter_async_context(join(config))

        async def channel_to(
            peer: str, address: str, *others: aio.ClientInterceptor
        ) -> aio.Channel:
            heard = [*telemetry.client, *others]
            channel = member.connect(address, peer, interceptors=heard)
            return await stack.enter_async_context(channel)

        knowledge = KnowledgeClient(await channel_to("knowledge", config.knowledge_address))
        witness = await stack.enter_async_context(remembering(folder / "keymanager.mark"))
        signer = KeymanagerClient(
            await channel_to("keymanager", config.keymanager_address, *witness.interceptors)
        )
        # The proxies of the environment are for people; an agent goes where its bundle says.
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        stage = Stage(
            store=RunStore(engine),
            audience=Audience(),
            clock=SystemClock(),
            bundles=AssemblerClient(await channel_to("assembler", config.assembler_address)),
            model=BalancedModel(
                {
                    address: LinkerClient(await channel_to("linker", address))
                    for address in config.linker_address.split()
                }
            ),
            knowledge=knowledge,
            meter=GasClient(await channel_to("gas", config.gas_address)),
            signer=signer,
            connectors=catalogue(http, knowledge, signer),
        )
        conductor = Conductor(stage)
        await conductor.start()
        stack.push_async_callback(conductor.stop)
        dice = random.SystemRandom()
        yield hosted(RuntimeService(stage=stage, conductor=conductor, dice=dice)).of(member)


def main() -> None:
    """Serve until SIGTERM."""
    server.run("runtime", load(RuntimeConfig), open_service)


if __name__ == "__main__":
    main()
