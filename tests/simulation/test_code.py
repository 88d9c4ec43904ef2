"""Code that acts, through all six services, while everything around it breaks."""

from __future__ import annotations

import pytest

from actionvm.runtime.v1 import runtime_pb2
from chassis.canonical import Json
from sandbox.outcome import Described, Examined
from sandbox.ports import Asked, Host, Order

from . import checkers
from .operator import Operator
from .system import System
from .test_system import ROUGH, wilful
from .world import World, simulate

SEEDS = 60
SEEDS_SOAK = 3_000

ACT = Described(
    name="act",
    description="Acts.",
    capabilities=("board.post", "knowledge.search"),
    parameters_schema={"type": "object", "properties": {}},
    output_schema={},
    line=1,
)
MANIFEST = """
apiVersion: actionvm/v1
kind: Agent
metadata: {name: market-brief, version: 1.0.0, description: Posts with code}
spec:
  model: {use: local/babbler, seed: 1, tokens_max: 160}
  instructions: Act.
  actions:
    - source: act.py
      grants:
        - {use: knowledge.search, limits: {per_run: 5}}
        - use: board.post
          credential: board-key
          settings: {url: "http://board.example"}
          limits: {per_run: 3}
  knowledge: {private: [{collection: market, documents: [week.md]}]}
  workflow:
    steps: [{id: act, action: act, with: {}}]
    output: steps.act.output
  budget: {gas: 50000, per: day}
  limits: {timeout: 10m}
"""
FILES = {"act.py": "# A script of the test.\n", "week.md": "# Week\n\nEther rose.\n"}


async def posts(order: Order, host: Host) -> Json:
    """Look something up, then post twice at once and once more."""
    (found,) = await host.ask([Asked("knowledge.search", {"query": "ether"})])
    assert not found.reason, found
    many = [Asked("board.post", {"text": f"{order.seed} {number}"}) for number in range(2)]
    told = [*await host.ask(many)]
    told += await host.ask([Asked("board.post", {"text": f"{order.seed} last"})])
    return [answer.reason for answer in told]


@pytest.mark.parametrize(
    "seed",
    [*range(SEEDS), *(pytest.param(s, marks=pytest.mark.soak) for s in range(SEEDS, SEEDS_SOAK))],
)
def test_code_posts_as_often_as_it_asks_whatever_breaks(seed: int) -> None:
    async def scenario(world: World) -> None:
        system = System(world, wilful(seed), code=posts, examined={"act.py": Examined((ACT,))})
        operator = Operator(world)
        await operator.make_key("board-key")
        bundle = await operator.assemble(MANIFEST, FILES)
        run = await operator.start(bundle.name, "the-run")

        async def ignore(_: runtime_pb2.WatchRunResponse) -> None:
            pass

        journal = await operator.watch(run, ignore)

        assert journal[-1].finished.state == runtime_pb2.Run.STATE_SUCCEEDED, journal[-1]
        assert journal[-1].finished.answer == '["","",""]'
        assert system.board.post_count == 3
        checkers.check_journal(journal)
        checkers.check_receipt(journal)
        checkers.check_spending(await operator.budgets("agents/market-brief"), [journal])
        checkers.check_posts(system.board, [journal])
        checkers.check_replay(await operator.replay(run), journal)

    checkers.check_world(simulate(seed, scenario, ROUGH))
