"""One generation on its way through the engine, and the way of what it writes to who reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeAlias

from ..conversation import Delta, Finished, Tokens
from .cache import Resident
from .writing import Writing

# Text with how many tokens were written until then, the end, or what went wrong.
Item: TypeAlias = "tuple[str, int] | Finished | BaseException"


class Generation:
    """A prompt in tokens, what is written after it, and who reads that.

    The engine hands what comes of it to `post`, on the event loop that made it; the reader finds it
    in `events`, and sets `is_cancelled` when he leaves.
    """

    def __init__(self, prompt: Sequence[int], writing: Writing, *, tenant: str) -> None:
        self.prompt = prompt
        self.writing = writing
        self.tenant = tenant
        self.loop = asyncio.get_running_loop()
        self.is_cancelled = False
        # What the engine keeps of it: its place in the cache, and of the batch how many of its
        # tokens that computes, the first row with scores, none if that is negative, what was
        # guessed to follow; whether its prompt is read, and when something of it was shown.
        self.resident: Resident | None = None
        self.added = 0
        self.first_row = -1
        self.guess: list[int] = []
        self.is_read = False
        self.shown_at = 0.0
        self._inbox: asyncio.Queue[Item] = asyncio.Queue()

    def used(self, *, output: int) -> Tokens:
        """Return what was used when so many tokens were written."""
        cached = self.resident.cached if self.resident is not None else 0
        return Tokens(len(self.prompt) - cached, output, cached)

    def post(self, items: Sequence[Item]) -> None:
        """Take what the engine has made, on the event loop."""
        for item in items:
            self._inbox.put_nowait(item)

    async def events(self) -> AsyncGenerator[Delta | Finished, None]:
        """Yield what is written; all that has come together since the last is one delta."""
        while True:
            item = await self._inbox.get()
            while isinstance(item, tuple) and item[1] and not self._inbox.empty():
                more = self._inbox.get_nowait()
                if isinstance(more, tuple):
                    item = item[0] + more[0], more[1]
                else:
                    yield self._delta(*item)
                    item = more
            if isinstance(item, tuple):
                yield self._delta(*item)
            elif isinstance(item, Finished):
                yield item
                return
            else:
                raise _usual(item)

    def _delta(self, text: str, output: int) -> Delta:
        return Delta(text, self.used(output=output))


def _usual(error: BaseException) -> BaseException:
    """Return an error that does not end whoever waits for many, as a panic in Rust would."""
    if isinstance(error, Exception | asyncio.CancelledError):
        return error
    return RuntimeError(repr(error))
