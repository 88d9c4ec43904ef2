"""Tools as actions: what they are told to be, what they give, and what a broken server does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from chassis.errors import PeerUnavailable
from runtime.connectors import Unsent
from runtime.connectors.mcp import sessions
from runtime.connectors.mcp.servers import Process, Remote, Server
from runtime.connectors.mcp.tools import ANSWER_BYTES_MAX, mcp_tools
from runtime.facts import ActionDecided, ActionFinished, Decision, State
from tests.fakes.internet import Internet
from tests.fakes.mcp_server import listening
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.mcp.conftest import HOST, Notebook, started
from tests.runtime.worlds import World, with_actions


def test_each_tool_is_an_action(notebook: Notebook) -> None:
    names = ("add", "die", "fail", "hang", "long", "nap", "note", "setnote")
    assert {*notebook.actions} == {f"mcp.notebook.{name}" for name in names}
    add = notebook.actions["mcp.notebook.add"].descriptor
    assert add.description == "Adds two numbers."
    assert add.parameters_schema["required"] == ["a", "b"]
    assert add.output_schema["properties"] == {"result": {"title": "Result", "type": "integer"}}
    assert not add.needs_credential


def test_its_hints_say_what_can_be_done_again(process: Notebook) -> None:
    found = {name: one.descriptor for name, one in process.actions.items()}
    add, note, set_note = (found[f"mcp.notebook.{name}"] for name in ("add", "note", "setnote"))
    assert (add.effect, add.is_idempotent) == ("read", True)
    assert (note.effect, note.is_idempotent) == ("write", False)
    assert (set_note.effect, set_note.is_idempotent) == ("write", True)
    assert not any(one.is_reconcilable for one in found.values())


async def test_a_result_is_told(notebook: Notebook) -> None:
    assert (await notebook.call("add", a=1, b=2)).value == {"result": 3}
    assert (await notebook.call("note", text="a")).value == {"text": "noted a"}
    assert notebook.lines == ["a"]


async def test_many_calls_at_once_get_their_own_results(notebook: Notebook) -> None:
    results = await asyncio.gather(*(notebook.call("add", a=n, b=1) for n in range(20)))
    assert [one.value for one in results] == [{"result": n + 1} for n in range(20)]


async def test_a_tool_that_fails_says_why(notebook: Notebook) -> None:
    result = await notebook.call("fail", text="no ink")
    assert result.reason == "TOOL_FAILED"
    assert "no ink" in str(result.value)


async def test_arguments_that_a_server_does_not_take_are_refused(notebook: Notebook) -> None:
    assert (await notebook.call("add", a="one", b=2)).reason
    assert (await notebook.call("add", a=1, b=2)).value == {"result": 3}


async def test_a_long_result_is_cut(notebook: Notebook) -> None:
    value = (await notebook.call("long")).value
    assert isinstance(value, dict)
    assert ANSWER_BYTES_MAX - 10 < len(str(value["text"])) <= ANSWER_BYTES_MAX


async def test_what_became_of_a_call_is_unknown_where_the_server_died(process: Notebook) -> None:
    with pytest.raises(PeerUnavailable) as raised:
        await process.call("die", text="a")
    assert not isinstance(raised.value, Unsent)
    assert process.lines == ["a"]
    # It is started again for the next one.
    assert (await process.call("note", text="b")).value == {"text": "noted b"}
    assert process.lines == ["a", "b"]


async def test_a_server_that_is_gone_was_sent_nothing(tmp_path: Path) -> None:
    internet = Internet()
    async with listening(tmp_path / "notes") as site:
        internet.put(HOST, site)
        servers: dict[str, Server] = {"notebook": Remote(url=f"http://{HOST}/mcp")}
        async with mcp_tools(servers, internet.egress()) as actions:
            notebook = Notebook(actions, tmp_path / "notes")
            await notebook.call("note", text="a")
            internet.sites.clear()
            with pytest.raises(PeerUnavailable):
                await notebook.call("note", text="b")
            # That connection is broken now, and no other one comes about.
            with pytest.raises(Unsent):
                await notebook.call("note", text="c")
            internet.put(HOST, site)
            await notebook.call("note", text="d")
            assert notebook.lines == ["a", "d"]


async def test_a_tool_that_never_ends_is_left(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CALL_SECONDS_MAX", 0.2)
    with pytest.raises(PeerUnavailable) as raised:
        await notebook.call("hang")
    assert not isinstance(raised.value, Unsent)
    assert (await notebook.call("note", text="a")).value == {"text": "noted a"}


@pytest.mark.parametrize(
    "server",
    [
        Process(command="/no/such/program"),
        Process(command="true"),
        Remote(url="http://nobody.test/mcp"),
        Remote(url="http://127.0.0.1:1/mcp"),
    ],
    ids=["no program", "it ends", "no host", "a private address"],
)
async def test_a_server_that_does_not_answer_has_no_actions(server: Server, tmp_path: Path) -> None:
    servers = {"broken": server, "notebook": started(tmp_path / "notes")}
    internet = Internet()
    async with mcp_tools(servers, internet.egress()) as actions:
        assert actions
        assert all(name.startswith("mcp.notebook.") for name in actions)
    assert not internet.dialled


async def test_no_process_is_left(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with mcp_tools({"notebook": started(notes)}, Internet().egress()):
        assert _processes(notes)
    assert not _processes(notes)


def _processes(notes: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "tests.fakes.mcp_server" in text and str(notes) in text:
            found.append(text)
    return found


def _action(notebook: Notebook, name: str, approval: str) -> dict[str, Any]:
    descriptor = notebook.actions[f"mcp.notebook.{name}"].descriptor
    return {
        "name": descriptor.name,
        "program": f"catalogue:{descriptor.name}",
        "description": descriptor.description,
        "parameters_schema": dict(descriptor.parameters_schema),
        "effect": descriptor.effect,
        "credential": "",
        "settings": {},
        "limits": {"per_run": 0},
        "approval": approval,
        "required": False,
    }


@pytest.mark.parametrize("approval", ["allow", "deny"])
async def test_policy_decides_about_tools_too(
    process: Notebook, tmp_path: Path, approval: str
) -> None:
    folder = tmp_path / "world"
    folder.mkdir()
    world = World(folder, services=[*process.actions.values()])
    once = iter([calls(("mcp.notebook.note", json.dumps({"text": "a"})))])
    world.model.answers = lambda _: next(once, answer("Done."))
    await world.create(with_actions(_action(process, "note", approval)))
    assert (await world.play()).state is State.SUCCEEDED
    events = await world.events()
    [decided] = [one for one in events if isinstance(one, ActionDecided)]
    [finished] = [one for one in events if isinstance(one, ActionFinished)]
    if approval == "allow":
        assert json.loads(finished.result) == {"text": "noted a"}
        assert process.lines == ["a"]
    else:
        assert decided.decision == Decision.DENY
        assert process.lines == []
