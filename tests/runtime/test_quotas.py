"""What a service takes at a time: counted in the journal, waited for in the order of arrival."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime import patience
from runtime.bundles import read_program
from runtime.conductor import Conductor
from runtime.connectors import Quota
from runtime.errors import LimitReached
from runtime.facts import ActionFinished, EffectSent
from runtime.journal.port import Entry, Lease, NewRun
from runtime.rules import Use
from runtime.turns import Turns
from tests.fakes.service import FakeService
from tests.runtime.test_effects import BOARD
from tests.runtime.worlds import POST, RUN, START, World, with_actions, with_limits

SECOND, THIRD = RUN.replace("0001", "0002"), RUN.replace("0001", "0003")
HOURLY = Quota("board.posts", count=1, seconds=3_600)
MINUTELY = Quota("board.posts", count=1, seconds=50)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)


def _world(folder: Path, *quotas: Quota) -> tuple[World, FakeService]:
    service = FakeService(BOARD, idempotent=True, reconcilable=True, quotas=quotas)
    return World(folder, services=[service]), service


async def _create(
    world: World,
    name: str,
    *,
    seconds: int = 60,
    change: Callable[[dict[str, Any]], object] = bool,
) -> None:
    limit = with_limits(seconds=seconds)
    sealed = world.seal(lambda content: (limit(content), change(content)))
    new = NewRun(
        name=name,
        request_id=name,
        bundle=sealed.name,
        payload=sealed.payload,
        account=read_program(sealed.payload).account,
        input=json.dumps("What moved?"),
        dry_run=False,
    )
    await world.journal.create(new, world.clock.now())


async def _result(world: World, run: str) -> ActionFinished:
    results = [one for one in await world.events(run) if isinstance(one, ActionFinished)]
    return next(one for one in results if one.action == "board.post")


async def test_what_a_run_has_no_time_to_wait_for_is_refused_with_the_time(tmp_path: Path) -> None:
    world, service = _world(tmp_path, HOURLY)
    await world.create()
    await world.play()
    await _create(world, SECOND)
    # By another process: what was sent is in the journal.
    await world.play(SECOND)
    result = await _result(world, SECOND)
    assert result.reason == "QUOTA_EXCEEDED"
    assert "2026-01-01 01:00:00 UTC" in result.result
    assert service.arrivals == [""]
    assert "EffectSent" not in await world.kinds(SECOND)


async def test_after_its_window_a_quota_has_room_again(tmp_path: Path) -> None:
    world, service = _world(tmp_path, HOURLY)
    await world.create()
    await world.play()
    world.clock.advance(3_600)
    await _create(world, SECOND)
    await world.play(SECOND)
    assert service.arrivals == ["", ""]


async def test_a_service_that_knows_no_credential_closes_nothing_for_others(
    tmp_path: Path,
) -> None:
    like = replace(BOARD, needs_credential=False)
    service = FakeService(like, idempotent=False, reconcilable=False)
    world = World(tmp_path, services=[service])
    change = with_actions({**POST, "credential": ""})
    service.fail_next("unsent")
    service.retry_seconds = 3_600
    await world.create(change)
    conductor = Conductor(world.stage())
    await conductor.start()
    try:
        await world.until_kind("EffectUnsent")
        await _create(world, SECOND, change=change)
        await conductor._claim()
        await world.until_ended(SECOND)
        assert (await _result(world, SECOND)).reason == ""
        assert [*service.effects] == [f"{SECOND}/call/step-1-1"]
    finally:
        await conductor.stop()


async def test_every_attempt_counts(tmp_path: Path) -> None:
    world, service = _world(tmp_path, replace(HOURLY, count=2))
    service.fail_next("failed")
    await world.create()
    await world.play()
    await _create(world, SECOND)
    await world.play(SECOND)
    assert (await _result(world, SECOND)).reason == "QUOTA_EXCEEDED"
    assert service.arrivals == ["failed", ""]


async def test_runs_wait_for_their_turn_in_the_order_of_arrival(tmp_path: Path) -> None:
    world, service = _world(tmp_path, MINUTELY)
    conductor = Conductor(world.stage())
    names = [RUN, SECOND, THIRD]
    await conductor.start()
    try:
        for name in names:
            await _create(world, name, seconds=600)
            await conductor._claim()
            await world.until_kind("ActionDecided", name)
            await _settle()
        for count, name in enumerate(names, start=1):
            await world.until_ended(name)
            await _settle()
            assert len(service.arrivals) == count
            world.clock.advance(50)
            # Whoever is first in line, the last one is woken first.
            for other in reversed(names):
                conductor.nudge(other)
    finally:
        await conductor.stop()
    assert [*service.effects] == [f"{name}/call/step-1-1" for name in names]


async def _settle() -> None:
    """Let a task come to where it waits."""
    for _ in range(50):
        await asyncio.sleep(0.001)


async def test_who_asks_to_be_left_alone_longer_than_a_run_lasts_is_left_alone(
    tmp_path: Path,
) -> None:
    world, service = _world(tmp_path)
    service.fail_next("unsent")
    service.retry_seconds = 3_600
    await world.create()
    conductor = Conductor(world.stage())
    await conductor.start()
    try:
        await world.until_kind("EffectUnsent")
        # The next run does not even ask.
        await _create(world, SECOND)
        await conductor._claim()
        await world.until_ended(SECOND)
        assert (await _result(world, SECOND)).reason == "QUOTA_EXCEEDED"
        assert service.arrivals == []
        # And the first one goes on when it may.
        assert "ActionFinished" not in await world.kinds()
    finally:
        await conductor.stop()


async def test_a_quota_belongs_to_a_credential_whatever_agent_has_it(tmp_path: Path) -> None:
    world, _ = _world(tmp_path)
    run = await world.create()
    use = Use("board.posts", 1, START - timedelta(hours=1), 1, "quotas/secrets/board-key")
    sent = EffectSent("step-1-1", "key")
    entry = Entry(Lease(RUN, 1), run.sequence + 1, (sent,), START, uses=(use,))
    await world.journal.append(entry)
    again = replace(entry, sequence=entry.sequence + 1)
    with pytest.raises(LimitReached) as raised:
        await world.journal.append(again)
    assert raised.value.oldest == START
    await world.journal.append(replace(again, uses=(replace(use, owner="quotas/secrets/other"),)))


def test_a_place_that_was_closed_opens_at_its_time() -> None:
    turns, now = Turns(), datetime(2026, 1, 1, tzinfo=UTC)
    turns.close("a", now + timedelta(seconds=5))
    turns.close("a", now + timedelta(seconds=3))
    assert turns.closed_until("a", now) == now + timedelta(seconds=5)
    assert turns.closed_until("b", now) is None
    assert turns.closed_until("a", now + timedelta(seconds=5)) is None
    assert turns.closed_until("a", now) is None
