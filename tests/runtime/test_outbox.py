"""One call, one effect: whatever crashes, and whatever gets lost."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from runtime import performance
from runtime.conductor import Conductor
from runtime.facts import State
from tests.runtime.worlds import RUN, World


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep the traces of the crashes out of the output."""
    with structlog.testing.capture_logs():
        yield


class Crash(Exception):
    """The process is gone."""


class Fuse:
    """Burns at one moment; from then on nothing gets through."""

    def __init__(self, moments_left: int) -> None:
        self._moments_left = moments_left

    @property
    def has_burnt(self) -> bool:
        """Tell whether the process is gone."""
        return self._moments_left <= 0

    def moment(self) -> None:
        """Pass, or crash."""
        self._moments_left -= 1
        if self.has_burnt:
            raise Crash


class Fused:
    """A port or a store with a moment before and a moment after each of its calls."""

    def __init__(self, target: object, fuse: Fuse) -> None:
        self._target = target
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the target has
        member = getattr(self._target, name)
        if inspect.isasyncgenfunction(member):
            return self._around_stream(member)
        if inspect.iscoroutinefunction(member):
            return self._around_async(member)
        return self._around(member) if callable(member) else member

    def _around(self, member: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # passed through
            self._fuse.moment()
            result = member(*arguments, **named)
            self._fuse.moment()
            return result

        return call

    def _around_async(self, member: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # passed through
            self._fuse.moment()
            result = await member(*arguments, **named)
            self._fuse.moment()
            return result

        return call

    def _around_stream(self, member: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: object) -> AsyncGenerator[Any, None]:
            self._fuse.moment()
            async for item in member(*arguments):
                yield item
                self._fuse.moment()

        return call


async def _crash(world: World, fuse: Fuse) -> None:
    """Play until the fuse burns, or the run ends."""
    conductor = Conductor(world.stage(lambda port, _: Fused(port, fuse)))
    try:
        await conductor.start()
    except Crash:
        return
    await asyncio.gather(*conductor._tasks.values(), return_exceptions=True)


async def _moments(folder: Path) -> int:
    """Return how many moments there are in a run without a crash."""
    world, fuse = World(folder), Fuse(10**9)
    world.create()
    await _crash(world, fuse)
    return 10**9 - fuse._moments_left


async def test_a_crash_at_any_moment_sends_one_post_and_leaves_one_result(tmp_path: Path) -> None:
    last = await _moments(tmp_path)
    assert last > 50
    for moment in range(1, last + 1):
        world = World(tmp_path / str(moment))
        world.create()
        fuse = Fuse(moment)
        await _crash(world, fuse)
        assert fuse.has_burnt
        run = await world.play()

        assert run.state == State.SUCCEEDED, moment
        assert world.board.arrivals == [f"{RUN}/call/step-1-1"], moment
        assert world.kinds().count("ActionFinished") == 1, moment
        assert len(world.store.receipt(RUN).charges) == 1, moment


async def test_two_crashes_send_one_post(tmp_path: Path) -> None:
    last = await _moments(tmp_path)
    for moment in range(1, last + 1, 5):
        world = World(tmp_path / str(moment))
        world.create()
        await _crash(world, Fuse(moment))
        await _crash(world, Fuse(17))
        await world.play()

        assert len(world.board.arrivals) == 1, moment


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(performance, "RETRY_SECONDS_MIN", 0.001)
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
    world.create()
    run = await world.play()
    assert (run.state, len(world.board.arrivals)) == (State.SUCCEEDED, 1)


async def test_after_a_lost_answer_the_runtime_looks_before_it_posts(world: World) -> None:
    world.board.fail_next("lost")
    world.create()
    await world.play()
    assert [request.method for request in world.board.requests] == ["POST", "GET"]


async def test_a_post_that_never_arrived_is_made_again_with_the_same_key(world: World) -> None:
    world.board.fail_next("unsent")
    world.create()
    await world.play()
    posts = [request for request in world.board.requests if request.method == "POST"]
    assert {request.headers["Idempotency-Key"] for request in posts} == {f"{RUN}/call/step-1-1"}
    assert len(posts) == 2


async def test_the_intent_is_journaled_before_the_effect(world: World) -> None:
    world.board.fail_next(422)
    world.create()
    await world.play()
    kinds = world.kinds()
    assert kinds.index("EffectSent") == kinds.index("ActionFinished") - 1
