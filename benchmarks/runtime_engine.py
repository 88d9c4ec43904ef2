"""One round of the runtime: the whole engine over peers that answer at once, or the bare journal.

`python benchmarks/runtime_engine.py engine --runs N --place PLACE` prints steps per second and
microseconds of CPU per step, as runtime_peers.py does. A run is five generations, and a call after
each of the first four: nine steps, each with its durable result, besides its begin and its end.
`wait` leaves runs open, and `resume` says how soon the first of them goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import resource
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chassis.clock import SystemClock
from chassis.log import install_log
from runtime.audience import Audience
from runtime.bundles import SealedBundle
from runtime.conductor import Conductor
from runtime.connectors.catalogue import catalogue
from runtime.facts import ActionFinished, State
from runtime.journal.opening import open_journal, open_journal_database
from runtime.journal.port import Entry, Journal, NewRun
from runtime.ports import Generation, Prompt
from runtime.stage import Stage
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import (
    FakeApprovals,
    FakeBundles,
    FakeGasMeter,
    FakeKnowledge,
    FakeModel,
    FakeSigner,
    answer,
    calls,
)
from tests.runtime.worlds import SEARCH, payload

IN_FLIGHT = 32
CALLS = 4
STEPS = 2 * CALLS + 1
# The generation that never ends before the kill.
KILLED_AT = 3
ACCOUNT = "agents/market-brief"


class Model(FakeModel):
    """Calls an action four times, then answers; it waits for ever in step `stuck_at`."""

    def __init__(self, stuck_at: int = 0) -> None:
        super().__init__()
        self._stuck_at = stuck_at

    async def generate(self, prompt: Prompt) -> AsyncGenerator[str | Generation, None]:
        step = len(prompt.messages) // 2
        if step == self._stuck_at:
            await asyncio.Event().wait()
        if step > CALLS:
            yield answer("done")
        else:
            yield calls(("knowledge.search", '{"query":"ether"}'))


def seal() -> SealedBundle:
    """Return the bundle of the agent."""

    def change(content: dict[str, object]) -> None:
        content["actions"] = [SEARCH | {"limits": {"per_run": 0}}]
        content["knowledge"] = []
        content["limits"] = {"steps": CALLS + 1, "seconds": 86_400, "passages": 0}

    return FakeSigner().seal(payload(change))


def stage(journal: Journal, model: FakeModel) -> Stage:
    """Return an engine whose peers are in this process."""
    knowledge, signer = FakeKnowledge(), FakeSigner()
    return Stage(
        journal=journal,
        audience=Audience(),
        clock=SystemClock(),
        bundles=FakeBundles(),
        model=model,
        knowledge=knowledge,
        meter=FakeGasMeter(),
        signer=signer,
        approvals=FakeApprovals(),
        connectors=catalogue(None, knowledge, signer, Internet().egress()),  # type: ignore[arg-type]  # nobody posts
    )


def new_run(sealed: SealedBundle) -> NewRun:
    """Return a run that nobody has asked for yet."""
    name = f"runs/{uuid.UUID(int=random.getrandbits(128), version=4)}"
    return NewRun(name, name, sealed.name, sealed.payload, ACCOUNT, '"Go."', dry_run=False)


async def play(place: str, runs: int) -> dict[str, float]:
    """Return what so many runs take, after a few to warm up."""
    journal, dispose = _open(place)
    conductor = Conductor(stage(journal, Model()))
    await conductor.start()
    sealed = seal()

    async def run() -> None:
        ended = await conductor.ended((await conductor.open(new_run(sealed))).name)
        assert ended.state == State.SUCCEEDED, ended.failure
        assert ended.step_count == CALLS + 1

    await asyncio.gather(*(run() for _ in range(IN_FLIGHT // 4)))
    figures = await _timed(run, runs, steps=STEPS)
    await conductor.stop()
    dispose()
    return figures


async def keep(place: str, runs: int) -> dict[str, float]:
    """Return what the journal takes for as many steps, without an engine."""
    journal, dispose = _open(place)
    sealed, clock = seal(), SystemClock()

    async def run() -> None:
        lease = (await journal.create(new_run(sealed), clock.now())).lease
        assert lease is not None
        for number in range(STEPS):
            fact = ActionFinished(f"step-{number}-1", "knowledge.search", '{"passages":[]}', 0)
            await journal.append(Entry(lease, number + 2, (fact,), clock.now()))

    await asyncio.gather(*(run() for _ in range(IN_FLIGHT // 4)))
    figures = await _timed(run, runs, steps=STEPS)
    dispose()
    return figures


async def wait(place: str, runs: int) -> dict[str, float]:
    """Open runs, bring each as far as its third step, and wait to be killed."""
    journal, _ = _open(place)
    conductor = Conductor(stage(journal, Model(stuck_at=KILLED_AT)))
    await conductor.start()
    sealed = seal()
    names = [(await conductor.open(new_run(sealed))).name for _ in range(runs)]
    while {(await journal.get(name)).step_count for name in names} != {KILLED_AT - 1}:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.1)
    _say({"open": runs})
    await asyncio.Event().wait()
    raise AssertionError


async def resume(place: str, runs: int) -> dict[str, float]:
    """Return how soon the first run goes on, and all of them."""
    start = time.perf_counter()
    journal, dispose = _open(place)
    names = [run.name for run in await journal.newest(runs)]
    assert len(names) == runs, "no run was lost"
    conductor = Conductor(stage(journal, Model()))
    await conductor.start()
    while all(run.step_count < KILLED_AT for run in await journal.newest(runs)):  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.002)
    first = time.perf_counter()
    ended = [await conductor.ended(name) for name in names]
    assert {run.step_count for run in ended} == {CALLS + 1}, "no step was lost or repeated"
    seconds = time.perf_counter() - start
    await conductor.stop()
    dispose()
    after = time.perf_counter() - first
    return {"first_step_s": first - start, "all_s": seconds, "after_first_s": after}


def _open(place: str) -> tuple[Journal, Callable[[], None]]:
    """Open the journal in a folder, or at the URL of a database."""
    is_url = place.startswith("postgresql")
    engine = open_journal_database(Path(place) / "runtime.db", place if is_url else "")
    return open_journal(engine), engine.dispose


async def _timed(run: Callable[[], object], runs: int, *, steps: int) -> dict[str, float]:
    left = iter(range(runs))

    async def caller() -> None:
        for _ in left:
            await run()  # type: ignore[misc]  # a coroutine

    cpu, start = _cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    return {"steps_per_s": runs * steps / seconds, "cpu_us": cpu / (runs * steps) * 1e6}


def _cpu_seconds() -> float:
    """Return what this process has used, with all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _say(figures: dict[str, float]) -> None:
    sys.stdout.write(f"{json.dumps(figures)}\n")
    sys.stdout.flush()


WAYS = {"engine": play, "journal": keep, "wait": wait, "resume": resume}


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=sorted(WAYS))
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--place", required=True, help="a folder, or the URL of a database")
    asked = parser.parse_args()
    install_log("runtime", "info")
    # As every service does.
    gc.freeze()
    _say(uvloop.run(WAYS[asked.way](asked.place, asked.runs)))


if __name__ == "__main__":
    main()
