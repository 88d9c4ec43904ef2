"""Kills the runtime while an agent waits for another: one run answers, posts once, is paid once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import EXAMPLE, Board, System

pytestmark = pytest.mark.system

BOSS = """
apiVersion: actionvm/v1
kind: Agent
metadata: {name: editor, version: 1.0.0, description: Has a brief written}
spec:
  model: {use: local/babbler, temperature: 0.7, seed: 4, tokens_max: 160}
  instructions: Have a market brief written, then say in one sentence what came of it.
  actions:
    - {use: "agent:market-brief", limits: {per_run: 1}, required: true}
  budget: {gas: 50000, per: day}
  limits: {steps: 8, timeout: 2m}
"""


@pytest.mark.parametrize("event", ["decided", "sent", "acted"])
def test_a_call_of_an_agent_survives_a_crash(
    system: System, board: Board, tmp_path: Path, event: str
) -> None:
    system.settle("runtime")
    callee = str(EXAMPLE / "agent.yaml")
    assembled = system.command("assemble", callee, "--set", f"board_url={board.url}")
    assert assembled.code == 0, assembled.errors
    manifest = tmp_path / "editor.yaml"
    manifest.write_text(BOSS)
    documents = []
    with system.start("run", str(manifest), "--input", "What moved?", "--json") as process:
        assert process.stdout is not None
        for line in process.stdout:
            documents.append(json.loads(line))
            if event in documents[-1].get("event", {}):
                system.kill("runtime")

    end = documents[-1]["end"]
    events = [document["event"] for document in documents if "event" in document]
    (called,) = [event["sent"]["run"] for event in events if "sent" in event]
    listed = system.command("runs", "--json", "--limit", "1000").document["runs"]
    assert end["state"] == "STATE_SUCCEEDED", end
    assert [run["name"] for run in listed if run["parent"] == end["run"]] == [called]
    assert len(board.posts_of(called)) == 1

    shown = system.command("show", end["run"], "--json").document
    (below,) = shown["called"]
    cost = {charge["item"]: charge["gas"] for charge in shown["receipt"]["charges"]}
    assert (
        cost[f"agent market-brief/{called.removeprefix('runs/')}"] == below["receipt"]["total_gas"]
    )
    assert shown["receipt_verified"]
    assert below["receipt_verified"]
