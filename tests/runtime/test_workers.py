"""Several workers share one database: every run has one of them at a time, and never none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog.testing

from runtime import conductor as conductor_module
from runtime.conductor import LEASE_SECONDS, Conductor
from runtime.facts import SignalSent, State
from runtime.journal.port import NewRun
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.worlds import RUN, WAIT, World, until, with_actions


@pytest.fixture
def world(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(conductor_module, "ROUND_SECONDS", 0.02)
    world = World(tmp_path, url=database_url)
    yield world
    world.engine.dispose()


@asynccontextmanager
async def worker(world: World, name: str) -> AsyncIterator[Conductor]:
    """Let a worker play for the length of a block, and let go in order at its end."""
    conductor = Conductor(world.stage(worker=name))
    await conductor.start()
    try:
        yield conductor
    finally:
        await conductor.stop()


async def kill(conductor: Conductor) -> None:
    """Stop a worker as a power cut does: it says nothing to anybody."""
    rounds = [conductor._rounds] if conductor._rounds else []
    tasks = [*conductor._tasks.values(), *rounds]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def new_run(world: World, name: str = RUN) -> NewRun:
    sealed = world.seal()
    return NewRun(
        name=name,
        request_id=name,
        bundle=sealed.name,
        payload=sealed.payload,
        account="agents/market-brief",
        input='"What moved?"',
        dry_run=False,
    )


async def test_the_runs_of_a_worker_that_died_are_taken_up_by_another(world: World) -> None:
    world.model.go_on.clear()
    dead = Conductor(world.stage(worker="one"))
    await dead.start()
    async with worker(world, "two") as other:
        await dead.open(new_run(world))
        await world.model.is_writing.wait()
        await kill(dead)
        # Its lease has not run out, so nobody may have the run.
        await asyncio.sleep(0.1)
        assert not other._tasks
        world.clock.advance(LEASE_SECONDS)
        world.model.go_on.set()
        await world.until_ended()
    assert (await world.run()).state == State.SUCCEEDED
    assert len(world.board.posts) == 1


async def test_a_worker_that_stops_in_order_hands_its_runs_over_at_once(world: World) -> None:
    world.model.go_on.clear()
    async with worker(world, "two"):
        async with worker(world, "one") as first:
            await first.open(new_run(world))
            await world.model.is_writing.wait()
        world.model.go_on.set()
        await world.until_ended()
    assert (await world.run()).state == State.SUCCEEDED


async def test_a_worker_that_wakes_up_too_late_does_nothing_any_more(world: World) -> None:
    world.model.go_on.clear()
    slow = Conductor(world.stage(worker="one"))
    await slow.start()
    await slow.open(new_run(world))
    await world.model.is_writing.wait()
    # It sleeps: it makes no rounds, while its run goes on in its memory.
    assert slow._rounds
    slow._rounds.cancel()
    world.clock.advance(LEASE_SECONDS)
    async with worker(world, "two") as other:
        await until(lambda: other._tasks)
        with structlog.testing.capture_logs() as logs:
            world.model.go_on.set()
            await world.until_ended()
            await until(lambda: not slow._tasks)
    # It lost the run, which is no bug.
    assert {"run.lost"} == {one["event"] for one in logs} - {"run.finished"}
    assert (await world.kinds()).count("RunFinished") == 1
    assert len(world.board.posts) == 1
    await slow.stop()


async def test_a_note_reaches_a_run_that_another_worker_plays(world: World) -> None:
    world.model.answers = lambda prompt: (
        calls(("run.wait", '{"signal": "go", "seconds": 50}'))
        if len(prompt.messages) == 2
        else answer("I waited.")
    )
    sealed = world.seal(with_actions(WAIT))
    new = replace(new_run(world), bundle=sealed.name, payload=sealed.payload)
    async with worker(world, "one") as first, worker(world, "two") as second:
        await first.open(new)
        await world.until_kind("SleepStarted")
        assert not second._tasks
        await second.post(RUN, SignalSent("go", "1"), request_id="1")
        await world.until_ended()
    assert (await world.run()).answer == "I waited."


async def test_workers_share_many_runs_and_each_is_played_once(world: World) -> None:
    names = [RUN.replace("0001", f"{number:04}") for number in range(1, 21)]
    first = Conductor(world.stage(worker="one"))
    await first.start()
    async with worker(world, "two") as second:
        for number, name in enumerate(names):
            await (first, second)[number % 2].open(new_run(world, name))
        await kill(first)
        world.clock.advance(LEASE_SECONDS)
        for name in names:
            await world.until_ended(name)
    assert {(await world.run(name)).state for name in names} == {State.SUCCEEDED}
    assert sorted(world.board.arrivals) == [f"{name}/call/step-1-1" for name in names]
