"""A process that is killed loses nothing that it acknowledged, whatever it was doing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chassis.evidence.checkpoint import verify_checkpoint
from keymanager.errors import SecretNotFound
from keymanager.vault import Vault
from tests.keymanager.vaults import public_key_of
from tests.keymanager.worker import open_folder, value_of

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "keymanager-1"
KILLS = 30
KILLS_SOAK = 170
KILLED_STARTS = 10
KILLED_STARTS_SOAK = 30


@dataclass
class Nursery:
    """Forks processes that use a vault, and kills them."""

    process: subprocess.Popen[str]
    folder: Path
    states: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0

    def run(self, seed: int, *, lines: int) -> list[str]:
        """Let a process work until it wrote so many lines, kill it, return what it wrote."""
        fifo = self.folder / "told"
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.folder} {seed} {fifo}\n")
        self.process.stdin.flush()
        with fifo.open() as told:
            # What a vault warns of would come first, and fail here.
            pid = int(self.process.stdout.readline())
            found = [told.readline() for _ in range(lines)]
            os.kill(pid, signal.SIGKILL)
            found += told.readlines()
        # The kill may have cut the last line.
        return [line.strip() for line in found if line.endswith("\n")]

    def note(self, lines: list[str]) -> None:
        """Remember what was acknowledged, and what was under way."""
        for line in lines:
            verb, *rest = line.split()
            assert verb != "failed", line
            if verb in {"begin", "done"}:
                name, version = rest[0], int(rest[1])
                if verb == "begin":
                    self.unsure[name] = version
                else:
                    self.states[name] = self.unsure.pop(name)
            self.acknowledged += verb in {"done", "signed"}


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.keymanager.worker"]
    (tmp_path / "data").mkdir(mode=0o700)
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Nursery(process, tmp_path)
        process.kill()


async def _check(nursery: Nursery) -> None:
    store = open_folder(nursery.folder)
    vault = Vault(store)
    for name, version in nursery.states.items():
        allowed = {version, nursery.unsure.get(name, version)}
        try:
            secret = vault.describe(name)
        except SecretNotFound:
            found = 0
        else:
            found = secret.version
            public_key = (await vault.public_key(name)).value
            assert public_key == public_key_of(value_of(name, found)), name
        assert found in allowed, (name, found, allowed)
        nursery.states[name] = found
    sequence, seen = 0, 0
    while page := vault.records(after=sequence, limit=1_000):
        sequence = page[-1].record.sequence
        seen += sum(one.record.method != "Start" for one in page)
    assert seen >= nursery.acknowledged
    checkpoint = vault.checkpoint()
    assert checkpoint is not None
    assert verify_checkpoint(checkpoint)
    store._engine.dispose()


@pytest.mark.parametrize("kills", [KILLS, pytest.param(KILLS_SOAK, marks=pytest.mark.soak)])
async def test_kills_lose_nothing_acknowledged(nursery: Nursery, kills: int) -> None:
    dice = random.Random(kills)
    rotations = 0
    for number in range(kills):
        lines = nursery.run(number, lines=dice.randrange(3, 120))
        nursery.note(lines)
        rotations += lines.count("rotated")
        if number % 4 == 3:
            await _check(nursery)
    await _check(nursery)
    assert rotations
    assert nursery.acknowledged > 10 * kills


@pytest.mark.parametrize(
    "kills", [KILLED_STARTS, pytest.param(KILLED_STARTS_SOAK, marks=pytest.mark.soak)]
)
async def test_a_kill_during_the_migration_loses_nothing(nursery: Nursery, kills: int) -> None:
    for number in range(kills):
        shutil.rmtree(nursery.folder / "data")
        (nursery.folder / "counter").unlink(missing_ok=True)
        shutil.copytree(GOLDEN, nursery.folder / "data")
        # Some are killed after a short run, most between the first line and the second.
        nursery.run(number, lines=1 + number % 2)
        store = open_folder(nursery.folder)
        vault = Vault(store)
        assert vault.describe("secrets/old").version == 2
        assert (await vault.public_key("secrets/board")).value == public_key_of(
            bytes(range(32, 64))
        )
        assert not (nursery.folder / "data" / "root.key").exists()
        store._engine.dispose()
