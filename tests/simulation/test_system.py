"""The whole flow of an agent through all six services, while everything around it breaks."""

from __future__ import annotations

import json
import random

import pytest

from actionvm.runtime.v1 import runtime_pb2
from chassis.errors import ServiceError
from linker.conversation import Prompt, Role, WrittenCall
from linker.providers.scripted import Line, Script

from . import checkers
from .operator import Operator
from .system import System
from .world import Faults, World, simulate

SEEDS = 200
SEEDS_SOAK = 10_000
ROUGH = Faults(
    break_probability=0.06,
    kill_probability=0.03,
    duplicate_probability=0.03,
    partition_probability=0.002,
)

MANIFEST = """
apiVersion: actionvm/v1
kind: Agent
metadata: {name: market-brief, version: 1.0.0, description: Posts a short market brief}
spec:
  model: {use: local/babbler, temperature: 0.7, seed: 1, tokens_max: 160}
  instructions: Say what moved.
  actions:
    - {use: knowledge.search, limits: {per_run: 2}}
    - use: board.post
      credential: board-key
      settings: {url: "http://board.example"}
      limits: {per_run: 1}
      required: true
  knowledge: {private: [{collection: market, documents: [week.md]}]}
  budget: {gas: 50000, per: day}
  limits: {steps: 8, timeout: 10m}
"""
# What each action wants to be told.
FIELDS = {"board.post": "text", "crier.ask": "request", "knowledge.search": "query"}
FILES = {"week.md": "# Week\n\nEther rose by four percent.\n\nBitcoin was flat.\n"}


def wilful(seed: int) -> Script:
    """Return a model that searches, posts and talks in an order of its own, and not twice alike."""
    dice = random.Random(seed)

    def answer(prompt: Prompt) -> Line | ServiceError:
        results = [m for m in prompt.conversation.messages if m.role is Role.ACTION]
        offered = [action.name for action in prompt.conversation.actions]
        has_done = any('"posted"' in m.text or '"answer"' in m.text for m in results)
        if not offered or (has_done and dice.random() < 0.7):
            return Line(text=f"That was all, {dice.randrange(1000)} times.")
        action = dice.choice(offered)
        words = f"ether rose {dice.randrange(1000)}"
        return Line(calls=(WrittenCall(action, json.dumps({FIELDS[action]: words})),))

    return answer


async def run_agent(world: World, *, dry_run: bool = False) -> list[runtime_pb2.WatchRunResponse]:
    """Take an agent from its manifest to the end of a run, and check all invariants."""
    system = System(world, wilful(world.random.getrandbits(32)))
    operator = Operator(world)
    await operator.make_key("board-key")
    bundle = await operator.assemble(MANIFEST, FILES)
    run = await operator.start(bundle.name, "the-run", dry_run=dry_run)

    async def ignore(_: runtime_pb2.WatchRunResponse) -> None:
        pass

    journal = await operator.watch(run, ignore)
    again = await operator.start(bundle.name, "the-run", dry_run=dry_run)

    assert again == run, "the same request is the same run"
    checkers.check_journal(journal)
    checkers.check_receipt(journal)
    checkers.check_spending(await operator.budgets("agents/market-brief"), [journal])
    checkers.check_posts(system.board, [] if dry_run else [journal])
    checkers.check_counts(await operator.drifts(), journal)
    checkers.check_replay(await operator.replay(run), journal)
    return journal


@pytest.mark.parametrize(
    "seed",
    [*range(SEEDS), *(pytest.param(s, marks=pytest.mark.soak) for s in range(SEEDS, SEEDS_SOAK))],
)
def test_a_run_succeeds_with_one_post_whatever_breaks(seed: int) -> None:
    async def scenario(world: World) -> None:
        journal = await run_agent(world)

        assert journal[-1].finished.state == runtime_pb2.Run.STATE_SUCCEEDED, journal[-1]

    checkers.check_world(simulate(seed, scenario, ROUGH))


@pytest.mark.parametrize("seed", range(10))
def test_a_dry_run_posts_nothing(seed: int) -> None:
    async def scenario(world: World) -> None:
        journal = await run_agent(world, dry_run=True)

        assert journal[-1].finished.state == runtime_pb2.Run.STATE_SUCCEEDED

    checkers.check_world(simulate(seed, scenario, ROUGH))


@pytest.mark.parametrize("seed", range(40))
def test_a_run_that_is_cancelled_at_any_event_ends_and_posts_at_most_once(seed: int) -> None:
    async def scenario(world: World) -> None:
        system = System(world, wilful(seed))
        operator = Operator(world)
        await operator.make_key("board-key")
        bundle = await operator.assemble(MANIFEST, FILES)
        run = await operator.start(bundle.name, "the-run")
        left = world.random.randrange(12)

        async def cancel_in_time(_: runtime_pb2.WatchRunResponse) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                await operator.cancel(run)

        journal = await operator.watch(run, cancel_in_time)

        checkers.check_journal(journal)
        checkers.check_receipt(journal)
        checkers.check_spending(await operator.budgets("agents/market-brief"), [journal])
        checkers.check_posts(system.board, [journal])

    checkers.check_world(simulate(seed, scenario, ROUGH))


def test_the_same_seed_is_the_same_story() -> None:
    async def scenario(world: World) -> None:
        await run_agent(world)

    traces = [simulate(11, scenario, ROUGH).trace for _ in range(2)]

    assert traces[0] == traces[1]


def test_the_faults_do_happen() -> None:
    async def scenario(world: World) -> None:
        await run_agent(world)

    # What happens to which seed changes with every message; each fault comes within some dozens.
    services = {"assembler", "gas", "keymanager", "knowledge", "linker", "runtime"}
    faults = {"request lost", "response lost", "duplicated", "parted", "board answer lost"}
    for seed in range(300):
        world = simulate(seed, scenario, ROUGH)
        trace = "\n".join(world.trace)
        services -= {name for name, process in world.processes.items() if process.kill_count}
        faults -= {fault for fault in faults if fault in trace}
        if not services | faults:
            break

    assert (services, faults) == (set(), set())
