"""Carries requests of `httpx2` over `aiohttp`, which takes half the time of what `httpx2` has."""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress
from weakref import WeakSet

import aiohttp
import httpx2
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

# What fits into the buffers of a connection: writing that cannot stall.
PIECE_BYTES = 32 * 1024
# Some servers send longer headers than `aiohttp` takes.
HEADER_BYTES_MAX = 64 * 1024

# What `aiohttp` adds of itself.
_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

_FAILURES: tuple[tuple[type[Exception], type[httpx2.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx2.ReadTimeout),
    # Bodies too large to be written at once are the only ones with a timeout of ours.
    (TimeoutError, httpx2.WriteTimeout),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx2.RemoteProtocolError),
    (aiohttp.ClientConnectionError, httpx2.ReadError),
    (ValueError, httpx2.LocalProtocolError),
    (Exception, httpx2.RemoteProtocolError),
)

# Connections that have carried a request.
_used: WeakSet[ResponseHandler] = WeakSet()


class Transport(httpx2.AsyncBaseTransport):
    """Takes addresses and headers as they are, and adds nothing; answers are not decoded here.

    A request is sent once, unless it is a `GET`, and a kept connection turns out to be closed.
    """

    def __init__(
        self, *, trusted: ssl.SSLContext, connections_max: int, idle_seconds: float
    ) -> None:
        self._trusted = trusted
        self._connections_max = connections_max
        self._idle_seconds = idle_seconds
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Carry one request, of which the body is in memory."""
        await request.aread()
        while True:
            try:
                answer = await self._sent(request)
            except _Left:
                continue
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _translated(error) from None
            headers, stream = answer.raw_headers, _Stream(answer)
            return httpx2.Response(answer.status, headers=headers, stream=stream)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _sent(self, request: httpx2.Request) -> aiohttp.ClientResponse:
        """Send a request, and return the answer when its headers are there."""
        body, url = request.content, request.url
        times = request.extensions["timeout"]
        async with asyncio.timeout(None) as deadline:
            return await self._opened().request(
                request.method,
                # Neither decoded nor encoded anew: signatures are of what was written.
                URL(f"{url.scheme}://{_ascii(url.netloc)}{_ascii(url.raw_path)}", encoded=True),
                headers=request.headers.multi_items(),
                data=_uploaded(body, deadline, times) if len(body) > PIECE_BYTES else body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=_sum(times["pool"], times["connect"]),
                    sock_connect=times["connect"],
                    sock_read=times["read"],
                ),
            )

    def _opened(self) -> aiohttp.ClientSession:
        """Return what can be made only where a loop runs."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._trusted,
                    limit=self._connections_max,
                    keepalive_timeout=self._idle_seconds,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=_Request,
                response_class=_Answer,
                skip_auto_headers=_ADDED,
                auto_decompress=False,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
            )
        return self._session


class _Left(Exception):
    """A kept connection was closed by the other side, and nothing was sent on it."""


class _Request(aiohttp.ClientRequest):
    """A request that is not sent on a kept connection of which the end has arrived, unread.

    The server of llama.cpp closes its connections after each answer, and does not say so before.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request. Raises `_Left`."""
        protocol, transport = conn.protocol, conn.transport
        assert protocol is not None, "it was just taken from those that are connected"
        assert transport is not None, "as above"
        if protocol not in _used:
            _used.add(protocol)
        elif _is_readable(transport.get_extra_info("socket").fileno()):
            raise _Left
        return await super().send(conn)


class _Answer(aiohttp.ClientResponse):
    """An answer that breaks its connection off if it is closed, or given up, before its end."""

    def close(self) -> None:
        """Do not end TLS politely: that waits for a provider, which meanwhile goes on."""
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        super().close()


class _Stream(httpx2.AsyncByteStream):
    """The body of an answer, in pieces of all that has arrived."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        try:
            async for piece in self._answer.content.iter_any():
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error) from None

    async def aclose(self) -> None:
        self._answer.close()


async def _uploaded(
    body: bytes, deadline: asyncio.Timeout, times: dict[str, float | None]
) -> AsyncGenerator[bytes, None]:
    """Yield a body in pieces, each of which has its time to be taken."""
    for start in range(0, len(body), PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        is_last = start + PIECE_BYTES >= len(body)
        # The time to wait for an answer runs from when the last piece was taken, unseen from here.
        seconds = _sum(times["write"], times["read"]) if is_last else times["write"]
        # An answer may come before all was sent; then nobody waits any more.
        with suppress(RuntimeError):
            deadline.reschedule(_sum(asyncio.get_running_loop().time(), seconds))
        yield piece


def _is_readable(socket: int) -> bool:
    watch = select.poll()
    watch.register(socket, select.POLLIN)
    return bool(watch.poll(0))


def _translated(error: Exception) -> httpx2.TransportError:
    """Return what `httpx2` would have raised; errors of `aiohttp` hold headers, and so keys."""
    found = next(failure for kind, failure in _FAILURES if isinstance(error, kind))
    return found(type(error).__name__)


def _ascii(part: bytes) -> str:
    return part.decode("ascii")


def _sum(*seconds: float | None) -> float | None:
    """Return the time of all; None if one of them has no end."""
    return None if None in seconds else sum(second for second in seconds if second is not None)
