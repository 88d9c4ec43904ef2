"""A valid manifest to break, and an assembler with fake peers to break it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from assembler.assembly import Assembler, Assembly, Progress, Source
from assembler.store import TABLES, BundleStore
from assembler.template import Scalar
from chassis.database import open_memory_database
from chassis.problems import Problem
from tests.fakes.assembler_peers import FakePeers

FILES: Mapping[str, bytes] = {"knowledge/week.md": b"# The week\n\nETH rose by 4%.\n"}
MANIFEST = """\
apiVersion: actionvm/v1
kind: Template
parameters:
  board_url: {type: string, default: "http://127.0.0.1:7480"}
metadata:
  name: market-brief
  version: 1.0.0
  description: Writes and posts a short market brief
spec:
  model: {use: local/babbler, temperature: 0.7, seed: 1, tokens_max: 160}
  instructions: Summarise what moved, in two sentences, then post it.
  actions:
    - {use: knowledge.search, limits: {per_run: 2}}
    - use: board.post
      credential: board-key
      settings: {url: "${{ parameters.board_url }}"}
      limits: {per_run: 1}
      required: true
  knowledge:
    private: [{collection: market, documents: [knowledge/week.md]}]
  budget: {gas: 50000, per: day}
  limits: {steps: 8, timeout: 2m}
"""


class StoppedClock:
    """A clock that shows one time."""

    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def now(self) -> datetime:
        """Return it."""
        return self.time


@dataclass
class Workbench:
    """An assembler with its peers and its store."""

    peers: FakePeers = field(default_factory=FakePeers)
    clock: StoppedClock = field(default_factory=StoppedClock)
    store: BundleStore = field(default_factory=lambda: BundleStore(open_memory_database(TABLES)))

    @property
    def assembler(self) -> Assembler:
        """Return the assembler."""
        return Assembler(self.peers.ports(), self.store, self.clock)

    async def validate(
        self,
        text: str | bytes,
        *,
        files: Mapping[str, bytes] = FILES,
        parameters: Mapping[str, Scalar] | None = None,
    ) -> list[Problem]:
        """Return the problems of a manifest."""
        return await self.assembler.validate(source(text, files=files, parameters=parameters))

    async def events(
        self,
        text: str | bytes,
        *,
        files: Mapping[str, bytes] = FILES,
        parameters: Mapping[str, Scalar] | None = None,
    ) -> list[Progress | Assembly]:
        """Assemble a manifest and return all that comes."""
        handed_in = source(text, files=files, parameters=parameters)
        return [event async for event in self.assembler.assemble(handed_in)]

    async def assemble(
        self,
        text: str | bytes,
        *,
        files: Mapping[str, bytes] = FILES,
        parameters: Mapping[str, Scalar] | None = None,
    ) -> Assembly:
        """Assemble a manifest and return how it ends."""
        assembly = (await self.events(text, files=files, parameters=parameters))[-1]
        assert isinstance(assembly, Assembly)
        return assembly


def source(
    text: str | bytes,
    *,
    files: Mapping[str, bytes] = FILES,
    parameters: Mapping[str, Scalar] | None = None,
) -> Source:
    """Return a manifest as the service hands it in."""
    content = text.encode() if isinstance(text, str) else text
    return Source("agent.yaml", content, files, parameters or {})


def changed(old: str, new: str) -> str:
    """Return the manifest with one text in it replaced."""
    assert MANIFEST.count(old) == 1, f"{old} must be in the manifest once"
    return MANIFEST.replace(old, new)
