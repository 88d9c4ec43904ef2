"""A database that is away for a while delays runs, and ends none."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from runtime import conductor as conductor_module
from runtime import patience
from runtime.conductor import Conductor
from runtime.errors import JournalUnavailable
from runtime.facts import State
from runtime.journal.port import Journal
from tests.runtime.offices import answering, delegates, open_office
from tests.runtime.worlds import RUN, World


class Flaky:
    """A journal that does not answer the first so many calls of each kind."""

    def __init__(self, journal: object, failure_count: int) -> None:
        self._journal = journal
        self._failure_count = failure_count
        self.failures: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the journal has
        member = getattr(self._journal, name)

        async def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # passed through
            if self.failures[name] < self._failure_count:
                self.failures[name] += 1
                raise JournalUnavailable
            return await member(*arguments, **named)

        return call


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    monkeypatch.setattr(conductor_module, "ROUND_SECONDS", 0.01)
    return World(tmp_path)


async def test_runs_and_those_that_they_ask_go_on_once_the_database_is_back(world: World) -> None:
    world.model.answers = delegates
    await open_office(world)
    stage = world.stage()
    flaky = Flaky(stage.journal, failure_count=3)
    conductor = Conductor(replace(stage, journal=cast("Journal", flaky)))
    with pytest.raises(JournalUnavailable):
        await conductor.start()
    # Who starts it tries again.
    flaky.failures["claim"] = 3
    await conductor.start()
    await world.until_ended()
    await conductor.stop()
    assert (await world.run()).state == State.SUCCEEDED
    assert (await world.run(answering(RUN))).state == State.SUCCEEDED
    assert {"append", "get", "payload", "openings", "renew"} <= {*flaky.failures}


async def test_a_bug_in_a_round_does_not_lose_the_leases(world: World) -> None:
    await world.create()
    stage = world.stage()
    conductor = Conductor(stage)
    await conductor.start()

    asked = asyncio.Queue[None]()

    async def broken() -> list[str]:
        asked.put_nowait(None)
        raise AssertionError("a bug")

    stage.journal.noted = broken  # type: ignore[method-assign]  # a bug of this journal only
    async with asyncio.timeout(10):
        for _ in range(2):
            await asked.get()
    await world.until_ended()
    await conductor.stop()
