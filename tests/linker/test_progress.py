"""Blocking work streams what it reports, and ends when nobody listens."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from linker.progress import Progress, Report, Stopped, stream


async def test_what_is_reported_arrives_and_the_last_of_it_for_sure() -> None:
    def work(report: Report) -> None:
        for received in range(1_001):
            report(Progress(received, 1_000))

    steps = [step.received_bytes async for step in stream(work)]

    assert steps == sorted(steps)
    assert steps[-1] == 1_000


async def test_work_without_a_report_ends_the_stream() -> None:
    assert [step async for step in stream(lambda _: None)] == []


async def test_an_error_of_the_work_reaches_who_waits() -> None:
    def work(report: Report) -> None:
        report(Progress(1, 2))
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        _ = [step async for step in stream(work)]


async def test_closing_the_stream_ends_the_work_at_its_next_report() -> None:
    ended = threading.Event()

    def work(report: Report) -> None:
        try:
            while True:
                report(Progress(1, 2))
        except Stopped:
            ended.set()

    async with aclosing(stream(work)) as steps:
        await anext(steps)

    assert await asyncio.to_thread(ended.wait, 10)
