"""Kills a process while the example runs: the run finishes, the board has one post, not two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from chassis.clock import SystemClock

from .conftest import EXAMPLE, Board, System

pytestmark = pytest.mark.system

CRASHES = [
    ("runtime", "started"),
    ("gas", "started"),
    ("linker", "started"),
    ("runtime", "generated"),
    ("keymanager", "generated"),
    ("assembler", "started"),
    ("runtime", "decided"),
    ("knowledge", "started"),
    ("gas", "generated"),
    ("runtime", "sent"),
    ("linker", "generated"),
    ("keymanager", "sent"),
    ("runtime", "acted"),
    ("gas", "acted"),
]


@pytest.mark.parametrize(("service", "event"), CRASHES, ids=map("-".join, CRASHES))
def test_a_run_survives_a_crash(system: System, board: Board, service: str, event: str) -> None:
    assert system.up().code == 0
    # Tests that kill one service in a row must not look like a service that cannot start.
    system.settle(service)
    process = system.start(
        *("run", str(EXAMPLE / "agent.yaml"), "--input", "What moved?", "--json"),
        *("--set", f"board_url={board.url}"),
    )
    documents = []
    killed: datetime | None = None
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            document = json.loads(line)
            documents.append(document)
            if killed is None and event in document.get("event", {}):
                killed = SystemClock().now()
                system.kill(service)

    end = documents[-1]["end"]
    assert killed is not None, f"the run has an event of every kind: {documents}"
    if event == "started":
        # Later kills may come after the end on a slow machine; this one must not.
        assert killed < _end_time(documents)
    assert end["state"] == "STATE_SUCCEEDED", end
    assert end["receipt_verified"]
    assert len(board.posts_of(end["run"])) == 1
    assert process.returncode == 0


def _end_time(documents: Sequence[Any]) -> datetime:
    """Return when the run ended, by the clock that tells this process the time as well."""
    events = [document["event"] for document in documents if "event" in document]
    return datetime.fromisoformat(events[-1]["create_time"])


def test_every_event_is_shown_once_and_in_order(system: System, board: Board) -> None:
    done = system.command(
        *("run", str(EXAMPLE / "agent.yaml"), "--json", "--set", f"board_url={board.url}")
    )

    events = [document["event"] for document in done.documents if "event" in document]
    sequences = [event["sequence"] for event in events if event["sequence"]]
    assert sequences == list(range(1, len(sequences) + 1))


def test_a_dry_run_posts_nothing(system: System, board: Board) -> None:
    done = system.command(
        *("run", str(EXAMPLE / "agent.yaml"), "--dry-run", "--json"),
        *("--set", f"board_url={board.url}"),
    )

    assert not board.posts_of(done.documents[-1]["end"]["run"])


def test_lines_and_json_tell_of_the_same_run(system: System, board: Board) -> None:
    done = system.command("run", str(EXAMPLE / "agent.yaml"), "--set", f"board_url={board.url}")
    (run,) = [line.split()[-1] for line in done.output.splitlines() if "look closer" in line]

    shown = system.command("show", run, "--json").document

    assert done.code == 0, done.output
    assert shown["run"]["state"] == "STATE_SUCCEEDED"
    assert f"{shown['receipt']['total_gas']}" in done.output


def test_the_demo_runs_on_a_system_that_is_up_and_leaves_it_up(system: System) -> None:
    assert system.up().code == 0
    before = system.state

    done = system.command("demo")

    assert done.code == 0, done.errors
    assert "posts on the board: 1" in done.output
    assert f"actionvm --home {system.home.folder} down" in done.output
    assert system.state == before
