"""What stands before the fake of a service, and loses its answers, or says something else."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal, TypeAlias, cast

import httpx

from tests.fakes.internet import Site, answering


@dataclass(frozen=True)
class Says:
    """An answer instead of that of the service, which does not hear of the request."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[str, ...] = ()


# For one request: an answer; it takes effect and nobody is told; it does not, and nobody is told;
# or nothing is wrong with it.
Fault: TypeAlias = Says | Literal["lost", "failed", ""]


class _Sink:
    """What a site writes."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, content: bytes) -> None:
        self.content += content

    async def drain(self) -> None:
        """Has no buffer."""


@dataclass
class Front(Site):
    """A site before another one, which need not know how to fail."""

    inner: Site = field(default_factory=Site)
    _faults: deque[Fault] = field(default_factory=deque)

    def fail_next(self, *faults: Fault) -> None:
        """Fail the next requests, in order."""
        self._faults.extend(faults)

    @property
    def arrived(self) -> int:
        """Return how many requests came."""
        return len(self.heads)

    @property
    def heard(self) -> bytes:
        """Return all that came."""
        return "".join(self.heads).encode() + b"".join(self.bodies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, unless told otherwise."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.decode().lower().partition("content-length: ")[2].partition("\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            self.heads.append(head.decode())
            self.bodies.append(body)
            writer.write(await self._answer(head + body))
            await writer.drain()

    async def _answer(self, request: bytes) -> bytes:
        fault = self._faults.popleft() if self._faults else ""
        if isinstance(fault, Says):
            line = f"{fault.status} {HTTPStatus(fault.status).phrase}"
            kind = "application/json"
            return answering(fault.body, *fault.headers, status=line, kind=kind)
        if fault == "failed":
            return b""
        reader, sink = asyncio.StreamReader(), _Sink()
        reader.feed_data(request)
        reader.feed_eof()
        await self.inner.serve(reader, cast("asyncio.StreamWriter", sink))
        return b"" if fault == "lost" else sink.content


class TransportFront(httpx.AsyncBaseTransport):
    """The same before a fake that is a transport of HTTPX."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self._faults: deque[Fault] = deque()
        self.arrived = 0
        self.heard = b""
        self._is_gone = False

    def leave(self) -> None:
        """Take no connection any more."""
        self._is_gone = True

    def fail_next(self, *faults: Fault) -> None:
        """Fail the next requests, in order."""
        self._faults.extend(faults)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._is_gone:
            raise httpx.ConnectError("refused", request=request)
        self.arrived += 1
        self.heard += repr(request.headers.multi_items()).encode() + await request.aread()
        fault = self._faults.popleft() if self._faults else ""
        if isinstance(fault, Says):
            headers = dict(line.split(": ", 1) for line in fault.headers)
            return httpx.Response(fault.status, headers=headers, content=fault.body)
        response = None if fault == "failed" else await self._inner.handle_async_request(request)
        if response is None or fault == "lost":
            raise httpx.ReadTimeout("lost", request=request)
        return response
