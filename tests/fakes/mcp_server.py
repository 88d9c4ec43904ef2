"""An MCP server of the official package: over its standard streams, or over HTTP as a site.

`python -m tests.fakes.mcp_server NOTES` is started as a server; notes are lines of that file.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

from tests.fakes.internet import Site

LONG = 200_000


def notebook(notes: Path) -> MCPServer:
    """Return a server with a few tools, good ones and bad ones."""
    server = MCPServer("notebook")

    @server.tool(description="Adds two numbers.", annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool(description="Writes a note.", structured_output=False)
    def note(text: str) -> str:
        with notes.open("a") as file:
            file.write(f"{text}\n")
        return f"noted {text}"

    @server.tool(
        description="Sets the note.",
        structured_output=False,
        annotations=ToolAnnotations(idempotent_hint=True),
    )
    def setNote(text: str) -> str:  # as servers have them
        notes.write_text(f"{text}\n")
        return text

    @server.tool(structured_output=False)
    def fail(text: str) -> str:
        raise ToolError(text)

    @server.tool(structured_output=False)
    def die(text: str) -> str:
        note(text)
        os._exit(1)

    @server.tool(structured_output=False)
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    @server.tool(structured_output=False)
    async def nap(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "rested"

    @server.tool(structured_output=False)
    def long() -> str:
        return "x" * LONG

    @server.tool(name="1. no name", structured_output=False)
    def nameless() -> str:
        return ""

    return server


class Relay(Site):
    """A site that asks the same server on this machine, so that it can stand behind a `Front`."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one request and its answer; the request says that nothing follows it."""
        there, here = await asyncio.open_connection("127.0.0.1", self.port)
        here.write(await reader.read())
        writer.write(await there.read())
        here.close()


@asynccontextmanager
async def listening(notes: Path) -> AsyncIterator[Relay]:
    """Serve over HTTP at `/mcp`, as a site of a fake internet, while the block runs."""
    app = notebook(notes).streamable_http_app(host="0.0.0.0")  # any name leads to it
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield Relay(port=listener.getsockname()[1])
        finally:
            server.should_exit = server.force_exit = True
            await task


if __name__ == "__main__":
    notebook(Path(sys.argv[1])).run("stdio")
