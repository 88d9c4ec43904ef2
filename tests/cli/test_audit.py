"""Tests of the offline check of an exported audit log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chassis.evidence.logs import Bench, bench

from .conftest import Invoke

LOG = bench(3, 3, 2)


def write(path: Path, owner: Bench = LOG, *, last: int | None = None) -> str:
    path.write_bytes(b"".join(owner.export(last=last)))
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write(tmp_path / "audit.jsonl")


def test_a_genuine_export_is_verified_without_a_system(
    invoke: Invoke, file: str, tmp_path: Path
) -> None:
    nowhere = ("--home", str(tmp_path / "none"))

    result = invoke(*nowhere, "audit", "verify", file, "--key", LOG.key.hex(), "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "verified": True,
        "flaw": "",
        "file": file,
        "line": 13,
        "key_trusted": True,
        "ledger": "ledger-1",
        "key": LOG.key.hex(),
        "first": 1,
        "records": 8,
        "checkpoints": 3,
        "size": 8,
        "root": LOG.states[8].root.hex(),
        "head": LOG.states[8].head.hex(),
        "counter": 3,
        "time": "2026-01-31T12:00:02.000000Z",
    }


def test_people_read_what_was_verified(invoke: Invoke, file: str) -> None:
    told = invoke("audit", "verify", file, "--key", LOG.key.hex()).stdout

    assert "records      8" in told
    assert LOG.states[8].root.hex() in told
    assert "exactly these records were signed with this key, which you trust" in told


def test_without_a_key_it_is_said_that_anybody_may_have_signed(invoke: Invoke, file: str) -> None:
    assert "whose that is, it cannot prove" in invoke("audit", "verify", file).stdout
    assert not json.loads(invoke("audit", "verify", file, "--json").stdout)["key_trusted"]


def test_a_changed_export_exits_with_1_and_names_the_line(invoke: Invoke, file: str) -> None:
    path = Path(file)
    path.write_bytes(path.read_bytes().replace(b'"sequence":2', b'"sequence":9'))

    result = invoke("audit", "verify", file)

    assert result.exit_code == 1
    assert "audit.jsonl, line 3: record 2 is missing: record 9 stands here" in result.stdout


def test_a_changed_export_is_told_as_json(invoke: Invoke, file: str) -> None:
    path = Path(file)
    path.write_bytes(path.read_bytes()[:-10])

    result = invoke("audit", "verify", file, "--json")

    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["verified"], found["line"], found["flaw"]) == (False, 13, "the line is cut off")


def test_a_line_that_would_steer_the_terminal_does_not(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2Jaudit.jsonl"
    path.write_bytes(b"".join(LOG.export()[:-1]))

    assert "\x1b" not in invoke("audit", "verify", str(path)).stdout


def test_an_export_of_another_key_exits_with_1(invoke: Invoke, file: str) -> None:
    result = invoke("audit", "verify", file, "--key", "ab" * 32)

    assert result.exit_code == 1
    assert f"signed with another key: {LOG.key.hex()}" in result.stdout


def test_a_later_export_continues_an_earlier_one(invoke: Invoke, file: str, tmp_path: Path) -> None:
    earlier = write(tmp_path / "earlier.jsonl", last=6)

    result = invoke("audit", "verify", file, "--after", earlier)

    assert result.exit_code == 0
    assert "earlier.jsonl: nothing of that is gone or changed" in result.stdout


def test_an_export_with_another_past_exits_with_1(
    invoke: Invoke, file: str, tmp_path: Path
) -> None:
    forked = bench(3)
    forked.add(4, text="other")
    forked.check(2)
    earlier = write(tmp_path / "earlier.jsonl", forked, last=7)

    result = invoke("audit", "verify", file, "--after", earlier)

    assert result.exit_code == 1
    assert "record 7 or one before it is not what it was" in result.stdout


def test_an_earlier_export_that_is_not_genuine_is_named(
    invoke: Invoke, file: str, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier.jsonl"
    earlier.write_bytes(b"".join(LOG.export()[:3]))

    result = invoke("audit", "verify", file, "--after", str(earlier), "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["file"] == str(earlier)


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"{}\n", b"[" * 100_000, b"\n" * 9], ids=range(5)
)
def test_a_file_that_is_no_export_exits_with_2(
    invoke: Invoke, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)

    result = invoke("audit", "verify", str(path))

    assert result.exit_code == 2
    assert "FILE_INVALID" in result.stderr


@pytest.mark.parametrize("key", ["short", "ab" * 31, "zz" * 32])
def test_a_key_that_is_none_exits_with_2(invoke: Invoke, file: str, key: str) -> None:
    assert invoke("audit", "verify", file, "--key", key).exit_code == 2


def test_a_file_that_is_not_there_exits_with_2(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("audit", "verify", str(tmp_path / "none"), "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["reason"] == "FILE_UNUSABLE"
