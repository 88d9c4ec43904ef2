"""A person decides about a use of a key, while the run of an agent waits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from actionvm.runtime.v1 import runtime_pb2 as pb
from actionvm.runtime.v1.runtime_pb2_grpc import RuntimeServiceStub

from .conftest import COMMAND_SECONDS, EXAMPLE, Board, System, pause

pytestmark = pytest.mark.system

Decide: TypeAlias = Callable[[System, dict[str, Any], str], None]

ASK = """
  - name: posts
    verdict: ask
    callers: runtime
    secrets: secrets/board-key
    operations: sign-message
    purposes: request
"""


@pytest.fixture
def asking(system: System, board: Board, tmp_path: Path) -> Iterator[None]:
    """Let a person be asked before anything is posted."""
    before = system.command("policy", "show")
    for name, content in (("asking", before.output + ASK), ("before", before.output)):
        (tmp_path / name).write_text(content)
    put = system.command("policy", "put", str(tmp_path / "asking"))
    assert put.code == 0, put.errors
    yield
    system.command("policy", "put", str(tmp_path / "before"))


def waiting(system: System) -> dict[str, Any]:
    """Return the one use that waits for a person, as soon as it does."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while True:
        found = system.command("approvals", "list", "--json").document["approvals"]
        if found:
            (approval,) = found
            assert isinstance(approval, dict)
            return approval
        assert time.monotonic() < deadline, "nobody is asked"
        pause()


def decide_at_the_key_manager(system: System, approval: dict[str, Any], verdict: str) -> None:
    decided = system.command("approvals", verdict, approval["name"])
    assert decided.code == 0, decided.errors


def decide_at_the_runtime(system: System, approval: dict[str, Any], verdict: str) -> None:
    """Decide as a client does that knows the runtime only, with the token of a person."""
    credentials = grpc.ssl_channel_credentials(system.home.ca_file.read_bytes())
    token = system.home.token_file("operator").read_text().strip()
    shown = (("authorization", f"Bearer {token}"),)
    options = [("grpc.ssl_target_name_override", "runtime.actionvm")]
    address = system.state.addresses["runtime"]
    with grpc.secure_channel(address, credentials, options) as channel:
        stub = RuntimeServiceStub(channel)
        listed = stub.ListApprovals(pb.ListApprovalsRequest(), metadata=shown).approvals
        (waits,) = [one for one in listed if one.approval == approval["name"]]
        run = stub.GetRun(
            pb.GetRunRequest(name=waits.name.partition("/approvals/")[0]), metadata=shown
        )
        assert run.run.approval == approval["name"]
        decision = pb.DecideApprovalRequest(
            name=waits.name, allow=verdict == "approve", arguments_digest=waits.arguments_digest
        )
        stub.DecideApproval(decision, metadata=shown)


@pytest.mark.parametrize("decide", [decide_at_the_key_manager, decide_at_the_runtime])
@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_a_run_goes_on_when_a_person_has_decided(
    system: System, board: Board, asking: None, verdict: str, decide: Decide
) -> None:
    before = len(board.data.read_text().splitlines()) if board.data.exists() else 0
    settings = ("--set", f"board_url={board.url}")
    question = "What moved the market today?"
    agent = str(EXAMPLE / "agent.yaml")
    with system.start("run", agent, "--input", question, "--json", *settings) as run:
        approval = waiting(system)
        decide(system, approval, verdict)
        output, _ = run.communicate(timeout=COMMAND_SECONDS)

    posts = len(board.data.read_text().splitlines()) if board.data.exists() else 0
    lines = [json.loads(line) for line in output.splitlines()]
    state = lines[-1]["end"]["state"]
    (awaited,) = [line["event"]["awaited"] for line in lines if "awaited" in line.get("event", {})]
    assert (awaited["approval"], awaited["rule"]) == (approval["name"], "posts")
    assert approval["facts"]["preview"].startswith("POST\\n/posts")
    assert (approval["account"], approval["secret"]) == ("agents/market-brief", "secrets/board-key")
    assert (posts - before, state) == {
        "approve": (1, "STATE_SUCCEEDED"),
        "deny": (0, "STATE_FAILED"),
    }[verdict]
