"""A receiver of webhooks that speaks real HTTP, and behaves badly when it is told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

# So long may a sender and its receiver disagree about the time, says Standard Webhooks.
TOLERANCE_SECONDS = 5 * 60


@dataclass(frozen=True)
class Post:
    """A request that arrived."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:  # noqa: ANN401  # JSON
        """Return what it says."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Fault:
    """What to do instead of answering 200.

    `takes` means that the event counts as received all the same: its answer is lost.
    """

    status: int = 500
    headers: tuple[str, ...] = ()
    resets: bool = False
    hangs: bool = False
    takes: bool = False


@dataclass
class Receiver:
    """Keeps in `posts` all that arrived, and in `accepted` what it took, also repeatedly.

    `faults` are for one request each. `on_post` is called before anything is answered, and nothing
    is while `gate` is clear.
    """

    posts: list[Post] = field(default_factory=list)
    accepted: list[Post] = field(default_factory=list)
    faults: deque[Fault | None] = field(default_factory=deque)
    on_post: Callable[[Post], None] = lambda _: None
    port: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}/events"

    @property
    def events(self) -> list[Any]:
        """Return what is left after events with an id that came before are dropped."""
        return list({post.event["id"]: post.event for post in reversed(self.accepted)}.values())[
            ::-1
        ]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        """Serve while the block runs."""
        self.gate.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def until(self, is_done: Callable[[Receiver], bool]) -> None:
        """Wait for something to be true of it, which is looked at whenever something arrives."""
        async with asyncio.timeout(60):
            while not is_done(self):
                self._arrived.clear()
                await self._arrived.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while post := await _read(reader):
                self.posts.append(post)
                self.on_post(post)
                fault = self.faults.popleft() if self.faults else None
                if fault is None or fault.takes:
                    self.accepted.append(post)
                self._arrived.set()
                await self.gate.wait()
                if fault is not None and fault.hangs:
                    # Until the other side has had enough.
                    await reader.read()
                    return
                if fault is not None and fault.resets:
                    _reset(writer)
                    return
                await _answer(writer, fault)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Post | None:
    line = await reader.readline()
    if not line:
        return None
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    return Post(headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def _answer(writer: asyncio.StreamWriter, fault: Fault | None) -> None:
    lines = [f"HTTP/1.1 {fault.status if fault else 200} Told", "content-length: 6"]
    lines += fault.headers if fault else ()
    writer.write("\r\n".join([*lines, "", "canary"]).encode())
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    # Closing without lingering sends RST instead of FIN.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def is_genuine(post: Post, secret: str, *, now: float) -> bool:
    """Verify a post as Standard Webhooks 1.0 says, with nothing of the sender's code."""
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    timestamp = post.headers["webhook-timestamp"]
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    content = f"{post.headers['webhook-id']}.{timestamp}.".encode() + post.body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    versions = (entry.split(",", 1) for entry in post.headers["webhook-signature"].split(" "))
    return any(
        version == "v1" and hmac.compare_digest(value, expected) for version, value in versions
    )
