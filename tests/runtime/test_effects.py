"""What is known of an effect: sent again only where that is safe, unknown only where it must be."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import structlog.testing

from chassis.errors import PeerUnavailable
from runtime import patience
from runtime.connectors import Order, Result
from runtime.connectors.board import BoardPost
from runtime.facts import UNKNOWN, ActionFinished, EffectSent, EffectUnknown, State
from tests.fakes.runtime_ports import FakeSigner
from tests.fakes.service import FakeService
from tests.runtime.crashes import Fuse, crash
from tests.runtime.worlds import RUN, World

KEY = f"{RUN}/call/step-1-1"
BOARD = BoardPost(httpx.AsyncClient(), FakeSigner()).descriptor
# Idempotent, reconcilable.
KINDS = [(True, False), (False, True), (True, True), (False, False)]
NEITHER = KINDS[-1]
SEEDS = 25


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    with structlog.testing.capture_logs():
        yield


def _world(folder: Path, kind: tuple[bool, bool]) -> tuple[World, FakeService]:
    service = FakeService(BOARD, idempotent=kind[0], reconcilable=kind[1])
    return World(folder, services=[service]), service


async def _result(world: World) -> ActionFinished:
    [result] = [one for one in await world.events() if isinstance(one, ActionFinished)]
    return result


async def _check(world: World, service: FakeService, *, crashed: bool) -> None:
    """Hold what came of the one call against what the service has seen."""
    result, effects = await _result(world), service.effects.get(KEY, 0)
    is_neither = not (service.descriptor.is_idempotent or service.descriptor.is_reconcilable)
    assert [*service.effects] in ([], [KEY])
    assert effects <= 1
    assert result.reason in {"", UNKNOWN}
    if not result.reason:
        assert effects == 1
    if is_neither:
        assert len(service.arrivals) <= 1
        if not crashed:
            assert bool(result.reason) == (service.arrivals != [""])
    else:
        assert not result.reason
    events = await world.events()
    if result.reason == UNKNOWN:
        assert EffectUnknown("step-1-1") in events
    sent = sum(isinstance(one, EffectSent) for one in events)
    assert sent >= len(service.arrivals), "the intent is on disk before each of them"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_fails_an_effect_happens_once_or_is_said_to_be_unknown(
    tmp_path: Path, seed: int, kind: tuple[bool, bool]
) -> None:
    dice = random.Random(seed)
    world, service = _world(tmp_path, kind)
    service.fail_next(*dice.choices(["unsent", "failed", "lost"], k=dice.randrange(6)))
    await world.create()
    crashes = dice.randrange(3)
    for _ in range(crashes):
        await crash(world, Fuse(dice.randrange(1, 90)))
    await world.play()
    await _check(world, service, crashed=bool(crashes))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_crash_at_any_moment_after_a_lost_answer_repeats_no_effect(
    tmp_path: Path, kind: tuple[bool, bool]
) -> None:
    moment, has_burnt = 30, True
    while has_burnt:
        world, service = _world(tmp_path / str(moment), kind)
        service.fail_next("unsent", "lost")
        await world.create()
        fuse = Fuse(moment)
        await crash(world, fuse)
        await world.play()
        await _check(world, service, crashed=True)
        moment, has_burnt = moment + 3, fuse.has_burnt


async def test_a_lost_answer_that_nothing_can_tell_of_ends_the_call_and_the_run_names_it(
    tmp_path: Path,
) -> None:
    world, service = _world(tmp_path, NEITHER)
    service.fail_next("lost")
    await world.create()
    run = await world.play()
    assert (run.state, service.arrivals) == (State.FAILED, ["lost"])
    assert run.failure
    assert run.failure.reason == UNKNOWN
    assert "step-1-1 (board.post)" in run.failure.message
    assert (await world.kinds()).count("EffectUnknown") == 1


async def test_what_the_service_never_saw_is_sent_until_it_does(tmp_path: Path) -> None:
    world, service = _world(tmp_path, NEITHER)
    service.fail_next("unsent", "unsent")
    await world.create()
    run = await world.play()
    assert (run.state, service.arrivals) == (State.SUCCEEDED, [""])
    kinds = await world.kinds()
    assert (kinds.count("EffectSent"), kinds.count("EffectUnsent")) == (3, 2)


async def test_who_only_drops_duplicates_is_sent_the_same_key_again(tmp_path: Path) -> None:
    world, service = _world(tmp_path, (True, False))
    service.fail_next("lost", "unsent", "lost")
    await world.create()
    await world.play()
    assert (service.arrivals, service.effects) == (["lost", "lost", ""], {KEY: 1})
    assert (await world.kinds()).count("EffectUnknown") == 1


@pytest.mark.parametrize("moment", range(30, 90, 6))
async def test_a_call_keeps_the_time_at_which_it_was_first_sent(
    tmp_path: Path, moment: int
) -> None:
    class Service(FakeService):
        async def perform(self, order: Order) -> Result:
            world.clock.advance(1)
            times.append(order.time)
            return await super().perform(order)

    times: list[datetime] = []
    service = Service(BOARD, idempotent=True, reconcilable=False)
    service.fail_next("lost", "unsent", "lost")
    world = World(tmp_path, services=[service])
    await world.create()
    await crash(world, Fuse(moment))
    world.clock.advance(7)
    await world.play()
    assert len(times) >= 4
    sent = [one.time for one in await world.events() if isinstance(one, EffectSent)]
    assert {*times} == {*sent} == {sent[0]}


async def test_what_has_certainly_not_happened_is_sent_at_a_time_of_its_own(
    tmp_path: Path,
) -> None:
    class Service(FakeService):
        async def perform(self, order: Order) -> Result:
            world.clock.advance(1)
            times.append(order.time)
            return await super().perform(order)

    times: list[datetime] = []
    service = Service(BOARD, idempotent=True, reconcilable=False)
    service.fail_next("unsent", "unsent", "lost")
    world = World(tmp_path, services=[service])
    await world.create()
    await world.play()
    assert [(time - times[0]).seconds for time in times] == [0, 1, 2, 2]


async def test_who_can_only_be_asked_is_not_sent_what_has_happened(tmp_path: Path) -> None:
    world, service = _world(tmp_path, (False, True))
    service.fail_next("lost", "cannot be asked", "cannot be asked")
    await world.create()
    await world.play()
    assert service.arrivals == ["lost"]


async def test_an_answer_is_kept_while_it_cannot_be_charged(tmp_path: Path) -> None:
    class Service(FakeService):
        async def perform(self, order: Order) -> Result:
            result = await super().perform(order)
            world.meter.fail_next(PeerUnavailable("gas"))
            return result

    service = Service(BOARD, idempotent=False, reconcilable=False)
    world = World(tmp_path, services=[service])
    await world.create()
    run = await world.play()
    assert (run.state, service.arrivals) == (State.SUCCEEDED, [""])
    assert "EffectUnknown" not in await world.kinds()
