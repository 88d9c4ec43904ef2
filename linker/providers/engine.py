"""The one thread that computes: work waits for it in a bounded queue, and its results stream out.

llama.cpp wants one thread at a time, and the event loop must never wait for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Generic, TypeAlias, TypeVar

from ..errors import QueueFull

WAITING_MAX = 32

Item = TypeVar("Item")
IsCancelled: TypeAlias = Callable[[], bool]


class Engine:
    """A thread that runs one piece of work after the other; it starts with the first."""

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._changed = threading.Condition()
        self._waiting: deque[_Work[object]] = deque()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    async def stream(
        self, steps: Callable[[IsCancelled], Iterator[Item]], *, is_refusable: bool = True
    ) -> AsyncGenerator[Item, None]:
        """Yield what an iterator yields that runs on the thread.

        Raises `QueueFull` if too much waits, unless this is not refusable. Closing this makes
        `IsCancelled` true; the iterator looks at it before every step.
        """
        work = _Work(steps, asyncio.get_running_loop())
        self._submit(work, is_refusable=is_refusable)
        try:
            while not isinstance(item := await work.results.get(), _End):
                yield item
            if item.error is not None:
                raise item.error
        finally:
            self._cancel(work)

    async def close(self) -> None:
        """Cancel all work and wait for the thread to end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _submit(self, work: _Work[Item], *, is_refusable: bool) -> None:
        with self._changed:
            assert not self._is_closed, "a closed engine has no callers"
            if is_refusable and len(self._waiting) >= self._waiting_max:
                raise QueueFull(len(self._waiting))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
            self._waiting.append(work)  # type: ignore[arg-type]  # the thread does not look inside
            self._changed.notify()

    def _cancel(self, work: _Work[Item]) -> None:
        with self._changed:
            work.is_cancelled = True
            if work in self._waiting:
                self._waiting.remove(work)  # type: ignore[arg-type]  # as above

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    # A copy: who learns that it ends leaves the queue.
                    rest = [*self._waiting]
                    break
                work = self._waiting.popleft()
            work.run(lambda: self._is_closed)
        for work in rest:
            work.post(_End(asyncio.CancelledError()))


class _End:
    """The last result of a piece of work."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Work(Generic[Item]):
    def __init__(
        self, steps: Callable[[IsCancelled], Iterator[Item]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.results: asyncio.Queue[Item | _End] = asyncio.Queue()
        self.is_cancelled = False
        self._steps = steps
        self._loop = loop

    def run(self, is_closed: Callable[[], bool]) -> None:
        """Compute it all, on the thread of the engine, or until it is cancelled."""

        def is_cancelled() -> bool:
            return self.is_cancelled or is_closed()

        try:
            for item in self._steps(is_cancelled):
                self.post(item)
            self.post(_End(asyncio.CancelledError() if is_cancelled() else None))
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits for the results
            # A panic of an extension in Rust is no `Exception`, and must not end the thread.
            is_usual = isinstance(error, Exception)
            self.post(_End(error if is_usual else RuntimeError(repr(error))))

    def post(self, item: Item | _End) -> None:
        """Hand a result to the event loop, if that is still there."""
        try:
            self._loop.call_soon_threadsafe(self.results.put_nowait, item)
        except RuntimeError:
            self.is_cancelled = True
