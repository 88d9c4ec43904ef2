"""One connection to an MCP server, which is made again where it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    REQUEST_TIMEOUT,
    CallToolResult,
    Tool,
)
from pydantic import JsonValue

from chassis.errors import PeerUnavailable
from chassis.log import log

from ...egress.addresses import read_url
from ...egress.client import Egress
from .. import Unsent
from .http import EgressTransport
from .servers import Process, Remote, Server

CONNECT_SECONDS_MAX = 15.0
CALL_SECONDS_MAX = 60.0
# To tell one tool that is slow from a server that hangs.
ANSWERS_SECONDS_MAX = 2.0
# Pages of a list of tools.
_PAGES_MAX = 20

# After these, another connection is made. Of all but the first, nobody knows what was done: of an
# HTTP status such as 502, the package makes an internal error.
_ENDS = {INVALID_REQUEST, CONNECTION_CLOSED, REQUEST_TIMEOUT, INTERNAL_ERROR}


class Session:
    """A server, connected when it is first needed."""

    def __init__(
        self, name: str, open_client: Callable[[], AbstractAsyncContextManager[Client]]
    ) -> None:
        self.name = name
        self._open = open_client
        self._connecting = asyncio.Lock()
        self._holding: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._ended = asyncio.Event()

    async def close(self) -> None:
        """End the connection, and the process behind it."""
        if task := self._holding:
            self._holding, self._client = None, None
            self._ended.set()
            done, _ = await asyncio.wait([task], timeout=CONNECT_SECONDS_MAX)
            if not done:
                task.cancel()

    async def tools(self) -> Sequence[Tool]:
        """Return what the server offers; raise `PeerUnavailable`."""
        client = await self._connected()
        found: list[Tool] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                for _ in range(_PAGES_MAX):
                    page = await client.list_tools(cursor=cursor)
                    found += page.tools
                    if not (cursor := page.next_cursor):
                        break
        except Exception as error:
            await self._drop(client, error)
            raise self._unavailable() from error
        return found

    async def call(self, tool: str, arguments: Mapping[str, JsonValue]) -> CallToolResult:
        """Call a tool; raise `MCPError` if the server refuses, `Unsent`, or `PeerUnavailable`."""
        try:
            return await self._call(tool, arguments)
        except MCPError as error:
            if error.code != INVALID_REQUEST:
                raise
        # So it says of a session that it has forgotten, and nothing was done.
        return await self._call(tool, arguments)

    async def _call(self, tool: str, arguments: Mapping[str, JsonValue]) -> CallToolResult:
        try:
            client = await self._connected()
        except PeerUnavailable as error:
            raise Unsent(error.peer) from error
        try:
            async with asyncio.timeout(CALL_SECONDS_MAX):
                return await client.call_tool(tool, dict(arguments))
        except TimeoutError as error:
            # Others may be waiting for it as well: who is slow is not gone.
            if not await _answers(client):
                await self._drop(client, error)
            raise self._unavailable() from error
        except MCPError as error:
            if error.code not in _ENDS:
                raise
            await self._drop(client, error)
            if error.code == INVALID_REQUEST:
                raise
            raise self._unavailable() from error
        except Exception as error:
            # Of what a broken connection raises, the package has no list.
            await self._drop(client, error)
            raise self._unavailable() from error

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
                self._ended = asyncio.Event()
                holding = asyncio.create_task(self._hold(ready, self._ended))
                try:
                    async with asyncio.timeout(CONNECT_SECONDS_MAX):
                        self._client = await ready
                    self._holding = holding
                except Exception as error:
                    log.warning("mcp.unavailable", server=self.name, error=repr(error)[:300])
                    raise self._unavailable() from error
                finally:
                    if self._client is None:
                        holding.cancel()
            return self._client

    async def _hold(self, ready: asyncio.Future[Client], ended: asyncio.Event) -> None:
        """Keep a connection open in one task, since its scopes are of the task that enters them."""
        try:
            async with self._open() as client:
                if not ready.done():
                    ready.set_result(client)
                await ended.wait()
        except Exception as error:  # noqa: BLE001  # whoever waits is told
            if not ready.done():
                ready.set_exception(error)

    async def _drop(self, client: Client, error: Exception) -> None:
        """End a connection that broke, unless another call has done so."""
        log.warning("mcp.lost", server=self.name, error=repr(error)[:300])
        if self._client is client:
            with suppress(Exception):
                await self.close()

    def _unavailable(self) -> PeerUnavailable:
        return PeerUnavailable(f"MCP server {self.name}")


async def _answers(client: Client) -> bool:
    try:
        async with asyncio.timeout(ANSWERS_SECONDS_MAX):
            # The protocol has no ping any more.
            await client.list_tools(cache_mode="bypass")
    except Exception:  # noqa: BLE001  # as above: whatever a broken connection raises
        return False
    return True


def open_session(name: str, server: Server, egress: Egress) -> Session:
    """Return a session with a server, not connected yet."""
    match server:
        case Process():
            started = StdioServerParameters(
                command=server.command, args=[*server.args], env=server.env or None, cwd=server.cwd
            )
            return Session(name, lambda: Client(started))
        case Remote():
            url = read_url(server.url)
            host = f"{url.host}:{url.port}"

            def connect() -> Client:
                http = httpx2.AsyncClient(transport=EgressTransport(egress, host))
                return Client(streamable_http_client(server.url, http_client=http))

            return Session(name, connect)
