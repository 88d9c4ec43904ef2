"""One call, one effect: whatever crashes, and whatever gets lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog.testing

from runtime import patience
from runtime.facts import State
from tests.runtime.crashes import Fuse, crash
from tests.runtime.worlds import RUN, World


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep the traces of the crashes out of the output."""
    with structlog.testing.capture_logs():
        yield


async def _moments(folder: Path) -> int:
    """Return how many moments there are in a run without a crash."""
    world, fuse = World(folder), Fuse(10**9)
    await world.create()
    await crash(world, fuse)
    return 10**9 - fuse._moments_left


async def test_a_crash_at_any_moment_sends_one_post_and_leaves_one_result(tmp_path: Path) -> None:
    last = await _moments(tmp_path)
    assert last > 40
    for moment in range(1, last + 1):
        world = World(tmp_path / str(moment))
        await world.create()
        fuse = Fuse(moment)
        await crash(world, fuse)
        assert fuse.has_burnt
        run = await world.play()

        assert run.state == State.SUCCEEDED, moment
        assert world.board.arrivals == [f"{RUN}/call/step-1-1"], moment
        assert (await world.kinds()).count("ActionFinished") == 1, moment
        assert len((await world.journal.receipt(RUN)).charges) == 1, moment


async def test_two_crashes_send_one_post(tmp_path: Path) -> None:
    last = await _moments(tmp_path)
    for moment in range(1, last + 1, 5):
        world = World(tmp_path / str(moment))
        await world.create()
        await crash(world, Fuse(moment))
        await crash(world, Fuse(17))
        await world.play()

        assert len(world.board.arrivals) == 1, moment


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    return World(tmp_path)


@pytest.mark.parametrize(
    "failures",
    [
        ["lost"],
        ["unsent"],
        [500],
        [503, "lost", 429],
        ["lost", "lost", "unsent", 500],
    ],
)
async def test_a_post_whose_answer_got_lost_is_made_once(
    world: World, failures: list[int | str]
) -> None:
    world.board.fail_next(*failures)
    await world.create()
    run = await world.play()
    assert (run.state, len(world.board.arrivals)) == (State.SUCCEEDED, 1)


async def test_after_a_lost_answer_the_runtime_looks_before_it_posts(world: World) -> None:
    world.board.fail_next("lost")
    await world.create()
    await world.play()
    assert [request.method for request in world.board.requests] == ["POST", "GET"]


async def test_a_post_that_never_arrived_is_made_again_with_the_same_key(world: World) -> None:
    world.board.fail_next("unsent")
    await world.create()
    await world.play()
    posts = [request for request in world.board.requests if request.method == "POST"]
    assert {request.headers["Idempotency-Key"] for request in posts} == {f"{RUN}/call/step-1-1"}
    assert len(posts) == 2


async def test_the_intent_is_journaled_before_the_effect(world: World) -> None:
    world.board.fail_next(422)
    await world.create()
    await world.play()
    kinds = await world.kinds()
    assert kinds.index("EffectSent") == kinds.index("ActionFinished") - 1
