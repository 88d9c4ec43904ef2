"""Processes that use a vault until they are killed: `python -m tests.keymanager.worker`.

Reads lines `FOLDER SEED FIFO` and forks a process for each, which has all modules loaded already.
Before and after each operation it writes a line into the FIFO.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from chassis.clock import SystemClock
from chassis.errors import ServiceError
from keymanager.database import open_vault_store
from keymanager.secret import Kind
from keymanager.signing import Purpose
from keymanager.store import VaultStore
from keymanager.vault import Vault
from tests.fakes.platform import FakePlatform
from tests.keymanager.vaults import OPERATOR, RUNTIME, sign

CALLERS = 8

Say = Callable[[str], object]


def value_of(name: str, version: int) -> bytes:
    """Return the seed that a version of a secret has."""
    return hashlib.sha256(f"{name}/{version}".encode()).digest()


def open_folder(folder: Path) -> VaultStore:
    """Open the vault of a folder, with a counter beside it."""
    platform = FakePlatform(folder / "counter")
    dice = os.urandom
    return open_vault_store(folder / "data", platform, clock=SystemClock(), random_bytes=dice)[1]


async def work(vault: Vault, seed: int, say: Say) -> None:
    """Put, rotate, sign and shred until killed, while the root is rotated again and again."""
    await asyncio.gather(
        *(
            _call(vault, random.Random(f"{seed}/{caller}"), f"c{caller}", say)
            for caller in range(CALLERS)
        ),
        _rotate(vault, say),
    )


async def _rotate(vault: Vault, say: Say) -> None:
    for turn in itertools.count(vault.sequence):
        await vault.tend()
        await vault.rotate_root(f"root {turn}", by=OPERATOR)
        say("rotated")


async def _call(vault: Vault, dice: random.Random, caller: str, say: Say) -> None:
    for turn in range(1_000_000):
        name = f"secrets/{caller}-{dice.randrange(10**9)}"
        version = 1
        say(f"begin {name} 1")
        await vault.put(
            f"{name}/1", name, Kind.ED25519, value_of(name, 1), generate=False, by=OPERATOR
        )
        say(f"done {name} 1")
        for _ in range(dice.randrange(4)):
            await sign(vault, name, Purpose.REQUEST, b"m", by=RUNTIME)
            say(f"signed {name} {version}")
            version += 1
            say(f"begin {name} {version}")
            await vault.rotate(
                f"{name}/{version}",
                name,
                value_of(name, version),
                generate=False,
                by=OPERATOR,
                grace=timedelta(milliseconds=dice.choice([0, 5, 60_000])),
            )
            say(f"done {name} {version}")
        if turn % 3 == 0:
            say(f"begin {name} 0")
            await vault.shred(name, by=OPERATOR)
            say(f"done {name} 0")


def _run(folder: Path, seed: int, fifo: Path) -> None:
    with fifo.open("w", buffering=1) as told:

        def say(line: str) -> None:
            told.write(line + "\n")

        say("opening")
        try:
            vault = Vault(open_folder(folder))
            say("open")
            asyncio.run(work(vault, seed, say))
        except ServiceError as error:
            say(f"failed {error}")


def main() -> None:
    """Fork for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        folder, seed, fifo = line.split()
        pid = os.fork()
        if pid == 0:
            try:
                _run(Path(folder), int(seed), Path(fifo))
            finally:
                os._exit(1)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
