"""How fast and how small the sandbox is, beside Python in bubblewrap: `make bench NAME=sandbox`.

Prints one line of JSON per figure. All calls go through the pool to one worker in its jail, each in
a fresh instance. The peer starts `python -I` in bubblewrap for each call, without our other layers,
or without bubblewrap where that is missing, and says so; both take turns in each round. Values are
medians over the rounds, and a ratio is the median of the ratios of each round. CPU time is that of
the worker and of the process that calls it; it tells more than the clock on a busy machine. By the
clock, a worker makes the instance of the next call while another call executes, if there is a core
for it; what all of that takes is counted with both processes on one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop

from benchmarks.lines import write_line
from chassis.canonical import Json
from sandbox import jail
from sandbox.launch import WorkerProcess, start_worker
from sandbox.limits import Limits
from sandbox.outcome import Outcome
from sandbox.pool import Pool
from sandbox.ports import Answer, Asked, Code, Order

SPEEDUP_MIN = 20.0
CALLS_PER_CPU_S_MIN = 250.0
HOST_CALL_US_MAX = 200.0
ALIVE, ALIVE_MB_MAX = 200, 400.0
HOST_CALLS = 500
# The same for both.
BODY = "return {'words': len(text.split()), 'text': text.upper()}"
ARGUMENTS = {"text": "a fresh instance for each call"}
HEAD = "from actionvm_sdk import Context, action\n\n@action\n"
COLD = Code("act.py", {"act.py": f"{HEAD}def act(ctx: Context, text: str) -> dict:\n    {BODY}\n"})
ASKS = Code(
    "act.py",
    {
        "act.py": f"{HEAD}def act(ctx: Context, count: int) -> int:\n"
        "    for number in range(count):\n        ctx.call('a.b', number=number)\n"
        "    return count\n"
    },
)
PEER = """
import json, sys
source, arguments = json.load(sys.stdin)
names = {}
exec(compile(source, "act.py", "exec"), names)
print(json.dumps(names["act"](**arguments)))
"""
PEER_SOURCE = f"def act(text):\n    {BODY}\n"
LIMITS = Limits(fuel=10**12, host_calls=10**6)


class Answering:
    """A host that answers at once."""

    def begin(self) -> None:
        """Forget nothing, since nothing is known."""

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        """Answer."""
        return [Answer({"ok": True})] * len(calls)

    def now(self) -> float:
        """Return the time."""
        return 0.0


class Waiting(Answering):
    """A host that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        """Answer late."""
        self.asked.release()
        await self.go_on.wait()
        return await super().ask(calls)


@dataclass(frozen=True)
class Memory:
    """Megabytes: its own, and those of files; who maps a page of a file again has it again."""

    own: float
    files: float


