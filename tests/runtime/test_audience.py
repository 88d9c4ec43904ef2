"""Watching: no event is lost, no watcher is waited for."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from runtime.audience import Audience, Sight, TextDelta, watch
from runtime.conductor import Conductor
from runtime.facts import GenerationFinished, RunFinished
from runtime.journal.port import Record
from tests.runtime.worlds import RUN, World, until


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def _watch(world: World, audience: Audience, after: int = 0) -> list[Sight]:
    async with (
        asyncio.timeout(20),
        aclosing(watch(world.journal, audience, RUN, after=after)) as all_,
    ):
        return [sight async for sight in all_]


def _sequences(sights: list[Sight]) -> list[int]:
    return [sight.sequence for sight in sights if isinstance(sight, Record)]


async def test_a_watcher_sees_every_event_once_and_in_order(world: World) -> None:
    await world.create()
    stage = world.stage()
    watching = asyncio.create_task(_watch(world, stage.audience))
    await Conductor(stage).start()
    assert _sequences(await watching) == list(range(1, 10))


async def test_a_watcher_may_come_after_the_end(world: World) -> None:
    await world.create()
    await world.play()
    assert _sequences(await _watch(world, Audience())) == list(range(1, 10))


@pytest.mark.parametrize("after", range(10))
async def test_a_watcher_goes_on_where_it_stopped(world: World, after: int) -> None:
    await world.create()
    await world.play()
    assert _sequences(await _watch(world, Audience(), after)) == list(range(after + 1, 10))


async def test_text_comes_before_the_event_that_ends_its_step(world: World) -> None:
    await world.create()
    stage = world.stage()
    watching = asyncio.create_task(_watch(world, stage.audience))
    await Conductor(stage).start()
    sights = await watching
    end = next(
        position
        for position, sight in enumerate(sights)
        if isinstance(sight, Record)
        and isinstance(sight.event, GenerationFinished)
        and sight.event.step == 2
    )
    deltas = [sight.text for sight in sights[:end] if isinstance(sight, TextDelta)]
    assert "".join(deltas) == "I posted it. "


async def test_a_watcher_that_does_not_read_holds_nobody_up(world: World) -> None:
    await world.create()
    stage = world.stage()
    sights = watch(world.journal, stage.audience, RUN, after=0)
    await anext(sights)
    await Conductor(stage).start()
    await world.until_ended()
    rest = [sight async for sight in sights]
    assert isinstance(rest[-1], Record)
    assert isinstance(rest[-1].event, RunFinished)
    assert _sequences(rest) == list(range(2, 10))


def test_a_slow_watcher_gets_all_text_at_once() -> None:
    audience = Audience()
    audience.begin(RUN, 1)
    with audience.watcher(RUN) as watcher:
        for word in ("one ", "two ", "three"):
            audience.write(RUN, 1, word)
        assert watcher.take() == [TextDelta(1, "one two three")]
        assert watcher.take() == []


def test_who_comes_late_sees_the_present_step_from_its_beginning() -> None:
    audience = Audience()
    audience.begin(RUN, 1)
    audience.write(RUN, 1, "one ")
    with audience.watcher(RUN) as watcher:
        audience.write(RUN, 1, "two")
        audience.end(RUN, 1)
        assert watcher.take_rest(1) == [TextDelta(1, "one two")]
    with audience.watcher(RUN) as watcher:
        assert watcher.take() == []


async def test_who_watches_the_run_of_another_worker_sees_its_events(world: World) -> None:
    await world.create()
    watching = asyncio.create_task(_watch(world, Audience()))
    await world.play()
    assert _sequences(await watching) == list(range(1, 10))


async def test_a_watcher_that_leaves_is_forgotten(world: World) -> None:
    await world.create()
    audience = Audience()
    sights = watch(world.journal, audience, RUN, after=0)
    await anext(sights)
    await sights.aclose()
    assert audience._watchers == {}


async def test_a_watcher_that_waits_is_told_of_a_cancellation(world: World) -> None:
    world.model.go_on.clear()
    await world.create()
    stage = world.stage()
    conductor = Conductor(stage)
    await conductor.start()
    watching = asyncio.create_task(_watch(world, stage.audience))
    await until(world.model.is_writing.is_set)
    await conductor.cancel(RUN)
    assert isinstance((await watching)[-1], Record)
