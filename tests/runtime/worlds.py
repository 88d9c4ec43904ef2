"""A runtime over fakes, and the agents that its tests execute."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx

from chassis.canonical import canonical_json
from runtime.audience import Audience
from runtime.bundles import SealedBundle, read_program
from runtime.conductor import Conductor
from runtime.connectors import Connector
from runtime.connectors.catalogue import catalogue
from runtime.connectors.waiting import waiting_actions
from runtime.facts import ActionFinished, CancelRequested, Event
from runtime.journal.opening import WORKER, open_journal, open_journal_database
from runtime.journal.port import Journal, NewRun, Run
from runtime.program import REQUEST_SCHEMA, Program
from runtime.service import RuntimeService
from runtime.stage import Stage
from sandbox.ports import Code, Sandbox
from tests.fakes.board import FakeBoard
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import (
    FakeApprovals,
    FakeBundles,
    FakeGasMeter,
    FakeKnowledge,
    FakeModel,
    FakeSigner,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN = "runs/00000000-0000-4000-8000-000000000001"

SEARCH: dict[str, Any] = {
    "name": "knowledge.search",
    "program": "catalogue:knowledge.search",
    "description": "Finds passages.",
    "parameters_schema": {
        "type": "object",
        "properties": {"query": {"type": "string", "maxLength": 100}},
        "required": ["query"],
        "additionalProperties": False,
    },
    "effect": "read",
    "credential": "",
    "settings": {},
    "limits": {"per_run": 2},
    "approval": "allow",
    "required": False,
}
POST: dict[str, Any] = {
    "name": "board.post",
    "program": "catalogue:board.post",
    "description": "Posts.",
    "parameters_schema": {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 280}},
        "required": ["text"],
        "additionalProperties": False,
    },
    "effect": "write",
    "credential": "secrets/board-key",
    "settings": {"url": "http://board.test"},
    "limits": {"per_run": 1},
    "approval": "allow",
    "required": True,
}
# Asks an agent; of which bundle, a test says.
ASK: dict[str, Any] = {
    "name": "clerk.ask",
    "program": f"agent:bundles/{64 * '0'}",
    "description": "Answers.",
    "parameters_schema": REQUEST_SCHEMA,
    "effect": "write",
    "credential": "",
    "settings": {},
    "limits": {"per_run": 0},
    "approval": "allow",
    "required": False,
}
SLEEP, WAIT = (
    {
        "name": one.descriptor.name,
        "program": f"catalogue:{one.descriptor.name}",
        "description": one.descriptor.description,
        "parameters_schema": dict(one.descriptor.parameters_schema),
        "effect": "read",
        "credential": "",
        "settings": {},
        "limits": {"per_run": 0},
        "approval": "allow",
        "required": False,
    }
    for one in waiting_actions()
)


def code_action(
    source: str,
    *grants: dict[str, Any],
    capabilities: tuple[str, ...] | None = None,
    **more: object,
) -> dict[str, Any]:
    """Return an action `act` with code, which declares what it is granted unless told otherwise."""
    files = {"act.py": source}
    declared = capabilities if capabilities is not None else [one["name"] for one in grants]
    return {
        "name": "act",
        "program": f"code:{Code('act.py', files).sha256}",
        "description": "Acts.",
        "parameters_schema": {"type": "object"},
        "effect": "write",
        "credential": "",
        "settings": {},
        "limits": {"per_run": 0},
        "approval": "allow",
        "required": False,
        "code": {
            "main": "act.py",
            "files": files,
            "function": "act",
            "capabilities": [*declared],
            "grants": [{**one, "required": False} for one in grants],
            "output_schema": {},
            "limits": {
                "fuel": 2_000_000_000,
                "memory_bytes": 64 * 1024 * 1024,
                "wall_seconds": 30,
                "host_calls": 20,
            },
        },
        **more,
    }


PAYLOAD: dict[str, Any] = {
    "format": "actionvm.bundle/v1",
    "agent": {"name": "market-brief", "version": "1.0.0", "description": ""},
    "model": {
        "name": "local/babbler",
        "credential": "",
        "temperature": 0.5,
        "top_p": 1,
        "seed": 1,
        "tokens_max": 64,
        "context_tokens": 4096,
        "weights_sha256": "",
    },
    "instructions": "Post a brief.",
    "actions": [SEARCH, POST],
    "knowledge": [{"collection": "collections/market", "segment": "private", "documents": []}],
    "budget": {"gas": 50_000, "period": "day"},
    "limits": {"steps": 4, "seconds": 60, "passages": 3},
}


def payload(change: Callable[[dict[str, Any]], object] = bool) -> bytes:
    """Return the payload of the usual agent after a change."""
    content = deepcopy(PAYLOAD)
    change(content)
    return canonical_json(content)


def program(change: Callable[[dict[str, Any]], object] = bool) -> Program:
    """Return the usual agent after a change."""
    return read_program(payload(change))


def with_limits(**limits: int) -> Callable[[dict[str, Any]], object]:
    """Return a change of limits."""
    return lambda content: content["limits"].update(limits)


def with_actions(*actions: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    """Return a change of the actions."""
    return lambda content: content.update(actions=list(actions))


class FakeClock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class World:
    """Everything outside the process of the runtime; it survives a crash."""

    folder: Path
    board: FakeBoard = field(default_factory=FakeBoard)
    internet: Internet = field(default_factory=Internet)
    bundles: FakeBundles = field(default_factory=FakeBundles)
    model: FakeModel = field(default_factory=FakeModel)
    knowledge: FakeKnowledge = field(default_factory=FakeKnowledge)
    meter: FakeGasMeter = field(default_factory=FakeGasMeter)
    signer: FakeSigner = field(default_factory=FakeSigner)
    approvals: FakeApprovals = field(default_factory=FakeApprovals)
    clock: FakeClock = field(default_factory=FakeClock)
    # Connectors in place of those with the same names.
    services: list[Connector] = field(default_factory=list)
    # Of PostgreSQL, which several workers share.
    url: str = ""
    sandbox: Sandbox | None = None
    # What the operator lets code use.
    code_may: frozenset[str] | None = None

    def __post_init__(self) -> None:
        # Not in memory: there, all threads would share one connection.
        self.engine = open_journal_database(self.folder / "runtime.db", self.url)
        # As one sees it who plays no runs.
        self.journal = open_journal(self.engine)

    def stage(
        self,
        wrap: Callable[[object, str], object] = lambda port, _: port,
        *,
        worker: str = WORKER,
    ) -> Stage:
        """Return a stage whose journal and ports went through `wrap`."""
        knowledge = cast("FakeKnowledge", wrap(self.knowledge, "knowledge"))
        signer = cast("FakeSigner", wrap(self.signer, "signer"))
        transport = cast("FakeBoard", wrap(self.board, "board"))
        http = httpx.AsyncClient(transport=transport)
        services = [cast("Connector", wrap(service, "service")) for service in self.services]
        return Stage(
            journal=cast("Journal", wrap(open_journal(self.engine, worker=worker), "journal")),
            audience=Audience(),
            clock=self.clock,
            bundles=cast("FakeBundles", wrap(self.bundles, "bundles")),
            model=cast("FakeModel", wrap(self.model, "model")),
            knowledge=knowledge,
            meter=cast("FakeGasMeter", wrap(self.meter, "meter")),
            signer=signer,
            approvals=cast("FakeApprovals", wrap(self.approvals, "approvals")),
            connectors=catalogue(http, knowledge, signer, self.internet.egress(), *services),
            sandbox=self.sandbox,
            code_may=self.code_may,
        )

    def seal(self, change: Callable[[dict[str, Any]], object] = bool) -> SealedBundle:
        """Return a bundle of the usual agent after a change, which the assembler has, too."""
        sealed = self.signer.seal(payload(change))
        self.bundles.bundles[sealed.name] = sealed
        return sealed

    async def create(
        self, change: Callable[[dict[str, Any]], object] = bool, *, dry_run: bool = False
    ) -> Run:
        """Store a run that nobody has taken up."""
        sealed = self.seal(change)
        new = NewRun(
            name=RUN,
            request_id="first",
            bundle=sealed.name,
            payload=sealed.payload,
            account=read_program(sealed.payload).account,
            input=json.dumps("What moved?"),
            dry_run=dry_run,
        )
        return (await self.journal.create(new, self.clock.now())).run

    def servicer(self) -> tuple[RuntimeService, Conductor]:
        """Return a servicer with its conductor, which has not started."""
        stage = self.stage()
        conductor = Conductor(stage)
        servicer = RuntimeService(stage=stage, conductor=conductor, dice=random.Random(1))
        return servicer, conductor

    async def events(self, run: str = RUN) -> list[Event]:
        """Return what the journal has."""
        return [record.event for record in await self.journal.events(run)]

    async def kinds(self, run: str = RUN) -> list[str]:
        """Return the names of the events in the journal."""
        return [type(event).__name__ for event in await self.events(run)]

    async def run(self, name: str = RUN) -> Run:
        """Return a run as it is now."""
        return await self.journal.get(name)

    async def cancel(self, run: str) -> None:
        """Want a run to stop, without telling its process."""
        note = CancelRequested()
        await self.journal.post(run, note, request_id="cancel", now=self.clock.now())

    async def open_names(self) -> list[str]:
        """Return the runs that have not ended, oldest first."""
        runs = await self.journal.newest(1_000)
        return [run.name for run in reversed(runs) if run.end_time is None]

    async def play(self, run: str = RUN) -> Run:
        """Let a new process bring the run to its end; return the run."""
        conductor = Conductor(self.stage())
        await conductor.start()
        try:
            await self.until_ended(run)
        finally:
            await conductor.stop()
        return await self.run(run)

    async def until_ended(self, run: str = RUN) -> None:
        """Wait for the end of a run."""
        await self.until(run, lambda it: it.end_time is not None)

    async def until(self, run: str, is_so: Callable[[Run], object]) -> None:
        """Wait until a run is as it should be."""
        async with asyncio.timeout(30):
            while not is_so(await self.run(run)):  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.002)

    async def until_result(self, call_id: str, run: str = RUN) -> None:
        """Wait until a call has a result."""
        async with asyncio.timeout(30):
            while not any(  # noqa: ASYNC110  # it tells nobody
                isinstance(event, ActionFinished) and event.call_id == call_id
                for event in await self.events(run)
            ):
                await asyncio.sleep(0.002)

    async def until_kind(self, kind: str, run: str = RUN) -> None:
        """Wait until an event of a kind is in the journal."""
        async with asyncio.timeout(30):
            while kind not in await self.kinds(run):  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.002)


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so that tells nobody."""
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.002)
