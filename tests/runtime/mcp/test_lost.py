"""Calls of which the answer is lost, and sessions that a server forgets, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chassis.errors import PeerUnavailable
from runtime.connectors import Unsent
from runtime.connectors.mcp import sessions
from runtime.connectors.mcp.servers import Remote, Server
from runtime.connectors.mcp.tools import mcp_tools
from tests.fakes.front import Fault, Front, Says
from tests.fakes.internet import Internet
from tests.fakes.mcp_server import listening
from tests.runtime.mcp.conftest import HOST, Notebook


@dataclass
class Lossy:
    """A server behind a front."""

    notebook: Notebook
    front: Front

    def called(self, tool: str) -> int:
        """Return how many requests called a tool."""
        calls = [json.loads(body) for body in self.front.bodies if b"tools/call" in body]
        return sum(call["params"]["name"] == tool for call in calls)


@pytest.fixture
async def lossy(tmp_path: Path) -> AsyncIterator[Lossy]:
    internet = Internet()
    async with listening(tmp_path / "notes") as site:
        front = Front(inner=site)
        async with front.listening():
            internet.put(HOST, front)
            servers: dict[str, Server] = {"notebook": Remote(url=f"http://{HOST}/mcp")}
            async with mcp_tools(servers, internet.egress()) as actions:
                yield Lossy(Notebook(actions, tmp_path / "notes"), front)


@pytest.mark.parametrize(
    ("fault", "is_done"),
    [("lost", True), ("failed", False), (Says(500), False), (Says(502), False)],
    ids=str,
)
async def test_nobody_knows_what_came_of_a_call_without_an_answer(
    lossy: Lossy,
    fault: Fault,
    is_done: bool,  # noqa: FBT001  # by the table
) -> None:
    lossy.front.fail_next(fault)
    with pytest.raises(PeerUnavailable) as raised:
        await lossy.notebook.call("note", text="a")
    assert not isinstance(raised.value, Unsent)
    assert lossy.notebook.lines == ["a"] * is_done
    assert lossy.called("note") == 1, "it is not sent again before that is journaled"
    assert (await lossy.notebook.call("note", text="b")).value == {"text": "noted b"}


async def test_a_session_that_is_forgotten_is_made_anew(lossy: Lossy) -> None:
    await lossy.notebook.call("note", text="a")
    # As a server answers that was started again.
    gone = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no session"}}
    lossy.front.fail_next(Says(404, json.dumps(gone).encode()))
    assert (await lossy.notebook.call("note", text="b")).value == {"text": "noted b"}
    assert lossy.notebook.lines == ["a", "b"]


async def test_a_server_that_takes_no_request_is_asked_twice(lossy: Lossy) -> None:
    refused = Says(
        400, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"not like this"}}'
    )
    lossy.front.fail_next(refused)
    assert (await lossy.notebook.call("note", text="a")).value == {"text": "noted a"}


async def test_who_is_slow_takes_nobody_with_him(
    process: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CALL_SECONDS_MAX", 1.0)
    slow = asyncio.create_task(process.call("hang"))
    await asyncio.sleep(0.7)
    # Under way while the slow one is given up.
    other = asyncio.create_task(process.call("nap", seconds=0.6))
    with pytest.raises(PeerUnavailable):
        await slow
    assert (await other).value == {"text": "rested"}


async def test_a_connection_that_broke_is_dropped_once(process: Notebook) -> None:
    session = process.actions["mcp.notebook.add"]._session  # type: ignore[attr-defined]
    broken = await session._connected()
    await session._drop(broken, ConnectionError())
    made = await session._connected()
    # Somebody else hears of it late.
    await session._drop(broken, ConnectionError())
    assert await session._connected() is made
