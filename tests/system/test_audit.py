"""What a real system exports of its audit log verifies, and nothing else does."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actionvm.keymanager.v1 import audit_pb2 as pb
from cli.client import connect_system

from .conftest import EXAMPLE, Board, Done, System, pause

pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Exported:
    """Two exports of one log, the second a while after the first, and the key of the log."""

    system: System
    first: Path
    second: Path
    key: str

    def verify(self, file: Path, *options: str, key: str = "") -> Done:
        """Verify a file as somebody who trusts the key."""
        chosen = ("--key", key or self.key, "--json")
        return self.system.command("audit", "verify", str(file), *chosen, *options)

    def last(self, file: Path) -> int:
        """Return the sequence of the last record of an export."""
        return int(records_of(file)[-1]["sequence"])


def records_of(file: Path) -> list[dict[str, Any]]:
    """Return the records of an export."""
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    return [line["record"] for line in lines if "record" in line]


def export(system: System, file: Path, *, until: str, options: tuple[str, ...] = ()) -> Path:
    """Export the log once it has a checkpoint after a record with a word."""
    while True:
        done = system.command("audit", "export", "-o", str(file), *options)
        assert done.code == 0, done.errors
        if f'"{until}"' in file.read_text():
            return file
        pause()


async def _key(system: System) -> str:
    async with connect_system(system.home) as client:
        found = await client.audit(lambda stub: stub.GetCheckpoint(pb.GetCheckpointRequest()))
    return found.checkpoint.public_key.hex()


@pytest.fixture(scope="module")
def exported(system: System, board: Board, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exports")
    run = ("run", str(EXAMPLE / "agent.yaml"), "--json", "--set", f"board_url={board.url}")
    assert system.command(*run).code == 0
    first = export(system, folder / "first.jsonl", until="keys/receipts")
    assert system.command("secrets", "disable", "board-key").code == 0
    second = export(system, folder / "second.jsonl", until="DisableSecret")
    return Exported(system, first, second, asyncio.run(_key(system)))


def test_an_export_has_every_use_and_verifies(exported: Exported) -> None:
    done = exported.verify(exported.first)
    assert done.code == 0, done.output + done.errors
    records = records_of(exported.first)
    assert [record["sequence"] for record in records] == list(range(1, len(records) + 1))
    uses = {
        (record["caller"], record["secret"]) for record in records if record["method"] == "Sign"
    }
    assert {
        ("assembler", "keys/bundles"),
        ("runtime", "keys/receipts"),
        ("runtime", "secrets/board-key"),
    } <= uses


def test_a_later_export_continues_an_earlier_one(exported: Exported) -> None:
    done = exported.verify(exported.second, "--after", str(exported.first))
    assert done.code == 0, done.output + done.errors
    assert exported.last(exported.second) > exported.last(exported.first)
    assert exported.verify(exported.first, "--after", str(exported.second)).code == 1


def test_an_export_that_starts_late_continues_an_earlier_one(
    exported: Exported, tmp_path: Path
) -> None:
    after = exported.last(exported.first)
    late = export(
        exported.system,
        tmp_path / "late.jsonl",
        until="DisableSecret",
        options=("--after", str(after)),
    )
    assert records_of(late)[0]["sequence"] == after + 1
    done = exported.verify(late, "--after", str(exported.first))
    assert done.code == 0, done.output + done.errors


@pytest.mark.parametrize("place", ["record", "checkpoint", "end"])
def test_an_export_that_was_changed_is_refused(
    exported: Exported, tmp_path: Path, place: str
) -> None:
    lines = exported.second.read_bytes().splitlines(keepends=True)
    number = max(i for i, line in enumerate(lines) if place in json.loads(line))
    changed = json.loads(lines[number])
    if place == "record":
        changed["record"]["caller"] = "somebody"
    else:
        changed["signature"] = bytes(64).hex()
    line = json.dumps(changed, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    lines[number] = line.encode() + b"\n"
    forged = tmp_path / "forged.jsonl"
    forged.write_bytes(b"".join(lines))
    done = exported.verify(forged)
    assert done.code == 1, done.output + done.errors


def test_an_export_of_another_key_is_refused(exported: Exported) -> None:
    assert exported.verify(exported.first, key="8a" * 32).code == 1
