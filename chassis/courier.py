"""Brings one event to one receiver over HTTP, and says what became of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol

import httpx

from .clock import Clock

# From the first byte sent to the last one received.
ANSWER_SECONDS_MAX = 15.0
# What a receiver says is not read, but a connection can be used again only after it.
ANSWER_BYTES_MAX = 64 * 1024
# A receiver that does not take an event is tried again so often.
ATTEMPTS_MAX = 12
RETRY_FIRST = timedelta(seconds=1)
RETRY_MAX = timedelta(hours=1)
# Receivers that failed together are not called again together: up to a tenth is added.
JITTER = 0.1


@dataclass(frozen=True)
class Answer:
    """What became of an attempt; an empty error means that the receiver has it.

    `retry_after` is what the receiver asked for.
    """

    error: str = ""
    retry_after: timedelta = timedelta()


class Courier(Protocol):
    """Whoever brings events to receivers."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send once; whatever goes wrong is in the answer."""


class HttpCourier:
    """Posts, and follows nobody who sends it elsewhere."""

    def __init__(
        self, http: httpx.AsyncClient, clock: Clock, *, seconds_max: float = ANSWER_SECONDS_MAX
    ) -> None:
        self._http = http
        self._clock = clock
        self._seconds_max = seconds_max

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        # One limit for all of it, which a receiver cannot stretch byte by byte.
        request = self._http.build_request("POST", url, content=body, headers=headers, timeout=None)
        try:
            async with asyncio.timeout(self._seconds_max):
                response = await self._http.send(request, stream=True, follow_redirects=False)
                try:
                    await _drain(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            return Answer(f"no answer within {self._seconds_max:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            # Its kind says enough; its text may have what the receiver wrote.
            return Answer(f"connection failed: {type(error).__name__}")
        if response.is_success:
            return Answer()
        told = response.headers.get("retry-after", "")
        return Answer(f"HTTP {response.status_code}", retry_after=_pause(told, self._clock.now()))


def pause_after(attempt_count: int, answer: Answer, dice: random.Random) -> timedelta:
    """Return how long to wait after so many attempts, of which the last one failed."""
    pause: timedelta = RETRY_FIRST * 2 ** (attempt_count - 1)
    pause = max(pause * (1 + JITTER * dice.random()), answer.retry_after)
    return min(pause, RETRY_MAX)


async def _drain(response: httpx.Response) -> None:
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            return


def _pause(told: str, now: datetime) -> timedelta:
    """Return how long a receiver asks us to wait, in seconds or with a date."""
    if told.isascii() and told.isdigit():
        # More digits than a number of seconds has are as good as the longest pause.
        return min(timedelta(seconds=int(told[:9])), RETRY_MAX)
    try:
        time = parsedate_to_datetime(told)
    except ValueError:
        return timedelta()
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return min(max(time - now, timedelta()), RETRY_MAX)
