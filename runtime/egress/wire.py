"""One request and its answer over a connection, of which every size is limited."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass

import h11

from . import Lost, Refused

HEADER_BYTES_MAX = 32 * 1024
READ_BYTES = 16 * 1024
# Answers before the answer, such as 103.
EARLY_ANSWERS_MAX = 8

# What `h11` says of headers that do not end.
_TOO_LARGE = 431
_GZIP = zlib.MAX_WBITS | 16


@dataclass(frozen=True)
class Reply:
    """An answer as it came, decompressed; `is_cut` says that there was more of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool


class Wire:
    """A connection for one request."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, peer: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MAX)
        self._bytes_left = 0

    async def exchange(self, request: h11.Request, body: bytes, *, bytes_max: int) -> Reply:
        """Return the answer to a request, with at most so many bytes of its body.

        Raise `Lost` where none came that makes sense, and `Refused` for one that is too large to
        be looked at, or compressed in a way that we did not ask for.
        """
        # Frames and empty blocks of a compression can be endless while nothing comes out of them.
        self._bytes_left = 2 * (HEADER_BYTES_MAX + bytes_max)
        try:
            await self._send(request, body)
            response = await self._response()
            headers = _headers(response)
            content, is_cut = await self._content(headers, bytes_max)
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == _TOO_LARGE:
                told = f"the headers of the answer are over {HEADER_BYTES_MAX} bytes"
                raise Refused("ANSWER_TOO_LARGE", told) from error
            raise Lost(self._peer) from error
        # Of `h11`: what it does not understand of a switch of protocols, for one.
        except (OSError, h11.ProtocolError, zlib.error) as error:
            raise Lost(self._peer) from error
        return Reply(response.status_code, headers, content, is_cut)

    async def _send(self, request: h11.Request, body: bytes) -> None:
        events: list[h11.Event] = [request]
        if body:
            events.append(h11.Data(body))
        for event in (*events, h11.EndOfMessage()):
            self._writer.write(self._http.send(event) or b"")
        # Who does not want to read all of it may answer nevertheless.
        with suppress(ConnectionError):
            await self._writer.drain()

    async def _response(self) -> h11.Response:
        for _ in range(EARLY_ANSWERS_MAX + 1):
            event = await self._event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                break
        raise Lost(self._peer)

    async def _content(self, headers: Mapping[str, str], bytes_max: int) -> tuple[bytes, bool]:
        coding = headers.get("content-encoding", "").strip().lower()
        if coding not in {"", "identity", "gzip", "x-gzip"}:
            told = "the answer is compressed in a way that was not asked for"
            raise Refused("ANSWER_BINARY", told)
        gunzip = zlib.decompressobj(_GZIP) if coding.endswith("gzip") else None
        content = bytearray()
        async with aclosing(self._parts()) as parts:
            async for part in parts:
                # One byte more than allowed tells that there is more.
                room = bytes_max + 1 - len(content)
                content += gunzip.decompress(part, room) if gunzip else part[:room]
                if len(content) > bytes_max:
                    return bytes(content[:bytes_max]), True
        if self._bytes_left < 0:
            return bytes(content), True
        if gunzip and content and not gunzip.eof:
            raise Lost(self._peer)
        return bytes(content), False

    async def _parts(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes, until its end or that of patience."""
        while self._bytes_left >= 0:
            event = await self._event()
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            # Where the buffer is never empty, reading never waits, and others get no turn.
            await asyncio.sleep(0)
            data = await self._reader.read(READ_BYTES)
            self._bytes_left -= len(data)
            if self._bytes_left < 0:
                return None
            self._http.receive_data(data)
        return event


def _headers(response: h11.Response) -> dict[str, str]:
    headers = dict[str, str]()
    for name, value in response.headers:
        headers.setdefault(name.decode("ascii"), _decoded(value))
    return headers


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
