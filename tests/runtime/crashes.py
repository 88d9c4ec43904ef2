"""Processes that die between two calls of a store or a port, at a moment that a test chooses."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

from runtime.conductor import Conductor
from tests.runtime.worlds import World


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


async def crash(world: World, fuse: Fuse) -> None:
    """Play until the fuse burns, or all runs have ended."""
    conductor = Conductor(world.stage(lambda port, _: Fused(port, fuse)))
    try:
        await conductor.start()
    except Crash:
        return
    # A run may have begun others.
    while tasks := [*conductor._tasks.values()]:
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
    # Who is gone lets go of nothing.
    with suppress(Crash):
        await conductor.stop()
