"""Puts documents until it is killed, and says each time what it was told."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from tests.knowledge.stores import open_store, put


def text_of(number: int, version: int) -> str:
    """Return a text with a few passages, whose words tell number and version."""
    return "\n\n".join(f"number{number} version{version} " + "and more. " * 50 for _ in range(4))


def main() -> None:
    """Write into the file that is named; every third document replaces an earlier one."""
    store = open_store(Path(sys.argv[1]))
    for step in itertools.count():
        number, version = (step // 3, 2) if step % 3 == 0 else (step, 1)
        put(store, f"{number:04}.md", text_of(number, version))
        sys.stdout.write(f"{number} {version}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
