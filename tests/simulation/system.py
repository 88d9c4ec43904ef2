"""The six services of one world, composed as their `__main__` modules compose them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from sqlalchemy import Engine, MetaData

import assembler.store
import gas.store
import gas.tables
import keymanager.rows
import keymanager.store
import knowledge.store
import linker.store
import runtime.journal.tables
from assembler.assembly import Assembler
from assembler.clients import connect_peers
from assembler.service import AssemblerService
from assembler.service import hosted as hosted_assembler
from chassis.database import open_memory_database
from chassis.server import Hosted
from gas.price_file import PACKAGED, read_prices
from gas.service import GasService
from gas.service import hosted as hosted_gas
from keymanager.services.hosting import hosted as hosted_keymanager
from keymanager.vault import Vault
from knowledge.embedding import HashingEmbedder
from knowledge.service import KnowledgeService
from knowledge.service import hosted as hosted_knowledge
from linker import clients as linker_clients
from linker.answers import Answers
from linker.keys import Keyring
from linker.linker import LOCAL, Linker
from linker.opening import Opener
from linker.paying import Cashier
from linker.providers.scripted import Script, ScriptedProvider
from linker.routing.route import Router
from linker.routing.turns import Turns
from linker.service import LinkerService
from linker.service import hosted as hosted_linker
from runtime import clients as runtime_clients
from runtime.audience import Audience
from runtime.clients.approvals import ApprovalsClient
from runtime.clients.gas import GasClient as RuntimeGasClient
from runtime.clients.keys import KeymanagerClient
from runtime.conductor import Conductor
from runtime.connectors.catalogue import catalogue
from runtime.connectors.send import AgentSend
from runtime.journal.sqlite import SqliteJournal
from runtime.schedules.clients import KnowledgeCollections
from runtime.schedules.office import Desk, WebhookSettings, working
from runtime.schedules.service import beside
from runtime.schedules.starting import RuntimeStarter
from runtime.schedules.store import ScheduleStore
from runtime.schedules.tables import TABLES as SCHEDULE_TABLES
from runtime.service import RuntimeService
from runtime.service import hosted as hosted_runtime
from runtime.stage import Stage
from sandbox.outcome import Examined
from tests.fakes.assembler_peers import FakeCompiler
from tests.fakes.internet import Internet
from tests.fakes.platform import FakePlatform
from tests.fakes.sandboxes import Script as CodeScript
from tests.fakes.sandboxes import ScriptedSandbox
from tests.keymanager.authorities import identity_parts
from tests.linker.shelves import make_shelf

from .board import SimulatedBoard
from .world import Process, World

# The public prices of providers change, and nothing is bought from them here.
PRICES = PACKAGED / "local.yaml"


class System:
    """Six processes and a board in one world. The model follows a script, and so does code."""

    def __init__(
        self,
        world: World,
        script: Script,
        *,
        code: CodeScript | None = None,
        examined: Mapping[str, Examined] | None = None,
    ) -> None:
        self.world = world
        self.board = SimulatedBoard(world)
        self._script = script
        self._sandbox = ScriptedSandbox(code) if code else None
        self._examined = examined
        # It outlives its process, as the database does.
        self._platform = FakePlatform()
        for build in (
            self.gas,
            self.keymanager,
            self.knowledge,
            self.linker,
            self.runtime,
            self.assembler,
        ):
            world.add(build.__name__, build)

    @asynccontextmanager
    async def gas(self, process: Process) -> AsyncIterator[Hosted]:
        """Build the gas system."""
        prices = read_prices(PRICES)
        engine = _database(process, gas.tables.TABLES)
        store = gas.store.LedgerStore(engine, prices, clock=self.world, dice=process.random)
        yield hosted_gas(GasService(store))

    @asynccontextmanager
    async def keymanager(self, process: Process) -> AsyncIterator[Hosted]:
        """Build the key manager."""
        random_bytes = process.random.randbytes
        store = keymanager.store.VaultStore(
            _database(process, keymanager.rows.TABLES),
            self._platform,
            clock=self.world,
            random_bytes=random_bytes,
        )
        vault = Vault(store)
        identities = identity_parts(self.world, vault=vault)
        yield hosted_keymanager(
            vault, self._platform, *identities, clock=self.world, random_bytes=random_bytes
        )

    @asynccontextmanager
    async def knowledge(self, process: Process) -> AsyncIterator[Hosted]:
        """Build the knowledge storage."""
        engine = _database(process, knowledge.store.TABLES)
        store = knowledge.store.KnowledgeStore(engine, HashingEmbedder(), clock=self.world)
        yield hosted_knowledge(KnowledgeService(store))

    @asynccontextmanager
    async def linker(self, process: Process) -> AsyncIterator[Hosted]:
        """Build the linker; its only model is called like the one in the box."""
        provider = ScriptedProvider(self._script, models=["babbler"])
        database = _database(process, linker.store.TABLES)
        store = linker.store.LinkStore(database)
        meter = linker_clients.GasClient(process.channel("gas"))
        shelf = make_shelf(Path("/nonexistent"))
        keyring = Keyring(linker_clients.KeysClient(process.channel("keymanager")), self.world)
        monotonic = self.world.loop.time
        linked = Linker(
            Opener({"local": provider}, keyring),
            store,
            Cashier(meter),
            self.world,
            router=Router(monotonic, process.random),
            turns=Turns({"local": LOCAL}, monotonic=monotonic),
            answers=Answers(linker.store.KeptAnswers(database), self.world),
        )
        yield hosted_linker(LinkerService(linked, shelf))

    @asynccontextmanager
    async def runtime(self, process: Process) -> AsyncIterator[Hosted]:
        """Build the runtime; it resumes what a kill left open."""
        found = runtime_clients.KnowledgeClient(process.channel("knowledge"))
        keys = process.channel("keymanager")
        signer = KeymanagerClient(keys)
        desk = Desk(ScheduleStore(_database(process, SCHEDULE_TABLES, "schedules")), self.world)
        # Of which nobody here asks anything.
        internet = Internet()
        async with httpx.AsyncClient(transport=self.board) as http:
            stage = Stage(
                journal=SqliteJournal(
                    _database(process, runtime.journal.tables.TABLES),
                    worker="embedded",
                ),
                audience=Audience(),
                clock=self.world,
                bundles=runtime_clients.AssemblerClient(process.channel("assembler")),
                model=runtime_clients.LinkerClient(process.channel("linker")),
                knowledge=found,
                meter=RuntimeGasClient(process.channel("gas")),
                signer=signer,
                # Nobody decides anything here.
                approvals=ApprovalsClient(keys, lambda: keys),
                connectors=catalogue(http, found, signer, internet.egress(), AgentSend(desk.inbox)),
                sandbox=self._sandbox,
            )
            conductor = Conductor(stage)
            await conductor.start()
            starter = RuntimeStarter(stage, conductor, process.random)
            scheduling = working(
                desk,
                starter,
                KnowledgeCollections(process.channel("knowledge")),
                webhooks=WebhookSettings("", "", Path()),
                dice=process.random,
            )
            service = RuntimeService(stage=stage, conductor=conductor, dice=process.random)
            async with scheduling as schedules:
                yield beside(hosted_runtime(service), schedules)

    @asynccontextmanager
    async def assembler(self, process: Process) -> AsyncIterator[Hosted]:
        """Build the assembler."""
        peers = connect_peers(
            runtime=process.channel("runtime"),
            linker=process.channel("linker"),
            keymanager=process.channel("keymanager"),
            knowledge=process.channel("knowledge"),
            gas=process.channel("gas"),
            compiler=FakeCompiler(self._examined),
        )
        store = assembler.store.BundleStore(_database(process, assembler.store.TABLES))
        yield hosted_assembler(AssemblerService(Assembler(peers, store, self.world), store))


def _database(process: Process, tables: MetaData, name: str = "main") -> Engine:
    return process.engine(name, lambda: open_memory_database(tables))
