"""A process that writes until it is killed: `python -m tests.runtime.journal.writing PATH [URL]`.

It says what was acknowledged, one line per answer: the number of a run, and a sequence.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from runtime.facts import GenerationFinished
from runtime.journal.opening import open_journal, open_journal_database
from runtime.journal.port import Entry, NewRun
from tests.runtime.worlds import START

WRITERS, EVENTS = 16, 5


def new_run(number: int) -> NewRun:
    """Return a run with a number."""
    name = f"runs/{number:08}-0000-4000-8000-000000000000"
    return NewRun(name, str(number), "bundles/1", b"{}", "agents/a", '""', dry_run=False)


def written(sequence: int) -> GenerationFinished:
    """Return the event of a sequence."""
    return GenerationFinished(sequence, "hello", (), (), gas=1)


async def write(path: Path, url: str) -> None:
    """Write runs of some events each, from several callers at once."""
    journal, numbers = open_journal(open_journal_database(path, url)), count()
    # Enough for every number of this process.
    first = len(await journal.newest(1_000_000)) + WRITERS

    async def writer() -> None:
        for number in numbers:
            lease = (await journal.create(new_run(first + number), START)).lease
            assert lease is not None, "it is new"
            say(f"{first + number} 1")
            for sequence in range(2, EVENTS + 1):
                await journal.append(Entry(lease, sequence, (written(sequence),), START))
                say(f"{first + number} {sequence}")

    await asyncio.gather(*(writer() for _ in range(WRITERS)))


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
