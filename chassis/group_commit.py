"""Group commit: operations that arrive while one batch is written are the next batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

BATCH_MAX = 1_024
# Who has arrived at the process is here after so many turns of the event loop at most.
_IDLE_TURNS = 4
# Beyond so many, each costs what it costs, however many come with it.
_GATHERED_MAX = 64

Asked = TypeVar("Asked")


@dataclass(frozen=True)
class _Group(Generic[Asked]):
    """Operations that somebody asked for together, and the promise of their outcomes."""

    operations: Sequence[Asked]
    answer: asyncio.Future[list[object]]


class GroupCommit(Generic[Asked]):
    """Hands operations to `commit` in batches, one batch at a time, and answers after it.

    `commit` runs in a thread of its own: in one that it shared, whoever reads for long would keep
    everybody from writing. It returns for each operation its result, or the error with which it
    was refused; if it raises, all callers of the batch get that. `written` runs after each batch.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Asked]], Sequence[object]],
        *,
        batch_max: int = BATCH_MAX,
        written: Callable[[], None] = lambda: None,
    ) -> None:
        self._commit = commit
        self._batch_max = batch_max
        self._written = written
        self._queue: deque[_Group[Asked]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="group-commit")

    async def apply_all(self, operations: Sequence[Asked]) -> list[object]:
        """Decide operations in their order, in one batch; return each result or refusal."""
        group = _Group(operations, asyncio.get_running_loop().create_future())
        self._queue.append(group)
        if self._writing is None or self._writing.done():
            # A task of its own: a caller that goes away must not take its batch with it.
            self._writing = asyncio.create_task(self._write())
        return await group.answer

    async def apply(self, operation: Asked) -> object:
        """Return the result of an operation, or raise what it was refused with."""
        (outcome,) = await self.apply_all([operation])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _write(self) -> None:
        while self._queue:
            await self._gather()
            groups = self._next_batch()
            try:
                operations = [one for group in groups for one in group.operations]
                loop = asyncio.get_running_loop()
                outcomes = await loop.run_in_executor(self._thread, self._commit, operations)
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
            self._written()

    async def _gather(self) -> None:
        """Let in who has arrived already: a batch costs nearly the same for one as for many."""
        idle = 0
        while idle < _IDLE_TURNS and len(self._queue) < _GATHERED_MAX:
            before = len(self._queue)
            await asyncio.sleep(0)
            idle = idle + 1 if len(self._queue) == before else 0

    def _next_batch(self) -> list[_Group[Asked]]:
        """Take groups whole, at least one."""
        groups = [self._queue.popleft()]
        size = len(groups[0].operations)
        while self._queue and size + len(self._queue[0].operations) <= self._batch_max:
            groups.append(self._queue.popleft())
            size += len(groups[-1].operations)
        return groups
