"""What was acknowledged is there after a kill, and whatever is there is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine

from runtime.journal.opening import open_journal
from runtime.journal.stored import StoredJournal
from tests.runtime.worlds import START

from .writing import EVENTS, new_run, written

ROOT = Path(__file__).resolve().parents[3]


async def test_nothing_acknowledged_is_lost_when_a_writer_is_killed(
    journal: StoredJournal, engine: Engine, tmp_path: Path
) -> None:
    is_file = engine.dialect.name == "sqlite"
    url = "" if is_file else engine.url.render_as_string()
    told = [
        line
        for lines in (40, 137, 400)
        for line in write_and_kill(tmp_path / "runtime.db", url, lines=lines)
    ]
    last = dict[int, int]()
    for number, sequence in (map(int, line.split()) for line in told):
        last[number] = max(sequence, last.get(number, 0))
    for number, sequence in last.items():
        records = await journal.events(new_run(number).name)
        assert len(records) >= sequence
        assert [record.sequence for record in records] == [*range(1, len(records) + 1)]
        assert [record.event for record in records][1:] == [
            written(place) for place in range(2, len(records) + 1)
        ]
        run = await journal.get(new_run(number).name)
        assert (run.sequence, run.gas) == (len(records), len(records) - 1)
        assert len(records) <= EVENTS


async def test_every_run_of_a_killed_worker_is_taken_up(engine: Engine, tmp_path: Path) -> None:
    url = "" if engine.dialect.name == "sqlite" else engine.url.render_as_string()
    write_and_kill(tmp_path / "runtime.db", url, lines=50)
    again = open_journal(engine)
    leases = await again.claim(START, seconds=5, limit=1_000)
    assert [lease.run for lease in leases] == [
        run.name for run in (await again.newest(1_000))[::-1]
    ]


def write_and_kill(path: Path, url: str, *, lines: int) -> list[str]:
    """Return the lines that a writer wrote before it was killed."""
    command = [sys.executable, "-m", "tests.runtime.journal.writing", str(path), url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    # The kill may have cut the last line.
    whole = [line for line in told if line.endswith("\n")]
    assert len(whole) >= lines
    return whole
