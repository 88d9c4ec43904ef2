"""An event loop with virtual time: it skips every wait, and finds deadlocks."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class Deadlock(Exception):
    """Every task waits, and no timer will wake one."""


class _InstantSelector(selectors.SelectSelector):
    """Moves the clock of the loop instead of waiting."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Deadlock
        self.loop.elapsed += timeout
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Runs everything in one thread, in an order that depends on nothing outside."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        selector = _InstantSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return virtual seconds since the start."""
        return self.elapsed

    def run_in_executor(
        self, executor: object, func: Callable[..., Result], *args: object
    ) -> asyncio.Future[Result]:
        """Run inline: a thread would race with the simulation."""
        del executor
        future: asyncio.Future[Result] = self.create_future()
        try:
            future.set_result(func(*args))
        except BaseException as error:  # noqa: BLE001  # the caller gets it, also a kill
            future.set_exception(error)
        return future
