"""A person decides about a use of a key, while the run of an agent waits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND_SECONDS, EXAMPLE, Board, System, pause

pytestmark = pytest.mark.system

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


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_a_run_goes_on_when_a_person_has_decided(
    system: System, board: Board, asking: None, verdict: str
) -> None:
    before = len(board.data.read_text().splitlines()) if board.data.exists() else 0
    settings = ("--set", f"board_url={board.url}")
    question = "What moved the market today?"
    agent = str(EXAMPLE / "agent.yaml")
    with system.start("run", agent, "--input", question, "--json", *settings) as run:
        approval = waiting(system)
        decided = system.command("approvals", verdict, approval["name"])
        output, _ = run.communicate(timeout=COMMAND_SECONDS)

    posts = len(board.data.read_text().splitlines()) if board.data.exists() else 0
    state = json.loads(output.splitlines()[-1])["end"]["state"]
    assert decided.code == 0, decided.errors
    assert (approval["account"], approval["secret"]) == ("agents/market-brief", "secrets/board-key")
    assert (posts - before, state) == {
        "approve": (1, "STATE_SUCCEEDED"),
        "deny": (0, "STATE_FAILED"),
    }[verdict]
