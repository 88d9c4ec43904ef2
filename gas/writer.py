"""Group commit: requests that arrive while one batch is written are the next batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar, cast

from .entries import Entry
from .notices import Event
from .operations import Operation
from .store import LedgerStore, Outcome

BATCH_MAX = 1_024
# Entries that a watcher reads at once.
PAGE = 256

Result = TypeVar("Result")
Part = TypeVar("Part")


@dataclass(frozen=True)
class _Group:
    """Operations that somebody asked for together, and the promise of their outcomes."""

    operations: Sequence[Operation[object]]
    answer: asyncio.Future[list[Outcome]]


class Writer:
    """The only one who changes a ledger. It answers nobody before their batch is on disk."""

    def __init__(self, store: LedgerStore, *, batch_max: int = BATCH_MAX) -> None:
        self._store = store
        self._batch_max = batch_max
        self._queue: deque[_Group] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._written = asyncio.Event()
        self._offset: int | None = None

    async def apply(self, operation: Operation[Result]) -> Result:
        """Return the result of an operation, or raise what it was refused with."""
        (outcome,) = await self.apply_all([operation])
        if isinstance(outcome, Exception):
            raise outcome
        return cast("Result", outcome)

    async def apply_all(self, operations: Sequence[Operation[object]]) -> list[Outcome]:
        """Decide operations in their order, in one batch; return each result or refusal."""
        group = _Group(operations, asyncio.get_running_loop().create_future())
        self._queue.append(group)
        if self._writing is None or self._writing.done():
            # A task of its own: a caller that goes away must not take its batch with it.
            self._writing = asyncio.create_task(self._write())
        return await group.answer

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
            groups = self._next_batch()
            try:
                outcomes = await asyncio.to_thread(
                    self._store.apply, [one for group in groups for one in group.operations]
                )
            except Exception as error:  # noqa: BLE001  # each caller of the batch gets it
                for group in groups:
                    if not group.answer.done():
                        group.answer.set_exception(error)
            else:
                decided = iter(outcomes)
                for group in groups:
                    own = list(islice(decided, len(group.operations)))
                    if not group.answer.done():
                        group.answer.set_result(own)
            # Most batches of who follows events make none, and would wake all others for nothing.
            offset = self._store.written_offset
            if offset is None or offset != self._offset:
                self._offset = offset
                self._written.set()
                self._written = asyncio.Event()

    def _next_batch(self) -> list[_Group]:
        """Take groups whole, at least one."""
        groups = [self._queue.popleft()]
        size = len(groups[0].operations)
        while self._queue and size + len(self._queue[0].operations) <= self._batch_max:
            groups.append(self._queue.popleft())
            size += len(groups[-1].operations)
        return groups
