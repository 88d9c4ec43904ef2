"""What a connector lays down before it sends: it outlives a crash, and all sends have it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import httpx
import pytest
import structlog.testing

from runtime import patience
from runtime.comparing import compare
from runtime.conductor import Conductor
from runtime.connectors import Draft, Order, Result
from runtime.connectors.board import BoardPost
from runtime.facts import ActionFinished, EffectDrafted, EffectSent
from runtime.journal.port import Record
from tests.fakes.runtime_ports import FakeSigner
from tests.fakes.service import FakeService
from tests.runtime.crashes import Fuse, crash
from tests.runtime.worlds import RUN, START, World

BOARD = BoardPost(httpx.AsyncClient(), FakeSigner()).descriptor
SEEDS = 25


class NumberedService(FakeService):
    """Knows what it is sent by a number that is drawn anew each time, and by nothing else."""

    def __init__(self) -> None:
        super().__init__(BOARD, idempotent=False, reconcilable=True)
        self._numbers = count(1)

    async def perform(self, order: Order) -> Result:
        """Take effect under a number that was laid down before."""
        if not order.draft.text:
            await order.draft.keep(f"number {next(self._numbers)}")
        return await super().perform(_known_by_draft(order))

    async def find(self, order: Order) -> Result | None:
        """Look for the number."""
        return await super().find(_known_by_draft(order)) if order.draft.text else None


def _known_by_draft(order: Order) -> Order:
    return replace(order, key=order.draft.text)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    with structlog.testing.capture_logs():
        yield


async def _check(world: World, service: FakeService) -> None:
    events = await world.events()
    [result] = [one for one in events if isinstance(one, ActionFinished)]
    kept = [one.draft for one in events if isinstance(one, EffectDrafted)]
    assert not result.reason
    assert len({*kept}) == 1, "what was laid down is not drawn again"
    assert service.effects == {kept[0]: 1}


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_fails_all_sends_of_a_call_are_the_same(tmp_path: Path, seed: int) -> None:
    dice, service = random.Random(seed), NumberedService()
    service.fail_next(*dice.choices(["unsent", "failed", "lost"], k=dice.randrange(6)))
    world = World(tmp_path, services=[service])
    await world.create()
    for _ in range(dice.randrange(3)):
        await crash(world, Fuse(dice.randrange(1, 90)))
    await world.play()
    await _check(world, service)


async def test_a_crash_at_any_moment_forgets_nothing_that_was_kept(tmp_path: Path) -> None:
    moment, has_burnt = 30, True
    while has_burnt:
        service = NumberedService()
        service.fail_next("lost")
        world = World(tmp_path / str(moment), services=[service])
        await world.create()
        fuse = Fuse(moment)
        await crash(world, fuse)
        await world.play()
        await _check(world, service)
        moment, has_burnt = moment + 1, fuse.has_burnt


async def test_nothing_is_laid_down_before_the_intent_or_after_the_end(tmp_path: Path) -> None:
    class Service(NumberedService):
        async def perform(self, order: Order) -> Result:
            assert any(isinstance(one, EffectSent) for one in await world.events())
            await world.cancel(RUN)
            conductor.nudge(RUN)
            await world.until_kind("EndDecided")
            return await super().perform(order)

    service = Service()
    world = World(tmp_path, services=[service])
    await world.create()
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_ended()
    await conductor.stop()
    events = await world.events()
    assert not any(isinstance(one, EffectDrafted) for one in events)
    [result] = [one for one in events if isinstance(one, ActionFinished)]
    assert (result.reason, service.arrivals) == ("NOT_SENT", [])


def test_what_was_laid_down_is_no_difference_between_runs() -> None:
    one, other = ([Record(1, START, EffectDrafted("step-1-1", text))] for text in "ab")
    assert compare(one, other) is None


async def test_a_draft_without_a_journal_is_kept_in_memory() -> None:
    draft = Draft()
    await draft.keep("a")
    await draft.keep("b")
    assert draft.text == "b"
