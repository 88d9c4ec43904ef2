"""What was shredded or rotated away is found nowhere in the files of the store."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from keymanager.secret import Kind
from tests.keymanager.vaults import Bench

# Small rows share a page, large ones span several.
SIZES = (20, 300, 900, 2_000, 9_000)
PIECE_BYTES = 16


def _pieces(content: bytes) -> Iterator[bytes]:
    """Yield what must not be found; a page may hold any part of a row."""
    for start in range(0, len(content) - PIECE_BYTES, PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def _sealed_bytes(bench: Bench, name: str) -> bytes:
    sealed = bench.store.get(name)
    return sealed.wrapped_key + sealed.ciphertext


def test_a_live_secret_is_found_in_the_files(tmp_path: Path) -> None:
    """The search works, else the others prove nothing."""
    bench = Bench(tmp_path / "keymanager.db")
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v" * 900, generate=False)
    files = _files(tmp_path)
    assert all(piece in files for piece in _pieces(bench.store.get("secrets/a").ciphertext))


# With these, `secure_delete` alone leaves a copy behind in a page that was rearranged.
@pytest.mark.parametrize("seed", [3, 4, 41])
def test_no_part_of_a_shredded_secret_stays_in_the_files(tmp_path: Path, seed: int) -> None:
    bench = Bench(tmp_path / "keymanager.db", seed=seed)
    dice = random.Random(seed)
    live: list[str] = []
    for step in range(120):
        if len(live) < 20 or dice.random() < 0.5:
            live.append(f"secrets/{dice.randbytes(4).hex()}")
            value = dice.randbytes(dice.choice(SIZES))
            bench.vault.put(f"put-{step}", live[-1], Kind.API_KEY, value, generate=False)
            continue
        name = live.pop(dice.randrange(len(live)))
        sealed = _sealed_bytes(bench, name)
        bench.vault.shred(name)
        files = _files(tmp_path)
        assert not [piece for piece in _pieces(sealed) if piece in files], name


def test_no_part_of_a_rotated_value_stays_in_the_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v" * 900, generate=False)
    sealed = _sealed_bytes(bench, "secrets/a")

    bench.vault.rotate("r2", "secrets/a", b"w" * 900, generate=False)

    files = _files(tmp_path)
    assert not [piece for piece in _pieces(sealed) if piece in files]


def test_what_a_killed_process_deleted_is_erased_at_the_next_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v" * 900, generate=False)
    sealed = _sealed_bytes(bench, "secrets/a")
    # What a shred does until its commit.
    with bench.engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM secrets WHERE name = 'secrets/a'")
        connection.commit()
    assert any(piece in _files(tmp_path) for piece in _pieces(sealed))

    Bench(tmp_path / "keymanager.db")

    files = _files(tmp_path)
    assert not [piece for piece in _pieces(sealed) if piece in files]


def test_no_trace_of_a_shredded_value_stays_with_its_request(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False)
    tag = bench.vault._tag(b"put", "secrets/a", "1", b"v", generate=False)
    assert tag in _files(tmp_path)

    bench.vault.shred("secrets/a")

    assert tag not in _files(tmp_path)


def test_what_others_do_meanwhile_does_not_delay_an_erasure(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    for number in range(80):
        name = f"secrets/{number}"
        bench.vault.put(f"put-{number}", name, Kind.API_KEY, b"v" * 60_000, generate=False)

    def rotate(number: int) -> None:
        for turn in range(3):
            request, value = f"rotate-{number}-{turn}", b"w" * 60_000
            bench.vault.rotate(request, f"secrets/{number}", value, generate=False)
            bench.vault.describe_all(after="", limit=100)

    with capture_logs() as logs, ThreadPoolExecutor(8) as pool:
        list(pool.map(rotate, range(8)))
    assert logs == []
