"""A provider of models that speaks real HTTP, and behaves badly when it is told to."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

WAIT_SECONDS_MAX = 20


@dataclass(frozen=True)
class Seen:
    """A request that arrived; its path is as it was sent, not decoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401  # JSON
        """Return what it says."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What to answer, in pieces."""

    pieces: tuple[bytes, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_body(self, body: object) -> Reply:
        """Return the same reply with another body."""
        return replace(self, pieces=(json.dumps(body).encode(),))


@dataclass(frozen=True)
class Fault:
    """How one generation goes wrong.

    `status` is answered in place of 200, with `code` and `text`. With `cuts`, the connection breaks
    in the middle of the second half. `hangs` after so many pieces; -1 never, -2 before the headers.
    `gap_seconds` pass before each piece. `garbage` stands in place of the second piece.
    """

    status: int = 0
    code: str = ""
    text: str = "not today"
    headers: Mapping[str, str] = field(default_factory=dict)
    cuts: bool = False
    ends_early: bool = False
    hangs_after: int = -1
    gap_seconds: float = 0.0
    garbage: bytes = b""


NEVER = -1
BEFORE_HEADERS = -2


@dataclass
class Upstream:
    """Keeps in `seen` all that arrived; `answer` says what to answer, `faults` how it fails.

    A fault is for one generation, which `is_generation` tells from other requests. `left` is set
    when a client closes the connection before the end of an answer, `asked` when a generation
    arrives.
    """

    answer: Callable[[Seen], Reply]
    refuse: Callable[[Fault], Reply]
    is_generation: Callable[[Seen], bool]
    seen: list[Seen] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    problems: list[Exception] = field(default_factory=list)
    url: str = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Upstream]:
        """Serve while the block runs."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def until_asked(self) -> None:
        """Wait until a generation was asked for."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            await self.asked.wait()

    async def until_left(self) -> None:
        """Wait until a client has closed its connection early."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            await self.left.wait()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        url = request.rel_url
        seen = Seen(request.method, url.raw_path, url.query_string, request.headers, body)
        self.seen.append(seen)
        fault = Fault()
        if self.is_generation(seen):
            self.asked.set()
        if self.faults and self.is_generation(seen):
            fault = self.faults.popleft()
        try:
            reply = self.refuse(fault) if fault.status else self.answer(seen)
        except Exception as error:
            # A fixture raises it again: the request breaks the schema, or the fake is wrong.
            self.problems.append(error)
            raise
        try:
            return await self._send(request, reply, fault)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    async def _send(self, request: web.Request, reply: Reply, fault: Fault) -> web.StreamResponse:
        if fault.hangs_after == BEFORE_HEADERS:
            await asyncio.Event().wait()
        headers = {**reply.headers, **fault.headers}
        response = web.StreamResponse(status=reply.status, headers=headers)
        await response.prepare(request)
        for index, piece in enumerate(reply.pieces):
            if index == fault.hangs_after:
                await asyncio.Event().wait()
            if fault.gap_seconds:
                await asyncio.sleep(fault.gap_seconds)  # slowness is what is tested
            if fault.cuts and index == len(reply.pieces) // 2:
                await response.write(piece[: len(piece) // 2])
                assert request.transport is not None
                request.transport.close()
                return response
            if fault.ends_early and index == len(reply.pieces) // 2:
                break
            await response.write(fault.garbage if fault.garbage and index == 1 else piece)
        await response.write_eof()
        return response
