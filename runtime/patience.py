"""How long is waited before something that did not answer is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chassis.log import log

from .errors import JournalUnavailable

# First this long, then twice as long, and so on.
RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 5.0

Answer = TypeVar("Answer")


def retry_seconds(attempt: int) -> float:
    """Return how long to wait after an attempt; the first is 0."""
    return min(RETRY_SECONDS_MIN * 2.0 ** min(attempt, 30), RETRY_SECONDS_MAX)


async def until_kept(work: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return what the work gives, once the journal answers: without it, nothing goes on."""
    attempt = 0
    while True:
        try:
            return await work()
        except JournalUnavailable:
            log.warning("journal.unavailable", attempt=attempt)
            await asyncio.sleep(retry_seconds(attempt))
            attempt += 1
