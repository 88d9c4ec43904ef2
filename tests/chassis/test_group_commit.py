"""Who arrives together is written together, and nobody waits for those who come later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from chassis.group_commit import GroupCommit


async def _batches(*, callers: int, turns_between: int) -> list[list[int]]:
    """Return what was written together of callers, each some turns of the loop after the other."""
    written: list[list[int]] = []

    def commit(operations: Sequence[int]) -> Sequence[object]:
        written.append([*operations])
        return operations

    commits: GroupCommit[int] = GroupCommit(commit)

    async def call(number: int) -> None:
        for _ in range(number * turns_between):
            await asyncio.sleep(0)
        assert await commits.apply(number) == number

    await asyncio.gather(*map(call, range(callers)))
    return written


async def test_who_arrives_within_a_few_turns_is_in_one_batch() -> None:
    assert await _batches(callers=20, turns_between=2) == [[*range(20)]]


async def test_who_comes_alone_waits_for_nobody() -> None:
    assert (await _batches(callers=3, turns_between=50))[0] == [0]


async def test_a_stream_of_callers_without_an_end_does_not_delay_the_first() -> None:
    written = await _batches(callers=300, turns_between=1)
    assert len(written[0]) <= 100
    assert sorted(chain.from_iterable(written)) == [*range(300)]


async def test_who_reads_in_every_thread_there_is_keeps_nobody_from_writing() -> None:
    loop, is_over = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
    reading = loop.run_in_executor(None, is_over.wait)
    commits: GroupCommit[int] = GroupCommit(lambda operations: operations)
    try:
        async with asyncio.timeout(10):
            assert await commits.apply(7) == 7
    finally:
        is_over.set()
        await reading
