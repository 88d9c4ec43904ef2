"""A schedule that fires through all services, while everything around it breaks."""

from __future__ import annotations

import asyncio

import pytest

from actionvm.runtime.v1 import runtime_pb2, schedules_pb2

from . import checkers
from .operator import Operator
from .system import System
from .test_system import FILES, MANIFEST, ROUGH, wilful
from .world import World, simulate

SEEDS = 50
SEEDS_SOAK = 1_000
SECONDS = 10
FIRINGS = 5
STARTED, WAITS = schedules_pb2.Firing.STATE_STARTED, schedules_pb2.Firing.STATE_STARTING


async def _ignore(_: runtime_pb2.WatchRunResponse) -> None:
    pass


@pytest.mark.parametrize(
    "seed",
    [*range(SEEDS), *(pytest.param(s, marks=pytest.mark.soak) for s in range(SEEDS, SEEDS_SOAK))],
)
def test_every_time_starts_one_run_whatever_breaks(seed: int) -> None:
    async def scenario(world: World) -> None:
        system = System(world, wilful(seed))
        operator = Operator(world)
        await operator.make_key("board-key")
        bundle = await operator.assemble(MANIFEST, FILES)
        schedule = schedules_pb2.Schedule(
            bundle=bundle.name,
            interval=schedules_pb2.IntervalTrigger(seconds=SECONDS),
            missed_policy=schedules_pb2.MISSED_POLICY_ALL,
            overlap_policy=schedules_pb2.OVERLAP_POLICY_ALLOW,
            overlap_max=100,
        )
        request = schedules_pb2.CreateScheduleRequest(request_id="every", schedule=schedule)
        name = await operator.schedule(request)
        await asyncio.sleep(SECONDS * FIRINGS + SECONDS / 2)
        await operator.pause_schedule(name)
        while any(one.state == WAITS for one in await operator.firings(name)):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(1)

        firings = await operator.firings(name)
        runs = {run.name for run in await operator.runs()}
        times = [firing.time.ToDatetime() for firing in firings]
        journals = [await operator.watch(run, _ignore) for run in sorted(runs)]
        assert {firing.state for firing in firings} == {STARTED}
        assert len(times) == len(set(times)) >= FIRINGS - 1
        assert sorted(firing.run for firing in firings) == sorted(runs)
        for journal in journals:
            checkers.check_journal(journal)
        checkers.check_posts(system.board, journals)

    checkers.check_world(simulate(seed, scenario, ROUGH))
