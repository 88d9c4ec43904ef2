"""One agent asks another, through all six services, while everything around them breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

import assembler.agents
import gas.chain
import linker.messages.generations
import runtime.delegation
from actionvm.runtime.v1 import runtime_pb2

from . import checkers
from .operator import Operator
from .system import System
from .test_system import ROUGH, wilful
from .world import World, simulate

SEEDS = 100
SEEDS_SOAK = 5_000

OnEvent: TypeAlias = Callable[[Operator, str], Awaitable[None]]

ACCOUNTS = ("agents/researcher", "agents/crier")
RESEARCHER = """
apiVersion: actionvm/v1
kind: Agent
metadata: {name: researcher, version: 1.0.0, description: Has what it finds cried out}
spec:
  model: {use: local/babbler, temperature: 0.7, seed: 1, tokens_max: 160}
  instructions: Have it cried out.
  actions:
    - {use: "agent:crier", limits: {per_run: 2}, required: true}
  budget: {gas: 50000, per: day}
  limits: {steps: 8, timeout: 10m}
"""
CRIER = """
apiVersion: actionvm/v1
kind: Agent
metadata: {name: crier, version: 1.0.0, description: Posts what it is told}
spec:
  model: {use: local/babbler, temperature: 0.7, seed: 1, tokens_max: 160}
  instructions: Post what you are told.
  actions:
    - use: board.post
      credential: board-key
      settings: {url: "http://board.example"}
      limits: {per_run: 1}
      required: true
  budget: {gas: 50000, per: day}
  limits: {steps: 8, timeout: 5m}
"""


# What a generation of it may cost is more than this: `short_of_gas` leaves that much to a run.
TALKATIVE = CRIER.replace("tokens_max: 160", "tokens_max: 1000")


def short_of_gas(gas_max: int) -> str:
    """Return an agent whose runs may spend so much, with all that they ask, or do without."""
    spare = RESEARCHER.replace(", required: true", "")
    return spare.replace("timeout: 10m", f"timeout: 10m, gas: {gas_max}")


async def run_agents(
    world: World,
    *,
    asks: str = RESEARCHER,
    answers: str = CRIER,
    dry_run: bool = False,
    on_event: OnEvent | None = None,
) -> tuple[System, list[runtime_pb2.Run], dict[str, checkers.Journal]]:
    """Take two agents from their manifests to the end of a run, and check all invariants.

    `on_event` hears of every event and every word of the run that asks, as who watches it does.
    Returns the runs, newest first, and the journals by run.
    """
    system = System(world, wilful(world.random.getrandbits(32)))
    operator = Operator(world)
    await operator.make_key("board-key")
    await operator.assemble(answers, {})
    bundle = await operator.assemble(asks, {})
    run = await operator.start(bundle.name, "the-run", dry_run=dry_run)

    async def hear(_: runtime_pb2.WatchRunResponse) -> None:
        if on_event is not None:
            await on_event(operator, run)

    journals: dict[str, checkers.Journal] = {run: await operator.watch(run, hear)}
    runs = await operator.runs()
    for called in runs:
        if called.name != run:
            journals[called.name] = await operator.watch(called.name, _ignore)

    checkers.check_calls(runs, journals)
    checkers.check_bills(journals)
    checkers.check_ledger(await operator.entries(), journals)
    for name, journal in journals.items():
        checkers.check_replay(await operator.replay(name), journal)
        checkers.check_journal(journal)
        checkers.check_receipt(journal)
    for account in ACCOUNTS:
        spent = [journals[one.name] for one in runs if one.account == account]
        checkers.check_spending(await operator.budgets(account), spent)
    checkers.check_posts(system.board, [] if dry_run else [*journals.values()])
    return system, runs, journals


async def _ignore(_: runtime_pb2.WatchRunResponse) -> None:
    pass


@pytest.mark.parametrize(
    "seed",
    [*range(SEEDS), *(pytest.param(s, marks=pytest.mark.soak) for s in range(SEEDS, SEEDS_SOAK))],
)
def test_an_agent_that_is_asked_runs_once_for_each_call_whatever_breaks(seed: int) -> None:
    async def scenario(world: World) -> None:
        _, runs, _ = await run_agents(world)

        assert runs[-1].state == runtime_pb2.Run.STATE_SUCCEEDED, runs[-1]
        assert runs[0].callers == ["agents/researcher"]

    checkers.check_world(simulate(seed, scenario, ROUGH))


@pytest.mark.parametrize("seed", range(10))
def test_a_dry_run_posts_nothing_below_either(seed: int) -> None:
    async def scenario(world: World) -> None:
        system, runs, _ = await run_agents(world, dry_run=True)

        assert runs[-1].state == runtime_pb2.Run.STATE_SUCCEEDED
        assert all(run.dry_run for run in runs)
        assert system.board.post_count == 0

    checkers.check_world(simulate(seed, scenario, ROUGH))


@pytest.mark.parametrize("seed", range(60))
def test_a_run_that_is_cancelled_at_any_event_ends_after_those_below_it(seed: int) -> None:
    async def scenario(world: World) -> None:
        left = world.random.randrange(12)

        async def cancel_in_time(operator: Operator, run: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                # Somewhere in the run below, which nobody watches here.
                await asyncio.sleep(world.random.random())
                await operator.cancel(run)

        await run_agents(world, on_event=cancel_in_time)

    checkers.check_world(simulate(seed, scenario, ROUGH))


@pytest.mark.parametrize("seed", range(60))
def test_what_a_run_may_spend_bounds_those_below_it_as_well(seed: int) -> None:
    async def scenario(world: World) -> None:
        gas_max = world.random.randrange(150, 600)
        _, runs, journals = await run_agents(world, asks=short_of_gas(gas_max))
        receipt = journals[runs[-1].name][-1].finished.receipt

        assert runs[-1].failure.reason in {"", "BUDGET_EXCEEDED"}
        assert receipt.total_gas <= gas_max

    checkers.check_world(simulate(seed, scenario, ROUGH))


@pytest.mark.parametrize("seed", range(20))
def test_who_asks_is_told_that_its_budget_does_not_cover_the_answer(seed: int) -> None:
    async def scenario(world: World) -> None:
        _, runs, journals = await run_agents(world, asks=short_of_gas(900), answers=TALKATIVE)
        asked, *below = reversed(runs)
        told = [event.acted.result for event in journals[asked.name] if event.HasField("acted")]

        assert asked.state == runtime_pb2.Run.STATE_SUCCEEDED, asked
        assert [run.failure.reason for run in below] == ["BUDGET_EXCEEDED"] * 2
        assert all("agents/researcher has" in run.failure.message for run in below)
        assert [json.loads(result)["error"] for result in told] == ["BUDGET_EXCEEDED"] * 2

    checkers.check_world(simulate(seed, scenario, ROUGH))


def test_the_assembler_refuses_the_chains_that_the_runtime_would_refuse() -> None:
    assert assembler.agents.CHAIN_LENGTH_MAX == runtime.delegation.CHAIN_LENGTH_MAX


def test_the_linker_and_gas_take_the_longest_chain_of_the_runtime() -> None:
    callers_max = runtime.delegation.CHAIN_LENGTH_MAX - 1
    assert callers_max <= linker.messages.generations.CALLERS_MAX
    assert callers_max <= gas.chain.CALLERS_MAX


def test_the_same_seed_is_the_same_story() -> None:
    async def scenario(world: World) -> None:
        await run_agents(world)

    traces = [simulate(11, scenario, ROUGH).trace for _ in range(2)]

    assert traces[0] == traces[1]
