"""The one writer of a ledger, which tells who follows it that there is more to read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeVar, cast

from chassis.group_commit import BATCH_MAX, GroupCommit

from .entries import Entry
from .notices import Event
from .operations import Operation
from .store import LedgerStore, Outcome

# Entries that a watcher reads at once.
PAGE = 256

Result = TypeVar("Result")
Part = TypeVar("Part")


class Writer:
    """The only one who changes a ledger. It answers nobody before their batch is on disk."""

    def __init__(self, store: LedgerStore, *, batch_max: int = BATCH_MAX) -> None:
        self._store = store
        self._commits: GroupCommit[Operation[object]] = GroupCommit(
            store.apply, batch_max=batch_max, written=self._wake
        )
        self._written = asyncio.Event()
        self._offset: int | None = None

    async def apply(self, operation: Operation[Result]) -> Result:
        """Return the result of an operation, or raise what it was refused with."""
        return cast("Result", await self._commits.apply(operation))

    async def apply_all(self, operations: Sequence[Operation[object]]) -> list[Outcome]:
        """Decide operations in their order, in one batch; return each result or refusal."""
        return await self._commits.apply_all(operations)

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

    def _wake(self) -> None:
        # Most batches of who follows events make none, and would wake all others for nothing.
        offset = self._store.written_offset
        if offset is None or offset != self._offset:
            self._offset = offset
            self._written.set()
            self._written = asyncio.Event()
