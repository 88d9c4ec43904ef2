"""Marks: what peers remember of the log stops a vault that was put back, and nothing else does."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from keymanager.errors import RolledBack
from tests.fakes.platform import FakePlatform

from .vaults import OPERATOR, Bench


async def grown(bench: Bench, *names: str) -> str:
    """Return the mark after some more records."""
    for name in names:
        await bench.put(f"secrets/{name}")
    return bench.vault.mark


def copy_of(bench: Bench, path: Path) -> Bench:
    """Return the vault as it is, opened by somebody else on a platform that counted as much."""
    assert bench.path is not None
    bench.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(bench.path, path)
    platform = FakePlatform()
    while platform.read_counter() < bench.platform.read_counter():
        platform.increment_counter()
    return Bench(path, seed=9, platform=platform)


async def test_a_mark_of_a_later_record_stops_all_answers(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "a.db")
    old = copy_of(bench, tmp_path / "b.db")
    mark = await grown(bench, "a", "b")

    old.vault.heed(mark)

    with pytest.raises(RolledBack, match="a peer saw record"):
        await old.put("secrets/c")
    with pytest.raises(RolledBack):
        old.vault.describe_all(after="", limit=1)


async def test_a_mark_of_another_past_stops_a_log_that_has_grown_past_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "a.db")
    old = copy_of(bench, tmp_path / "b.db")
    mark = await grown(bench, "a", "b")
    await grown(old, "c", "d", "e", "f")

    old.vault.heed(mark)

    with pytest.raises(RolledBack, match="another record"):
        await old.put("secrets/g")


async def test_marks_of_its_own_past_stop_nothing_also_after_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "a.db")
    marks = [await grown(bench, name) for name in "abc"]
    bench.open()

    for mark in [*marks, *marks, bench.vault.mark]:
        bench.vault.heed(mark)

    assert await bench.put("secrets/d")


async def test_a_root_that_was_rotated_knows_the_marks_from_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "a.db")
    old = copy_of(bench, tmp_path / "b.db")
    await bench.vault.rotate_root("root", by=OPERATOR)
    mark = await grown(bench, "a")
    bench.vault.heed(mark)

    old.vault.heed(mark)

    assert await bench.put("secrets/b")
    with pytest.raises(RolledBack):
        await old.put("secrets/b")


def _with(mark: str, part: int, value: str) -> str:
    parts = mark.split(":")
    parts[part] = value
    return ":".join(parts)


FORGED = {
    "a number": lambda _: "9223372036854775807",
    "a number in all parts": lambda _: "9:9:9:9",
    "a later number": lambda mark: _with(mark, 1, "9000"),
    "an earlier number": lambda mark: _with(mark, 1, "1"),
    "the same number otherwise": lambda mark: _with(mark, 1, "0" + mark.split(":")[1]),
    "another hash": lambda mark: _with(mark, 2, "00" * 16),
    "another tag": lambda mark: _with(mark, 3, "00" * 16),
    "no tag": lambda mark: _with(mark, 3, ""),
    "another log": lambda mark: _with(mark, 0, "keymanager/0"),
    "too many parts": lambda mark: mark + ":",
    "no hexadecimal": lambda mark: _with(mark, 2, "x" * 32),
    "other letters": lambda mark: mark.upper(),
    "no ASCII": lambda mark: _with(mark, 1, "\u0661"),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_what_the_key_manager_did_not_give_stops_nothing(forge: object) -> None:
    bench = Bench()
    mark = await grown(bench, "a")
    assert callable(forge)

    bench.vault.heed(forge(mark))

    assert await bench.put("secrets/b")


async def test_a_mark_of_another_vault_stops_nothing() -> None:
    other, bench = Bench(seed=2), Bench()
    mark = await grown(other, *"abcdef")

    bench.vault.heed(mark)

    assert await bench.put("secrets/a")


async def test_ten_thousand_guesses_from_a_true_mark_stop_nothing() -> None:
    bench, dice = Bench(), random.Random(5)
    mark = await grown(bench, "a")
    for _ in range(10_000):
        content = bytearray(mark.encode())
        for _ in range(dice.randint(1, 3)):
            content[dice.randrange(len(content))] = dice.choice(b"0123456789abcdef:")
        bench.vault.heed(content.decode())

    assert await bench.put("secrets/b")


async def test_an_accepted_rollback_is_accepted_of_all_peers_and_after_a_restart(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path / "a.db")
    old = copy_of(bench, tmp_path / "b.db")
    first, mark = await grown(bench, "a"), await grown(bench, "b")
    later = await grown(bench, "c")
    old.vault.heed(mark)
    await old.vault.accept_rollback(int(mark.split(":")[1]), by=OPERATOR)
    old.open()

    old.vault.heed(first)
    old.vault.heed(mark)
    assert await old.put("secrets/c")

    old.vault.heed(later)
    with pytest.raises(RolledBack):
        await old.put("secrets/d")


async def test_who_operates_can_accept_although_his_own_mark_is_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "a.db")
    old = copy_of(bench, tmp_path / "b.db")
    mark = await grown(bench, "a")
    for _ in range(2):
        old.vault.heed(mark)

    await old.vault.accept_rollback(int(mark.split(":")[1]), by=OPERATOR)

    old.vault.heed(mark)
    assert await old.put("secrets/b")
