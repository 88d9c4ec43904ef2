"""Windows of policies over many runs: at once, after crashes, and where a person decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from runtime.bundles import read_program
from runtime.conductor import Conductor
from runtime.facts import ActionDecided, ApprovalDecided, Decision, State
from runtime.journal.port import NewRun
from runtime.machines.agent import AgentLoop
from runtime.replaying import replay
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.crashes import Fuse, crash
from tests.runtime.worlds import POST, RUN, World, program, with_actions

TEXT = json.dumps({"text": "Ether gained."})
DAILY: dict[str, Any] = {"kind": "window", "name": "daily", "most": "3", "per": "day"}


def posting(*rules: dict[str, Any], **change: object) -> Callable[[dict[str, Any]], object]:
    """Return the agent with rules for its posts."""
    free = {"limits": {}, "required": False, "policy": list(rules)}
    return with_actions({**POST, **free, **change})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return made(tmp_path)


def made(folder: Path, count: int = 1) -> World:
    """Return a world whose model posts so often in one step, then answers."""
    folder.mkdir(exist_ok=True)
    world = World(folder)
    wanted = [("board.post", TEXT)] * count
    world.model.answers = lambda prompt: (
        calls(*wanted) if len(prompt.messages) == 2 else answer("done")
    )
    return world


async def start_many(
    world: World, count: int, change: Callable[[dict[str, Any]], object], *, dry_run: bool = False
) -> list[str]:
    """Store so many runs of one agent."""
    sealed = world.seal(change)
    names = [f"{RUN[:-2]}{number:02}" for number in range(1, count + 1)]
    for name in names:
        new = NewRun(
            name=name,
            request_id=name,
            bundle=sealed.name,
            payload=sealed.payload,
            account=read_program(sealed.payload).account,
            input='"go"',
            dry_run=dry_run,
        )
        await world.journal.create(new, world.clock.now())
    return names


async def play(world: World, names: list[str]) -> None:
    """Let one process bring all runs to their end."""
    conductor = Conductor(world.stage())
    await conductor.start()
    for name in names:
        await world.until_ended(name)
    await conductor.stop()


async def decisions(world: World, names: list[str]) -> list[ActionDecided]:
    """Return all that was decided."""
    events = [event for name in names for event in await world.events(name)]
    return [event for event in events if isinstance(event, ActionDecided)]


async def test_runs_at_once_share_the_windows_of_their_agent(world: World) -> None:
    names = await start_many(world, 12, posting(DAILY))
    await play(world, names)
    assert len(world.board.posts) == len(world.signer.requests) == 3
    denied = [one for one in await decisions(world, names) if one.decision is Decision.DENY]
    assert {one.rule for one in denied} == {"rule daily: 3 per day are used up"}
    assert len(denied) == 9


async def test_calls_of_one_step_count_one_after_another(tmp_path: Path) -> None:
    world = made(tmp_path, count=5)
    names = await start_many(world, 1, posting(DAILY))
    await play(world, names)
    kinds = [one.decision for one in await decisions(world, names)]
    assert kinds == [Decision.ALLOW] * 3 + [Decision.DENY] * 2


async def test_the_next_day_has_room_again(world: World) -> None:
    names = await start_many(world, 4, posting(DAILY))
    await play(world, names)
    world.clock.advance(24 * 3_600)
    # The first four are there already, and have ended.
    await play(world, await start_many(world, 5, posting(DAILY)))
    assert len(world.board.posts) == 4


async def test_a_dry_run_counts_nothing(world: World) -> None:
    names = await start_many(world, 5, posting(DAILY), dry_run=True)
    await play(world, names)
    assert {one.decision for one in await decisions(world, names)} == {Decision.DRY_RUN}
    with world.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tally")).scalar_one() == 0


async def test_beyond_a_window_that_asks_a_person_decides(tmp_path: Path) -> None:
    world = made(tmp_path, count=2)
    names = await start_many(world, 1, posting({**DAILY, "most": "1", "otherwise": "ask"}))
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until(RUN, lambda run: run.approval)
    awaited = await world.journal.awaited(RUN, "step-1-2")
    assert awaited.rule == "rule daily: 1 per day are used up"
    note = ApprovalDecided("step-1-2", awaited.arguments_sha256, allows=True, who="alice")
    await conductor.post(RUN, note, request_id="yes")
    await world.until_ended()
    await conductor.stop()
    assert (len(world.board.posts), (await world.run()).state) == (2, State.SUCCEEDED)
    kinds = [one.decision for one in await decisions(world, names)]
    assert kinds == [Decision.ALLOW, Decision.ASK]


async def test_a_crash_at_any_moment_never_makes_room(tmp_path: Path) -> None:
    change = posting({**DAILY, "most": "1"})
    moment, is_over = 1, False
    while not is_over:
        world = made(tmp_path / str(moment))
        names = await start_many(world, 2, change)
        fuse = Fuse(moment)
        await crash(world, fuse)
        await play(world, names)
        let_through = [one for one in await decisions(world, names) if one.decision == "allow"]
        assert len(let_through) == len(world.board.posts) == 1
        # Not every moment: two runs have many, and they come in another order each time.
        moment, is_over = moment + 11, not fuse.has_burnt


async def test_a_replay_takes_full_windows_for_given_and_nothing_else(tmp_path: Path) -> None:
    world = made(tmp_path, count=3)
    change = posting({**DAILY, "most": "1", "otherwise": "deny"})
    await play(world, await start_many(world, 1, change))
    records = await world.journal.events(RUN)
    agent = program(change)
    found = [*replay(AgentLoop(agent), agent, records)]
    assert [one.difference for one in found if one.difference] == []
    assert len(found) == len(records)
    other = program(posting({**DAILY, "most": "2", "otherwise": "deny"}))
    found = [*replay(AgentLoop(other), other, records)]
    assert found[-1].difference == "ActionDecided follows here, not ActionDecided"


# --- Forks ---------------------------------------------------------------------------------------


FORK = f"{RUN[:-2]}77"


async def fork_from_decision(world: World, conductor: Conductor) -> None:
    """Fork a run from where its call was let through and had not happened."""
    decided = (await world.kinds()).index("EffectSent")
    await conductor.fork(RUN, sequence=decided, request_id="f", fork=FORK)


async def test_a_fork_has_no_room_that_its_origin_has_used_up(world: World) -> None:
    names = await start_many(world, 1, posting({**DAILY, "most": "1"}))
    await play(world, names)
    conductor = Conductor(world.stage())
    await conductor.start()
    await fork_from_decision(world, conductor)
    await world.until_ended(FORK)
    await conductor.stop()
    assert [one.decision for one in await decisions(world, [FORK])] == [Decision.DENY]
    assert len(world.board.posts) == 1


async def test_a_yes_to_a_call_is_none_to_that_of_a_fork(world: World) -> None:
    await start_many(world, 1, posting(approval="ask"))
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until(RUN, lambda run: run.approval)
    awaited = await world.journal.awaited(RUN, "step-1-1")
    note = ApprovalDecided("step-1-1", awaited.arguments_sha256, allows=True, who="alice")
    await conductor.post(RUN, note, request_id="yes")
    await world.until_ended()
    await fork_from_decision(world, conductor)
    await world.until(FORK, lambda run: run.approval)
    await conductor.stop()
    assert len(world.board.posts) == 1
