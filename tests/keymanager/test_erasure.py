"""What was shredded or rotated away opens with nothing that is left in the files."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from tests.keymanager.vaults import OPERATOR, Bench

SIZES = (20, 300, 900, 2_000, 9_000)
PIECE_BYTES = 16


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def _pieces(content: bytes) -> list[bytes]:
    """Return what must not be found; a page may hold any part of a row."""
    starts = range(8, len(content) - PIECE_BYTES, PIECE_BYTES)
    return [content[start : start + PIECE_BYTES] for start in starts]


def _keys(bench: Bench, name: str) -> list[bytes]:
    """Return the wrapped data keys of all versions of a secret."""
    found = bench.execute(
        "SELECT content FROM wrapped_key JOIN version ON key_id = wrapped_key.id "
        "JOIN secret ON secret.id = secret_id WHERE name = ?",
        (name,),
    )
    return [bytes(content) for (content,) in found if isinstance(content, bytes)]


async def test_a_live_key_is_found_in_the_files(tmp_path: Path) -> None:
    """The search works, else the others prove nothing."""
    bench = Bench(tmp_path / "keymanager.db")
    await bench.put("secrets/a", b"v" * 900)
    (key,) = _keys(bench, "secrets/a")
    assert all(piece in _files(tmp_path) for piece in _pieces(key))


# In such orders, SQLite leaves copies of rows behind in pages that it rearranges.
@pytest.mark.parametrize("seed", [3, 4, 41])
async def test_no_part_of_a_shredded_key_stays_in_the_files(tmp_path: Path, seed: int) -> None:
    bench = Bench(tmp_path / "keymanager.db", seed=seed)
    dice = random.Random(seed)
    live: list[str] = []
    for _ in range(150):
        way = dice.random()
        if len(live) < 30 or way < 0.4:
            live.append(f"secrets/{dice.randbytes(4).hex()}")
            await bench.put(live[-1], dice.randbytes(dice.choice(SIZES)))
            continue
        if way < 0.5:
            await bench.vault.rotate_root(by=OPERATOR)
        name = live[dice.randrange(len(live))]
        keys = _keys(bench, name)
        if way < 0.7:
            await bench.rotate(name, dice.randbytes(dice.choice(SIZES)))
        else:
            await bench.vault.shred(name, by=OPERATOR)
            live.remove(name)
        files = _files(tmp_path)
        assert not [piece for key in keys for piece in _pieces(key) if piece in files], name


async def test_no_part_of_a_shredded_tenant_key_stays_in_the_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    for number in range(40):
        await bench.put(f"secrets/{number}", b"v" * 900)
    found = bench.execute(
        "SELECT content FROM wrapped_key JOIN tenant_key ON key_id = wrapped_key.id "
        "WHERE tenant = 'tenants/default'"
    )
    await bench.vault.shred_tenant("tenants/default", by=OPERATOR)
    files = _files(tmp_path)
    for (key,) in found:
        assert isinstance(key, bytes)
        assert not [piece for piece in _pieces(key) if piece in files]


async def test_a_key_whose_grace_is_over_is_erased_without_a_request(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    await bench.put("secrets/a", b"v" * 900)
    (key,) = _keys(bench, "secrets/a")
    await bench.rotate("secrets/a", b"w" * 900, grace=timedelta(hours=1))
    assert all(piece in _files(tmp_path) for piece in _pieces(key))

    bench.clock.advance(timedelta(hours=1))
    await bench.vault.tend()

    assert not [piece for piece in _pieces(key) if piece in _files(tmp_path)]


async def test_no_trace_of_a_shredded_value_stays_with_its_request(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    await bench.put("secrets/a", b"v")
    ((tag,),) = bench.execute("SELECT tag FROM request")
    assert isinstance(tag, bytes)

    await bench.vault.shred("secrets/a", by=OPERATOR)

    assert tag not in _files(tmp_path)


async def test_what_a_killed_process_deleted_is_erased_at_the_next_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    await bench.put("secrets/a", b"v" * 900)
    (key,) = _keys(bench, "secrets/a")
    bench.store._erase = lambda: None  # type: ignore[method-assign]  # the kill comes before it
    await bench.vault.shred("secrets/a", by=OPERATOR)
    assert any(piece in _files(tmp_path) for piece in _pieces(key))

    bench.open()

    assert not [piece for piece in _pieces(key) if piece in _files(tmp_path)]
