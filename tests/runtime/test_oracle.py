"""DBOS as an oracle: an agent of ten steps is killed at each of them, there and here.

For every place there is a run that stops at it; then the process dies by SIGKILL, and the next one
brings all to their end. What is done again must be the same in both. It needs the peers of
`make bench NAME=runtime`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import uuid
from collections.abc import Sequence
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import cast

import pytest

from chassis.clock import SystemClock
from runtime.bundles import read_program
from runtime.conductor import Conductor
from runtime.facts import Passage, State
from runtime.journal.port import NewRun
from runtime.ports import Generation, Prompt
from tests.fakes.runtime_ports import FakeKnowledge, FakeModel, answer, calls
from tests.runtime.worlds import SEARCH, FakeClock, World

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 10
PLACES = [f"{side} {step}" for step in range(1, STEPS + 1) for side in ("before", "after")]
_PROCESSES = multiprocessing.get_context("forkserver")


def test_what_is_done_again_after_a_kill_is_the_same_as_in_dbos(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    _kill_and_resume_dbos(theirs)
    _kill_and_resume_ours(ours)
    expected = {place: _effects(theirs, place) for place in PLACES}
    assert expected["after 5"] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]
    assert {place: _effects(ours, place) for place in PLACES} == expected


def _effects(folder: Path, place: str) -> list[int]:
    return [int(line) for line in (folder / place.replace(" ", "-")).read_text().split()]


def _kill_and_resume_dbos(folder: Path) -> None:
    environment = os.environ  # noqa: TID251  # as in `install-runtime-peers`
    caches = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(environment.get("ACTIONVM_CACHE") or f"{caches}/actionvm")
    python = cache / "runtime-peers/bin/python"
    if not python.exists():
        pytest.skip("DBOS is not installed: run `make bench-runtime-peers`")
    command = [str(python), str(ROOT / "benchmarks/runtime_oracle_dbos.py"), str(folder)]
    with subprocess.Popen([*command, "stay"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert any(line == "stopped\n" for line in first.stdout)
        first.kill()
    second = subprocess.run([*command, "go"], check=True, capture_output=True, text=True)
    results = json.loads(second.stdout.splitlines()[-1])
    assert results == dict.fromkeys(PLACES, sum(range(STEPS + 1)))


def _kill_and_resume_ours(folder: Path) -> None:
    stopped = _PROCESSES.Semaphore(0)
    first = _PROCESSES.Process(target=_play, args=(folder, stopped))
    first.start()
    for _ in PLACES:
        assert stopped.acquire(timeout=60)
    first.kill()
    first.join()
    second = _PROCESSES.Process(target=_play, args=(folder, None))
    second.start()
    second.join(60)
    assert second.exitcode == 0


class Effects(FakeKnowledge):
    """A search adds a line; at its place it waits for the kill, if there is one."""

    def __init__(self, folder: Path, stopped: Semaphore | None) -> None:
        super().__init__()
        self._folder, self._stopped = folder, stopped

    async def search(
        self, collections: Sequence[str], query: str, passages_max: int
    ) -> tuple[Passage, ...]:
        place, _, step = query.rpartition(" ")
        await self._stay_at(place, f"before {step}")
        with (self._folder / place.replace(" ", "-")).open("a") as effects:
            effects.write(f"{step}\n")
        await self._stay_at(place, f"after {step}")
        return ()

    async def _stay_at(self, place: str, here: str) -> None:
        if self._stopped and place == here:
            self._stopped.release()
            await asyncio.Event().wait()


def _acts(prompt: Prompt) -> Generation:
    """Take ten steps, then answer."""
    step = len(prompt.messages) // 2
    place = prompt.messages[1].text
    if step > STEPS:
        return answer("done")
    return calls(("knowledge.search", json.dumps({"query": f"{place} {step}"})))


def _play(folder: Path, stopped: Semaphore | None) -> None:
    asyncio.run(_conduct(folder, stopped))


async def _conduct(folder: Path, stopped: Semaphore | None) -> None:
    effects = Effects(folder, stopped)
    clock = cast("FakeClock", SystemClock())
    world = World(folder, model=FakeModel(_acts), knowledge=effects, clock=clock)

    def change(content: dict[str, object]) -> None:
        content["actions"] = [SEARCH | {"limits": {"per_run": 0}}]
        content["limits"] = {"steps": STEPS + 1, "seconds": 3_600, "passages": 0}

    sealed = world.seal(change)
    conductor = Conductor(world.stage())
    await conductor.start()
    names = [f"runs/{uuid.uuid5(uuid.NAMESPACE_OID, place)}" for place in PLACES]
    for name, place in zip(names, PLACES, strict=True):
        account = read_program(sealed.payload).account
        new = NewRun(
            name, name, sealed.name, sealed.payload, account, json.dumps(place), dry_run=False
        )
        await conductor.open(new)
    for name in names:
        run = await conductor.ended(name)
        assert (run.state, run.step_count) == (State.SUCCEEDED, STEPS + 1)
    await conductor.stop()
