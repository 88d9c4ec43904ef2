"""Runs that a start finds: each is taken up, whatever is wrong with another."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.facts import State
from runtime.journal.port import NewRun
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
