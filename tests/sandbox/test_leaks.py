"""Good and hostile calls, many of them, leave nothing behind in a worker or in its host."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from sandbox.launch import WorkerProcess, start_worker
from sandbox.pool import Pool
from sandbox.ports import Answer, Asked, Suspended
from tests.sandbox.test_lost_workers import status_of
from tests.sandbox.worlds import RecordingHost, acting, execute

# What two calls leave in caches and in the holes of an allocator, not what many calls leak.
GROWTH_KIB_MAX = 4_096
CALLS = (
    "return 1",
    "return [ctx.call('a.b', n=n) for n in range(3)]",
    "print('x' * 1_000_000)",
    "raise ValueError('x' * 100_000)",
    "while True: pass",
    "x = []\nwhile True: x.append(bytes(1_000_000))",
    "return 'x' * 1_000_000",
    "ctx.call('a.b', x='y' * 2_000_000)",
    "while True: ctx.call('a.b')",
    "__import__('time').sleep(1)",
    "f = lambda: f()\nreturn f()",
    "return {'x': 2**400}",
    "def",
    "ctx.call('drop.it')",
)


class Dropping(RecordingHost):
    """A host that has some executions dropped."""

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        if calls[0].action == "drop.it":
            raise Suspended
        return await super().ask(calls)


@dataclass(frozen=True)
class Held:
    """What is held: kibibytes of a worker, its threads, kibibytes and descriptors of the host."""

    worker: int
    threads: int
    host: int
    descriptors: int


def _held(process: WorkerProcess) -> Held:
    gc.collect()
    worker = status_of(process)
    own = Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]
    return Held(
        worker=int(worker["RssAnon"].split()[0]),
        threads=int(worker["Threads"]),
        host=int(own),
        descriptors=len([*Path("/proc/self/fd").iterdir()]),
    )


@pytest.mark.parametrize("count", [140, pytest.param(2_000, marks=pytest.mark.soak)])
async def test_calls_leave_nothing_behind(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.pool.EXECUTIONS_MAX", 10 * count)
    started: list[WorkerProcess] = []

    async def start() -> WorkerProcess:
        started.append(await start_worker())
        return started[-1]

    async def execute_some(calls: int) -> None:
        for body in islice(cycle(CALLS), calls):
            with suppress(Suspended):
                await execute(pool, acting(body), host=Dropping(), fuel=300_000_000)

    pool = Pool(start, workers=1)
    await execute_some(len(CALLS) * 4)
    before = _held(started[0])
    await execute_some(count)
    after = _held(started[0])
    await pool.close()
    assert len(started) == 1
    assert (after.threads, after.descriptors) == (before.threads, before.descriptors)
    assert after.worker - before.worker < GROWTH_KIB_MAX
    assert after.host - before.host < GROWTH_KIB_MAX
