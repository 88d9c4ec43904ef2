"""Runs that a start finds: each is taken up, whatever is wrong with another."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from runtime import conductor as conducting
from runtime.conductor import Conductor
from runtime.facts import CancelRequested, State
from runtime.journal.port import Journal, NewRun
from tests.runtime.worlds import RUN, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_bundle_that_cannot_be_read_any_more_stops_its_own_run_only(world: World) -> None:
    broken = NewRun(
        name=RUN.replace("0001", "0002"),
        request_id="broken",
        bundle="bundles/of-another-release",
        payload=b"{}",
        account="agents/a",
        input='""',
        dry_run=False,
    )
    await world.journal.create(broken, world.clock.now())
    await world.create()
    assert (await world.play()).state == State.SUCCEEDED
    assert await world.open_names() == [broken.name]


async def test_what_is_said_while_a_run_is_taken_up_is_heard_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conducting, "ROUND_SECONDS", 60.0)
    await world.create()

    class Interrupted:
        """A journal with which somebody speaks between two reads of a run."""

        def __init__(self, target: object) -> None:
            self._target = target

        def __getattr__(self, name: str) -> object:
            return getattr(self._target, name)

        async def payload(self, run: str) -> bytes:
            await conductor.cancel(run)
            return await cast("Journal", self._target).payload(run)

    conductor = Conductor(
        world.stage(lambda port, name: Interrupted(port) if name == "journal" else port)
    )
    # No generation ends, and so nothing else wakes the run.
    world.model.go_on.clear()
    await conductor.start()
    try:
        await world.until_ended()
    finally:
        await conductor.stop()
    assert (await world.run()).state == State.CANCELLED
    assert CancelRequested() in await world.events()
