"""An internet of which every address is a server of the test; who connects where is noted."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from runtime.egress import Address
from runtime.egress.client import Egress, Stream
from runtime.egress.system import connect

# Addresses of the internet, of which a test can have as many as it wants.
PUBLIC, OTHER = "93.184.215.14", "93.184.215.15"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"


def answering(
    body: bytes = b"", *headers: str, status: str = "200 OK", kind: str = "text/plain"
) -> bytes:
    """Return an answer as it is on the wire."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    lines += [f"content-type: {kind}"] if kind else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirecting(location: str, status: int = 302) -> bytes:
    """Return an answer that leads elsewhere."""
    return answering(b"", f"location: {location}", status=f"{status} Moved")


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """A server that answers by path, and keeps what came: heads and bodies, as they arrived.

    `endless` writes to whoever asks, instead, and for as long as they stay.
    """

    answers: dict[str, bytes] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    endless: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
    port: int = 0
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; without an answer for it, hang up."""
        with suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
            self.bodies.append(await reader.readexactly(int(length or 0)))
            if self.endless:
                await self.endless(writer)
            path = head.split(" ", 2)[1].partition("?")[0]
            writer.write(self.answers.get(path, self.answers.get("*", b"")))
            await writer.drain()

    @asynccontextmanager
    async def listening(self, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
        """Serve on a free port of this machine while the block runs."""
        under_way: list[asyncio.Task[None]] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await self.serve(reader, writer)
            finally:
                # What was written is sent, then the connection ends.
                writer.close()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            under_way.append(asyncio.ensure_future(handle(reader, writer)))

        async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls) as server:
            self.port = server.sockets[0].getsockname()[1]
            try:
                yield self
            finally:
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)


@dataclass
class Internet:
    """Names with their addresses; each look-up gives the next answer, the last one for ever."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    # Where somebody connected, or tried to.
    dialled: list[tuple[str, int]] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)
    tls: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def put(self, name: str, site: Site, address: str = PUBLIC) -> None:
        """Let a name lead to a site."""
        self.names[name] = [[address]]
        self.sites[address] = site

    def egress(self, *allowed: tuple[str, int]) -> Egress:
        """Return what asks this internet."""
        return Egress(self.resolve, self.connect, self.tls, allowed=allowed)

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Look a name up."""
        self.lookups.append(host)
        answers = self.names.get(host, [[]])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ipaddress.ip_address(address) for address in found]

    async def connect(
        self, address: Address, port: int, *, tls: ssl.SSLContext | None, name: str
    ) -> Stream:
        """Connect to the site at an address, whatever the port."""
        self.dialled.append((str(address), port))
        site = self.sites.get(str(address))
        if site is None:
            raise ConnectionRefusedError(address)
        here = ipaddress.ip_address("127.0.0.1")
        return await connect(here, site.port, tls=tls, name=name)
