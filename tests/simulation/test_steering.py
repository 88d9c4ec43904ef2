"""A run that people have a say in, at any moment, while everything around it breaks."""

from __future__ import annotations

import asyncio
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
from .test_system import ROUGH
from .world import World, simulate

SEEDS = 200
SEEDS_SOAK = 5_000
MANIFEST = """
apiVersion: actionvm/v1
kind: Agent
metadata: {name: steered, version: 1.0.0, description: Waits and asks before it posts}
spec:
  model: {use: local/babbler, temperature: 0.7, seed: 1, tokens_max: 160}
  instructions: Post when you may.
  actions:
    - {use: run.sleep, limits: {per_run: 3}}
    - {use: run.wait, limits: {per_run: 2}}
    - use: board.post
      credential: board-key
      settings: {url: "http://board.example"}
      limits: {per_run: 2}
      approval: ask
  budget: {gas: 50000, per: day}
  limits: {steps: 8, timeout: 10m}
"""


def wilful(seed: int) -> Script:
    """Return a model that makes up to three calls at once, or ends."""
    dice = random.Random(seed)
    arguments = {
        "run.sleep": {"seconds": 2},
        "run.wait": {"signal": "go", "seconds": 5},
        "board.post": {"text": "ether rose"},
    }

    def answer(prompt: Prompt) -> Line | ServiceError:
        offered = [action.name for action in prompt.conversation.actions]
        turns = sum(message.role is Role.ASSISTANT for message in prompt.conversation.messages)
        if not offered or (turns > 1 and dice.random() < 0.4):
            return Line(text=f"That was all, {dice.randrange(1000)} times.")
        names = [dice.choice(offered) for _ in range(dice.randint(1, 3))]
        return Line(calls=tuple(WrittenCall(n, json.dumps(arguments[n])) for n in names))

    return answer


async def meddle(world: World, operator: Operator, run: str) -> None:
    """Pause, resume, signal and decide at random, until somebody stops it."""
    for number in range(10**6):
        await asyncio.sleep(world.random.expovariate(1))
        match world.random.randrange(5):
            case 0:
                await operator.pause(run)
                await asyncio.sleep(world.random.random())
                await operator.resume(run)
            case 1:
                await operator.signal(run, str(number))
            case _:
                for approval in await operator.approvals():
                    await operator.decide(approval, allow=world.random.random() < 0.7)


async def steer(world: World, seed: int) -> checkers.Journal:
    """Take an agent from its manifest to the end of a run that people meddle with; check it all."""
    system = System(world, wilful(seed))
    operator = Operator(world)
    await operator.make_key("board-key")
    bundle = await operator.assemble(MANIFEST, {})
    run = await operator.start(bundle.name, "the-run")
    meddling = asyncio.ensure_future(meddle(world, operator, run))

    async def ignore(_: runtime_pb2.WatchRunResponse) -> None:
        pass

    journal = await operator.watch(run, ignore)
    meddling.cancel()

    allowed = {e.approved.call_id for e in journal if e.approved.allows}
    sent = {e.sent.call_id for e in journal if e.HasField("sent")}
    assert sent <= allowed
    checkers.check_journal(journal)
    checkers.check_receipt(journal)
    checkers.check_spending(await operator.budgets("agents/steered"), [journal])
    checkers.check_posts(system.board, [journal])
    checkers.check_replay(await operator.replay(run), journal)
    return journal


@pytest.mark.parametrize(
    "seed",
    [*range(SEEDS), *(pytest.param(s, marks=pytest.mark.soak) for s in range(SEEDS, SEEDS_SOAK))],
)
def test_a_steered_run_ends_and_posts_only_what_was_allowed(seed: int) -> None:
    async def scenario(world: World) -> None:
        journal = await steer(world, seed)
        assert journal[-1].finished.failure.reason in {"", "STEPS_EXCEEDED"}, journal[-1]

    checkers.check_world(simulate(seed, scenario, ROUGH))


def test_people_are_heard_in_every_way() -> None:
    missing = {"allowed", "denied", "pause_requested", "resume_requested", "signalled", "sent"}
    missing |= {"slept", "together"}

    async def scenario(world: World) -> None:
        kinds = set[str]()
        for event in await steer(world, seed):
            kinds.add(event.WhichOneof("event") or "")
            if event.HasField("approved"):
                kinds.add("allowed" if event.approved.allows else "denied")
            if len(event.generated.calls) > 1:
                kinds.add("together")
        missing.difference_update(kinds)

    for seed in range(100):
        simulate(seed, scenario, ROUGH)
        if not missing:
            break
    assert missing == set()
