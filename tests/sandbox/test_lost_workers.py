"""Workers that are killed: what they executed is executed again, once, from its start."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from sandbox.jail import survey
from sandbox.launch import WorkerProcess, start_worker
from sandbox.outcome import Reason
from sandbox.pool import Pool
from sandbox.ports import Answer, Asked
from tests.sandbox.worlds import RecordingHost, acting, execute

ASKS_THRICE = acting('return [ctx.call("a.b", n=n)["asked"] for n in range(3)]')


class Started:
    """Starts workers, and knows them."""

    def __init__(self) -> None:
        self.workers: list[WorkerProcess] = []

    async def start(self) -> WorkerProcess:
        self.workers.append(await start_worker())
        return self.workers[-1]

    def kill(self) -> None:
        """Send SIGKILL to the last worker itself, not to the bars around it."""
        os.kill(worker_pid(self.workers[-1]), signal.SIGKILL)


class KillingHost(RecordingHost):
    """A host in whose answer the worker dies, so many times."""

    def __init__(self, started: Started, times: int) -> None:
        super().__init__()
        self._started = started
        self._times = times

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        answers = await super().ask(calls)
        if calls[0].arguments["n"] == 1 and self._times:
            self._times -= 1
            self._started.kill()
        return answers


def status_of(process: WorkerProcess) -> dict[str, str]:
    """Return what the kernel says of a worker."""
    lines = Path(f"/proc/{worker_pid(process)}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def worker_pid(process: WorkerProcess) -> int:
    """Return the number of the worker: the last of those that bubblewrap starts, if it is there."""
    pid = process.pid
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[-1])
    return pid


@pytest.fixture
async def started() -> Started:
    return Started()


@pytest.fixture
async def pool(started: Started) -> AsyncIterator[Pool]:
    pool = Pool(started.start, workers=1)
    yield pool
    await pool.close()


async def test_an_execution_whose_worker_is_killed_starts_again(
    pool: Pool, started: Started
) -> None:
    host = KillingHost(started, times=1)
    assert (await execute(pool, ASKS_THRICE, host=host)).value == ["a.b"] * 3
    assert [one.arguments["n"] for one in host.asked] == [0, 1, 0, 1, 2]
    assert (host.begun_count, len(started.workers)) == (2, 2)


async def test_an_execution_whose_worker_is_killed_again_is_lost(
    pool: Pool, started: Started
) -> None:
    host = KillingHost(started, times=2)
    outcome = await execute(pool, ASKS_THRICE, host=host)
    assert (outcome.reason, len(host.asked)) == (Reason.WORKER_LOST, 4)
    assert (await execute(pool, acting("return 1"))).value == 1


async def test_a_worker_is_behind_the_bars_that_this_machine_has(
    pool: Pool, started: Started
) -> None:
    await execute(pool, acting("return 1"))
    found = status_of(started.workers[0])
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == ("2" if survey().seccomp else "0")


async def test_a_worker_that_has_done_enough_is_replaced_under_load(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.pool.EXECUTIONS_MAX", 10)
    pool = Pool(started.start, workers=1)
    what = acting("return 1")

    async def execute_on() -> None:
        for _ in range(10):
            assert (await execute(pool, what)).value == 1

    await asyncio.gather(*(execute_on() for _ in range(3)))
    await pool.close()
    assert len(started.workers) == 3
