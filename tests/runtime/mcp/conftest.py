"""A server with tools, started here or asked over HTTP; each test runs with both."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from runtime.connectors import Connector, Result
from runtime.connectors.mcp.servers import Process, Remote, Server
from runtime.connectors.mcp.tools import mcp_tools
from tests.fakes.internet import Internet
from tests.fakes.mcp_server import listening
from tests.runtime.connectors.stand import ORDER, check_result

ROOT = Path(__file__).resolve().parents[3]
HOST = "tools.test"


@dataclass
class Notebook:
    """The actions of a server, and what has come of them."""

    actions: dict[str, Connector]
    notes: Path

    @property
    def lines(self) -> list[str]:
        """Return the notes."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    async def call(self, tool: str, **arguments: JsonValue) -> Result:
        """Call a tool; what it gives is what its descriptor says."""
        connector = self.actions[f"mcp.notebook.{tool}"]
        result = await connector.perform(replace(ORDER, arguments=arguments))
        check_result(connector, result)
        return result


def started(notes: Path) -> Process:
    """Return a server that is started here."""
    return Process(
        command=sys.executable, args=("-m", "tests.fakes.mcp_server", str(notes)), cwd=ROOT
    )


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Notebook]:
    """Yield a server that was started."""
    servers: dict[str, Server] = {"notebook": started(tmp_path / "notes")}
    async with mcp_tools(servers, Internet().egress()) as actions:
        yield Notebook(actions, tmp_path / "notes")


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[Notebook]:
    """Yield a server that is asked over HTTP."""
    internet = Internet()
    async with listening(tmp_path / "notes") as site:
        internet.put(HOST, site)
        servers: dict[str, Server] = {"notebook": Remote(url=f"http://{HOST}/mcp")}
        async with mcp_tools(servers, internet.egress()) as actions:
            yield Notebook(actions, tmp_path / "notes")


@pytest.fixture(params=["process", "remote"])
def notebook(request: pytest.FixtureRequest) -> Notebook:
    """Return each kind of server in turn."""
    found: Notebook = request.getfixturevalue(request.param)
    return found
