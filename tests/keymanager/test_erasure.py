"""What was shredded or rotated away opens with nothing that is left in the files."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from keymanager.errors import ErasurePending, SecretNotFound
from keymanager.lifecycle import Shred
from keymanager.secret import SYSTEM_TENANT, Kind
from keymanager.signing import Purpose
from keymanager.vault import Vault
from tests.keymanager.vaults import OPERATOR, RUNTIME, Bench, sign

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


def _open_tenants(bench: Bench) -> list[str]:
    return sorted(key.tenant for key in bench.store.memory.tenant_keys.values())


async def test_a_destroyed_key_of_a_tenant_does_not_stay_in_memory() -> None:
    bench = Bench()
    for name in ("a", "b"):
        await bench.vault.put(
            *(name, f"secrets/{name}", Kind.API_KEY, b"value"),
            generate=False,
            by=OPERATOR,
            tenant="tenants/acme",
        )
    await bench.put("secrets/c")
    await bench.put("secrets/d")
    others = [SYSTEM_TENANT] * _open_tenants(bench).count(SYSTEM_TENANT)
    assert _open_tenants(bench) == ["tenants/acme", "tenants/default", *others]
    await bench.vault.rotate_root("r", by=OPERATOR)
    await bench.rotate("secrets/a", b"value")
    assert len(_open_tenants(bench)) == len(set(_open_tenants(bench)))
    await bench.vault.shred_tenant("tenants/acme", by=OPERATOR)
    assert "tenants/acme" not in _open_tenants(bench)


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
            await bench.put(live[-1], dice.randbytes(dice.choice(SIZES) // 2).hex().encode())
            continue
        if way < 0.5:
            await bench.vault.rotate_root(f"root {way}", by=OPERATOR)
        name = live[dice.randrange(len(live))]
        keys = _keys(bench, name)
        if way < 0.7:
            await bench.rotate(name, dice.randbytes(dice.choice(SIZES) // 2).hex().encode())
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


@contextmanager
def _reader(path: Path) -> Iterator[None]:
    """Read the file from outside, as an open shell does."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM secret").fetchone()
        yield


async def test_a_reader_outside_delays_only_who_destroys_something(tmp_path: Path) -> None:
    path = tmp_path / "keymanager.db"
    bench = Bench(path)
    await bench.put("secrets/a", b"v" * 900)
    await bench.put("secrets/b")
    (key,) = _keys(bench, "secrets/a")
    with _reader(path):
        shredding = asyncio.create_task(bench.vault.shred("secrets/a", by=OPERATOR))
        for number in range(5):
            await sign(bench.vault, "secrets/b", Purpose.REQUEST, bytes([number]), by=RUNTIME)
        with pytest.raises(SecretNotFound):
            bench.vault.describe("secrets/a")
        assert not shredding.done()
    await shredding
    assert not [piece for piece in _pieces(key) if piece in _files(tmp_path)]


async def test_who_waited_long_enough_is_told_that_the_erasure_is_pending(tmp_path: Path) -> None:
    path = tmp_path / "keymanager.db"
    bench = Bench(path)
    await bench.put("secrets/a", b"v" * 900)
    await bench.put("secrets/b", b"v" * 900)
    keys = [*_keys(bench, "secrets/a"), *_keys(bench, "secrets/b")]
    hasty = Vault(bench.store, erasure_attempts_max=1)
    with _reader(path):
        with pytest.raises(ErasurePending):
            await hasty.shred("secrets/a", by=OPERATOR)
        with pytest.raises(ErasurePending):
            await hasty.rotate(
                "r1", "secrets/b", b"w", generate=False, by=OPERATOR, grace=timedelta()
            )
    await hasty.tend()
    files = _files(tmp_path)
    assert not [piece for key in keys for piece in _pieces(key) if piece in files]


async def test_what_a_killed_process_deleted_is_erased_at_the_next_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    await bench.put("secrets/a", b"v" * 900)
    (key,) = _keys(bench, "secrets/a")
    bench.store._erase = lambda: None  # type: ignore[method-assign]  # the kill comes before it
    bench.store.apply([Shred(OPERATOR, "secrets/a")])
    assert any(piece in _files(tmp_path) for piece in _pieces(key))

    bench.open()

    assert not [piece for piece in _pieces(key) if piece in _files(tmp_path)]
