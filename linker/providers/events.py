"""Posts a request, and reads the events of the answer (`text/event-stream`) as they arrive.

The package of OpenAI does the same, in as much time as all else that is done for a call takes. So
it is asked only what is rarely asked; the suite holds both to the same behaviour.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from itertools import takewhile
from typing import TypeAlias

import httpx2

from ..conversation import Delta
from .wire import MALFORMED, Answer, Failure, FailureTold, failure_said, retry_after_seconds

ERROR_BYTES_MAX = 64 * 1024
EVENT_BYTES_MAX = 4 * 1024 * 1024
# A connection is used again if what follows the end of an answer, which is nothing, comes so soon.
DRAIN_SECONDS = 0.1
# Addresses that are remembered; a model of a provider has one.
URLS_MAX = 1_000

_HEADERS = {
    "Accept": "text/event-stream",
    "Content-Type": "application/json",
    "User-Agent": "actionvm",
}

# Events of an answer, together those that arrived together.
Arriving: TypeAlias = AbstractAsyncContextManager[AsyncIterator[list[bytes]]]
# Sends a body to a path.
Post: TypeAlias = Callable[[str, Mapping[str, object]], Arriving]


async def listen(
    post: Post,
    path: str,
    body: Mapping[str, object],
    answer: Answer,
    read: Callable[[Answer, bytes], Iterable[Delta]],
) -> AsyncGenerator[Delta, None]:
    """Yield what a model answers, into `answer`; one delta for what arrived together."""
    async with post(path, body) as arriving:
        yield answer.start()
        async for events in arriving:
            for delta in merged(delta for event in events for delta in read(answer, event)):
                yield delta


def merged(deltas: Iterable[Delta]) -> Iterator[Delta]:
    """Yield as few deltas as say the same in the same order, thoughts before texts."""
    last: Delta | None = None
    try:
        for delta in deltas:
            if last is None:
                last = delta
            elif last.text and delta.reasoning:
                yield last
                last = delta
            else:
                reasoning = last.reasoning + delta.reasoning
                last = Delta(last.text + delta.text, delta.tokens, reasoning)
    except Exception:
        # What was said before counts.
        if last is not None:
            yield last
        raise
    if last is not None:
        yield last


@asynccontextmanager
async def posted(
    http: httpx2.AsyncClient, url: str, headers: Mapping[str, str], body: Mapping[str, object]
) -> AsyncIterator[AsyncGenerator[list[bytes], None]]:
    """Send a request, and yield the events of an answer that is a success.

    Raises `FailureTold`, and what `failure_of` understands. The connection is closed at the end of
    the block, unless the answer was read to its end.
    """
    # Not by `stream`: to merge what every request of a client has takes longer than to write it.
    request = httpx2.Request(
        "POST",
        _parsed(url),
        headers={**_HEADERS, **headers},
        content=json.dumps(body, separators=(",", ":")).encode(),
        extensions={"timeout": http.timeout.as_dict()},
    )
    async with aclosing(await http.send(request, stream=True)) as answer:
        if answer.status_code != httpx2.codes.OK:
            raise FailureTold(await _refusal(answer))
        async with aclosing(_arriving(answer)) as arriving:
            yield arriving


@lru_cache(URLS_MAX)
def _parsed(url: str) -> httpx2.URL:
    return httpx2.URL(url)


def failure_of(error: Exception) -> Failure | None:
    """Return what an error on the way means."""
    if isinstance(error, httpx2.TimeoutException):
        return Failure("it was silent for longer than it may be")
    return Failure("the connection broke") if isinstance(error, httpx2.HTTPError) else None


async def _refusal(answer: httpx2.Response) -> Failure:
    text = (await anext(answer.aiter_bytes(ERROR_BYTES_MAX), b"")).decode(errors="replace")
    said: object = text
    with suppress(*MALFORMED):
        said = json.loads(text)
    failure = failure_said(said, answer.status_code, text)
    return replace(failure, retry_after_seconds=retry_after_seconds(answer.headers))


async def _arriving(answer: httpx2.Response) -> AsyncGenerator[list[bytes], None]:
    """Yield events that have arrived, together those that arrived together."""
    events = Events()
    pieces = answer.aiter_bytes()
    async for piece in pieces:
        arrived = list(events.take(piece))
        said = list(takewhile(_is_no_end, arrived))
        if said:
            yield said
        if len(said) < len(arrived):
            # The answer is complete, whatever becomes of the connection.
            with suppress(TimeoutError, httpx2.HTTPError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    async for _ in pieces:
                        pass
            return


def _is_no_end(event: bytes) -> bool:
    return not event.startswith(b"[DONE]")


class Events:
    """Cuts what arrives into the data of events, however it was cut on the way."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def take(self, piece: bytes) -> Iterator[bytes]:
        """Yield the data of events that are complete with this piece."""
        *lines, rest = piece.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += rest
        self._size += len(piece)
        for ended in lines:
            line = ended.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line:
                self._size = len(self._rest)
                if self._data:
                    yield b"\n".join(self._data)
                    self._data.clear()
        if self._size > EVENT_BYTES_MAX:
            raise FailureTold(Failure("an event does not end", 500))
