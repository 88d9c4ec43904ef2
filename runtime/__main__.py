"""Starts the runtime: `python -m runtime`."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from grpc import aio

from chassis import server
from chassis.channel import open_channel
from chassis.clock import SystemClock
from chassis.config import load
from chassis.courier import HttpCourier
from chassis.seal import Seal
from chassis.server import Hosted
from chassis.telemetry import Telemetry
from chassis.tls import connect_with_token
from chassis.witness import remembering
from enrolment.issuer import ISSUER
from enrolment.join import join

from .audience import Audience
from .balancing import BalancedModel
from .clients import (
    AssemblerClient,
    KnowledgeClient,
    LinkerClient,
)
from .clients.approvals import ApprovalsClient
from .clients.gas import GasClient
from .clients.keys import KeymanagerClient
from .conductor import Conductor
from .config import RuntimeConfig
from .connectors import Connector
from .connectors.catalogue import catalogue
from .connectors.mcp.servers import read_servers
from .connectors.packages import add_packages
from .connectors.send import AgentSend
from .egress.client import Egress
from .egress.system import open_egress
from .journal.opening import WORKER, open_journal, open_journal_database
from .questions import Questions
from .schedules.clients import KnowledgeCollections
from .schedules.database import open_schedule_database
from .schedules.office import Desk, WebhookSettings, working
from .schedules.service import beside
from .schedules.starting import RuntimeStarter
from .schedules.store import ScheduleStore
from .service import RuntimeService, hosted
from .stage import Stage
from .told import Told, open_told
from .walls import raising


@asynccontextmanager
async def open_service(config: RuntimeConfig, telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Open the journal, resume what is open, and build the service."""
    folder = server.ensure_private_folder(config.data_dir)
    engine = open_journal_database(folder / "runtime.db", config.database_url)
    async with AsyncExitStack() as stack:
        stack.callback(engine.dispose)
        member = await stack.enter_async_context(join(config))

        async def channel_to(
            peer: str, address: str, *others: aio.ClientInterceptor
        ) -> aio.Channel:
            heard = [*telemetry.client, *others]
            channel = member.connect(address, peer, interceptors=heard)
            return await stack.enter_async_context(channel)

        documents = await channel_to("knowledge", config.knowledge_address)
        knowledge = KnowledgeClient(documents)
        witness = await stack.enter_async_context(remembering(folder / "keymanager.mark"))
        keys = await channel_to("keymanager", config.keymanager_address, *witness.interceptors)
        signer = KeymanagerClient(keys)
        schedules = open_schedule_database(folder / "schedules.db", config.database_url)
        stack.callback(schedules.dispose)
        desk = Desk(ScheduleStore(schedules), SystemClock())
        # The proxies of the environment are for people; an agent goes where its bundle says.
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        egress = await stack.enter_async_context(open_egress(config.local_services))
        connectors = catalogue(http, knowledge, signer, egress, AgentSend(desk.inbox))
        connectors = add_packages(config.connectors, connectors, egress, signer)
        tools = await stack.enter_async_context(_tools(config, egress))
        linkers = {
            address: LinkerClient(await channel_to("linker", address))
            for address in config.linker_address.split()
        }
        walls = await stack.enter_async_context(raising(config))
        stage = Stage(
            journal=open_journal(engine, worker=_worker(config)),
            audience=Audience(),
            clock=SystemClock(),
            bundles=AssemblerClient(await channel_to("assembler", config.assembler_address)),
            model=BalancedModel(linkers),
            knowledge=knowledge,
            meter=GasClient(await channel_to("gas", config.gas_address)),
            signer=signer,
            approvals=ApprovalsClient(keys, lambda: _channel_of_people(config)),
            connectors={**connectors, **tools},
            sandbox=walls.sandbox,
            sandbox_lack=walls.lack,
            code_may=frozenset(config.code_may.split()) or None,
        )
        conductor = Conductor(stage)
        await conductor.start()
        stack.push_async_callback(conductor.stop)
        dice = random.SystemRandom()
        starter = RuntimeStarter(stage, conductor, dice)
        collections = KnowledgeCollections(documents)
        scheduling = working(desk, starter, collections, webhooks=_webhooks(config), dice=dice)
        schedule_service = await stack.enter_async_context(scheduling)
        await stack.enter_async_context(_telling(config, stage, http, dice))
        runtime = RuntimeService(stage=stage, conductor=conductor, dice=dice)
        yield beside(hosted(runtime), schedule_service).of(member)


@asynccontextmanager
async def _tools(config: RuntimeConfig, egress: Egress) -> AsyncIterator[dict[str, Connector]]:
    """Yield the tools of MCP servers while the block runs, if there are any."""
    if config.mcp_file is None:
        yield {}
        return
    # It takes most of a second to import.
    from .connectors.mcp.tools import mcp_tools  # noqa: PLC0415

    async with mcp_tools(read_servers(config.mcp_file), egress) as tools:
        yield tools


@asynccontextmanager
async def _telling(
    config: RuntimeConfig, stage: Stage, http: httpx.AsyncClient, dice: random.Random
) -> AsyncIterator[None]:
    """Tell webhooks of questions to people while the block runs, if there are any."""
    urls = config.approval_webhooks.split()
    if not urls:
        yield
        return
    assert config.approval_key_file is not None, "the settings were checked"
    told = open_told(config.data_dir / "told.db")
    questions = Questions(
        stage.journal,
        Told(told),
        courier=HttpCourier(http, stage.clock),
        seal=Seal(config.approval_key_file.read_bytes()),
        clock=stage.clock,
        dice=dice,
    )
    try:
        async with questions.telling(urls):
            yield
    finally:
        told.dispose()


def _webhooks(config: RuntimeConfig) -> WebhookSettings:
    key_file = config.webhook_key_file or config.data_dir / "webhooks.key"
    return WebhookSettings(config.webhook_address, config.webhook_url, key_file)


def _worker(config: RuntimeConfig) -> str:
    """Return the name of this runtime among those that share the database."""
    if config.worker:
        return config.worker
    return uuid.uuid4().hex if config.database_url else WORKER


def _channel_of_people(config: RuntimeConfig) -> aio.Channel:
    """Return a channel to the key manager on which nobody is known but by a token."""
    if config.tls == "off":
        return open_channel(config.keymanager_address)
    assert config.ca_file is not None, "the settings were checked"
    authority = config.ca_file.read_bytes()
    return connect_with_token(config.issuer_address, ISSUER, token="", authority=authority)


def main() -> None:
    """Serve until SIGTERM."""
    server.run("runtime", load(RuntimeConfig), open_service)


if __name__ == "__main__":
    main()
