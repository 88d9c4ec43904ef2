"""Group commit: requests that arrive while one batch is written are the next batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar, cast

from .entries import Entry
from .notices import Event
from .operations import Operation
from .store import LedgerStore

BATCH_MAX = 1_024
# Entries that a watcher reads at once.
PAGE = 256

Result = TypeVar("Result")
Part = TypeVar("Part")


class Writer:
    """The only one who changes a ledger. It answers nobody before their batch is on disk."""

    def __init__(self, store: LedgerStore, *, batch_max: int = BATCH_MAX) -> None:
        self._store = store
        self._batch_max = batch_max
        self._queue: deque[tuple[Operation[object], asyncio.Future[object]]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._written = asyncio.Event()
        self._offset: int | None = None

    async def apply(self, operation: Operation[Result]) -> Result:
        """Return the result of an operation, or raise what it was refused with."""
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._queue.append((cast("Operation[object]", operation), answer))
        if self._writing is None or self._writing.done():
            # A task of its own: a caller that goes away must not take its batch with it.
            self._writing = asyncio.create_task(self._write())
        return cast("Result", await answer)

    async def follow(self, after: int) -> AsyncGenerator[Entry, None]:
        """Yield entries after a sequence, without a gap, and then as they are written."""

        def read(after: int) -> list[Entry]:
            return self._store.entries(after, limit=PAGE)

        async for page in self._follow(read, lambda entry: entry.sequence, after):
            for entry in page:
                yield entry

    async def follow_events(self, after: int) -> AsyncGenerator[list[Event], None]:
        """Yield pages of events after an offset, without a gap, and then as they are written."""

        def read(after: int) -> list[Event]:
            return self._store.events(after_offset=after, limit=PAGE)

        async for page in self._follow(read, lambda event: event.offset, after):
            yield page

    async def _follow(
        self, read: Callable[[int], list[Part]], place: Callable[[Part], int], after: int
    ) -> AsyncGenerator[list[Part], None]:
        while True:
            # Taken before reading, so that what is written meanwhile wakes us.
            written = self._written
            page = await asyncio.to_thread(read, after)
            if page:
                yield page
                after = place(page[-1])
            else:
                await written.wait()

    async def _write(self) -> None:
        while self._queue:
            size = min(len(self._queue), self._batch_max)
            batch = [self._queue.popleft() for _ in range(size)]
            try:
                outcomes = await asyncio.to_thread(
                    self._store.apply, [operation for operation, _ in batch]
                )
            except Exception as error:  # noqa: BLE001  # each caller of the batch gets it
                outcomes = [error] * size
            for (_, answer), outcome in zip(batch, outcomes, strict=True):
                if answer.done():
                    continue
                if isinstance(outcome, Exception):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)
            # Most batches of who follows events make none, and would wake all others for nothing.
            offset = self._store.written_offset
            if offset is None or offset != self._offset:
                self._offset = offset
                self._written.set()
                self._written = asyncio.Event()
