"""A runtime dies by SIGKILL at every point of every scene: nothing is lost, nothing comes twice.

The points are not drawn: a first pass writes down all that it comes by, before and after each call
of the journal and of the ports, and each of them gets a process that dies there.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.facts import ActionFinished, Event, GenerationFinished, RunFinished
from runtime.journal.port import Record
from tests.runtime import dying
from tests.runtime.dying import SCENES, FileBoard
from tests.runtime.worlds import World

# Scenes of every day; `make soak` plays all of them.
SHORT = ("acts", "acts in parallel", "asks a person", "waits for a signal", "executes code")
TRIES_MAX = 5
# A process is a copy of one that has imported everything.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.runtime.dying"])


@pytest.mark.parametrize(
    "scene",
    [pytest.param(scene, marks=() if scene in SHORT else pytest.mark.soak) for scene in SCENES],
)
def test_a_kill_at_any_point_loses_no_step_and_repeats_no_effect(
    tmp_path: Path, scene: str
) -> None:
    start = tmp_path / "start"
    assert _process(dying.prepare, start, scene) == 0
    points, expected = _dry_pass(start, tmp_path / "dry", scene)
    assert len(points) == len(set(points)) > 30
    for number, point in enumerate(points):
        folder = _killed(start, tmp_path / str(number), scene, point)
        before = _journals(folder)
        assert _process(dying.play, folder, scene) == 0, point
        after = _journals(folder)

        for run, records in before.items():
            assert after[run][: len(records)] == records, point
        assert _outcome(folder) == expected, point


def _killed(start: Path, folder: Path, scene: str, point: str) -> Path:
    """Return a copy of a folder in which a process has died at a point.

    How often a run looks for notes depends on when they come, so it may have another try.
    """
    for number in range(TRIES_MAX):
        again = shutil.copytree(start, folder / str(number))
        if _process(dying.play, again, scene, point) == -signal.SIGKILL:
            return again
    raise AssertionError(f"{point} was not reached")


def _dry_pass(start: Path, folder: Path, scene: str) -> tuple[list[str], object]:
    """Return every point of a scene, and what it comes to."""
    shutil.copytree(start, folder)
    assert _process(dying.play, folder, scene) == 0
    points: list[str] = json.loads((folder / "points.json").read_text())
    return points, _outcome(folder)


def _outcome(folder: Path) -> object:
    """Return how each run ended, each of its steps and results, and what arrived at the board."""
    arrived = [key for key, _ in FileBoard(folder / "board.jsonl").posts()]
    assert len(arrived) == len(set(arrived)), "an effect happened twice"
    runs = [
        (run, sorted(step for record in records for step in _steps(record.event)))
        for run, records in sorted(_journals(folder).items())
    ]
    return runs, sorted(arrived)


def _steps(event: Event) -> list[tuple[str, str]]:
    """Return what must be there exactly once, and the same."""
    match event:
        case GenerationFinished(step=step, text=text):
            return [(f"step {step}", text)]
        case ActionFinished(call_id=call, result=result):
            return [(call, result)]
        case RunFinished(outcome=outcome):
            return [(outcome.state, outcome.answer)]
        case _:
            return []


def _journals(folder: Path) -> dict[str, list[Record]]:
    return asyncio.run(_read(World(folder)))


async def _read(world: World) -> dict[str, list[Record]]:
    runs = await world.journal.newest(100)
    journals = {run.name: await world.journal.events(run.name) for run in runs}
    world.engine.dispose()
    return journals


def _process(work: Callable[..., None], folder: Path, *scene: str) -> int | None:
    """Return how a process ended that did some work in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    process = _PROCESSES.Process(target=work, args=(folder, *scene))
    process.start()
    process.join(60)
    return process.exitcode