@dataclass
class Worker:
    """One worker, and the pool that it is alone in."""

    pool: Pool
    process: WorkerProcess

    async def call(
        self, code: Code, arguments: Mapping[str, Json], host: Answering | None = None
    ) -> Outcome:
        """Execute an action, which must return."""
        order = Order("act", arguments, 1, LIMITS)
        outcome = await self.pool.execute(code, order, host or Answering())
        assert outcome.reason is None, outcome
        return outcome

    def cpu_seconds(self) -> float:
        """Return the time that this process and the worker have computed."""
        spent = ((task / "schedstat").read_text() for task in tasks(self.pid))
        nanoseconds = sum(int(text.split()[0]) for text in spent)
        return nanoseconds / 1e9 + time.process_time()

    @contextmanager
    def on_one_core(self) -> Iterator[None]:
        """Have both processes share a core."""
        threads = [int(task.name) for pid in (self.pid, os.getpid()) for task in tasks(pid)]
        cores = os.sched_getaffinity(0)
        for thread in threads:
            os.sched_setaffinity(thread, {min(cores)})
        try:
            yield
        finally:
            for thread in threads:
                os.sched_setaffinity(thread, cores)

    def memory_mb(self) -> Memory:
        """Return what is resident of the worker, with the runner that it has mapped."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        kinds = (int(values[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
        return Memory(*kinds)

    @property
    def pid(self) -> int:
        """Return its number, behind bubblewrap."""
        pid = self.process.pid
        while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pid = int(children[-1])
        return pid


def tasks(pid: int) -> Iterator[Path]:
    """Return the threads of a process."""
    return Path(f"/proc/{pid}/task").iterdir()


@asynccontextmanager
async def working(runner: Path | None, sessions: int = 16) -> AsyncIterator[Worker]:
    """Start a worker, and have it execute once."""
    process = await start_worker(sessions, runner=runner)

    async def start() -> WorkerProcess:
        return process

    pool = Pool(start, workers=1, sessions=sessions)
    try:
        worker = Worker(pool, process)
        await worker.call(COLD, ARGUMENTS)
        yield worker
    finally:
        await pool.close()


@dataclass(frozen=True)
class Costs:
    """Of one call, in milliseconds: by the clock, and of processors."""

    wall: float
    cpu: float


async def measure_calls(worker: Worker, count: int) -> Costs:
    """Return the median by the clock of calls, one after the other, and their processor time."""
    walls, cpu = [], worker.cpu_seconds()
    for _ in range(count):
        start = time.perf_counter()
        await worker.call(COLD, ARGUMENTS)
        walls.append(time.perf_counter() - start)
    return Costs(statistics.median(walls) * 1e3, (worker.cpu_seconds() - cpu) / count * 1e3)


def measure_peer(command: Sequence[str], count: int) -> float:
    """Return the median milliseconds of processes; what they compute, bubblewrap hides."""
    walls = []
    given = json.dumps([PEER_SOURCE, ARGUMENTS]).encode()
    for _ in range(count):
        start = time.perf_counter()
        done = subprocess.run(command, input=given, capture_output=True, check=True, env={})
        walls.append(time.perf_counter() - start)
        assert json.loads(done.stdout)["words"], "it computes the same"
    return statistics.median(walls) * 1e3


async def measure_host_calls(worker: Worker) -> Costs:
    """Return what a call of the host costs, one after the other in one execution."""
    host = Answering()
    start, cpu = time.perf_counter(), worker.cpu_seconds()
    await worker.call(ASKS, {"count": 0}, host)
    empty, empty_cpu = time.perf_counter() - start, worker.cpu_seconds() - cpu
    start, cpu = time.perf_counter(), worker.cpu_seconds()
    await worker.call(ASKS, {"count": HOST_CALLS}, host)
    wall, used = time.perf_counter() - start - empty, worker.cpu_seconds() - cpu - empty_cpu
    return Costs(wall / HOST_CALLS * 1e3, used / HOST_CALLS * 1e3)


async def measure_alive(runner: Path | None) -> tuple[float, float]:
    """Return the memory of a worker before, and while many executions wait in it.

    Instances share the pages of the runner, which the kernel counts for each: here, for one.
    """
    async with working(runner, ALIVE) as worker:
        # Each thread has executed something, and keeps what it needs for it.
        await asyncio.gather(*(worker.call(COLD, ARGUMENTS) for _ in range(ALIVE)))
        before, host = worker.memory_mb(), Waiting()
        tasks = [asyncio.create_task(worker.call(ASKS, {"count": 1}, host)) for _ in range(ALIVE)]
        async with asyncio.timeout(60):
            for _ in tasks:
                await host.asked.acquire()
        alive = worker.memory_mb()
        host.go_on.set()
        await asyncio.gather(*tasks)
    return before.own + before.files, alive.own + before.files


async def measure_spawn(runner: Path | None) -> float:
    """Return the milliseconds until a worker has executed its first call."""
    start = time.perf_counter()
    async with working(runner):
        return (time.perf_counter() - start) * 1e3


def peer() -> tuple[str, list[str]]:
    """Return what we compare with, and how it is started."""
    survey = jail.survey()
    python = str(Path(sys.base_prefix) / "bin" / "python3")
    argv = [python, "-I", "-c", PEER]
    readable = jail.interpreter_paths()
    command = jail.command(survey, argv, readable=readable, descriptors=())
    return "python_in_bubblewrap" if survey.bubblewrap else "python_without_bubblewrap", command


async def measure(rounds: int, calls: int, runner: Path | None) -> None:
    """Measure everything."""
    name, command = peer()
    ours, together, theirs, hosts = [], [], [], []
    async with working(runner) as worker:
        await measure_host_calls(worker)
        await asyncio.to_thread(measure_peer, command, 3)
        for _ in range(rounds):
            ours.append(await measure_calls(worker, calls))
            with worker.on_one_core():
                together.append(await measure_calls(worker, calls // 4))
            theirs.append(await asyncio.to_thread(measure_peer, command, calls // 10))
            hosts.append(await measure_host_calls(worker))
    spawns = [await measure_spawn(runner) for _ in range(rounds)]
    before, alive = await measure_alive(runner)
    report_calls(name, ours, theirs)
    cpu = statistics.median(one.cpu for one in together)
    write_line(
        figure="cold_calls_per_cpu_s", value=1e3 / cpu, unit="calls/s", goal=CALLS_PER_CPU_S_MIN
    )
    write_line(
        figure="host_call_us",
        value=statistics.median(one.wall for one in hosts) * 1e3,
        cpu_us=statistics.median(one.cpu for one in hosts) * 1e3,
        unit="us",
        goal=HOST_CALL_US_MAX,
    )
    write_line(figure="alive_200_mb", value=alive, before_mb=before, unit="MB", goal=ALIVE_MB_MAX)
    write_line(figure="instance_mb", value=(alive - before) / ALIVE, unit="MB")
    write_line(figure="spawn_ms", value=statistics.median(spawns), unit="ms")


def report_calls(name: str, ours: Sequence[Costs], theirs: Sequence[float]) -> None:
    """Print what a call costs, beside a process."""
    pairs = list(zip(ours, theirs, strict=True))
    write_line(
        figure="cold_call_p50_ms",
        value=statistics.median(one.wall for one in ours),
        cpu_ms=statistics.median(one.cpu for one in ours),
        unit="ms",
        peer=name,
        peer_value=statistics.median(theirs),
        ratio=statistics.median(other / one.wall for one, other in pairs),
        goal=SPEEDUP_MIN,
    )


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 30 seconds")
    parser.add_argument("--runner", type=Path, help="another runner than the installed one")
    asked = parser.parse_args()
    # Together fewer than one worker executes before it is replaced.
    rounds, calls = (3, 50) if asked.quick else (7, 100)
    uvloop.run(measure(rounds, calls, asked.runner))


if __name__ == "__main__":
    main()
