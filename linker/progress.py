"""Blocking work with progress, on a thread of its own, as a stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Progress:
    """How far work on bytes has come."""

    received_bytes: int
    total_bytes: int


Report: TypeAlias = Callable[[Progress], None]


class Stopped(BaseException):
    """Nobody waits for this work any more. Raised by `Report`, and not to be caught."""


async def stream(work: Callable[[Report], None]) -> AsyncGenerator[Progress, None]:
    """Yield what work reports, until it ends; raise what it raises.

    Who reads slowly gets the latest only. Once this is closed, the next report ends the work.
    """
    task = _Task(work, asyncio.get_running_loop())
    # A daemon: a service that stops does not wait for a network.
    threading.Thread(target=task.run, name="transfer", daemon=True).start()
    try:
        is_done, told = False, None
        while not is_done:
            await task.changed.wait()
            task.changed.clear()
            # Before the latest is read, so that what is read then is the last.
            is_done, latest = task.is_done, task.latest
            if latest is not None and latest is not told:
                told = latest
                yield latest
        if task.error is not None:
            raise task.error
    finally:
        task.is_closed = True


class _Task:
    def __init__(self, work: Callable[[Report], None], loop: asyncio.AbstractEventLoop) -> None:
        self.changed = asyncio.Event()
        self.latest: Progress | None = None
        self.error: BaseException | None = None
        self.is_done = False
        self.is_closed = False
        self._work = work
        self._loop = loop

    def run(self) -> None:
        """Do the work, on the thread."""
        try:
            self._work(self._report)
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits for the work
            self.error = error
        self.is_done = True
        self._tell()

    def _report(self, progress: Progress) -> None:
        if self.is_closed:
            raise Stopped
        self.latest = progress
        self._tell()

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self.changed.set)
        except RuntimeError:
            # The loop has ended, and with it whoever waited.
            self.is_closed = True
