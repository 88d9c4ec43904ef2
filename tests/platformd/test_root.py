"""The root is made once, and never again over what hangs on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from platformd.counters import Counters
from platformd.errors import PlatformUnusable
from platformd.root import Root, open_root


def _bytes(size: int) -> bytes:
    return b"\x07" * size


def _other_bytes(size: int) -> bytes:
    return b"\x08" * size


def start(folder: Path, *, other: bool = False) -> Root:
    """Open the root as platformd does at its start."""
    return open_root(
        folder,
        _other_bytes if other else _bytes,
        make=lambda root: Counters.make(folder / "counters", root),
    )


def test_a_new_root_has_32_bytes_that_only_its_owner_reads(tmp_path: Path) -> None:
    start(tmp_path)

    assert (tmp_path / "root.key").read_bytes() == _bytes(32)
    assert (tmp_path / "root.key").stat().st_mode & 0o777 == 0o600


def test_a_root_that_is_there_is_kept(tmp_path: Path) -> None:
    made = start(tmp_path)

    assert start(tmp_path, other=True).derive({"a": 1}) == made.derive({"a": 1})


def test_nothing_but_root_and_counters_is_made(tmp_path: Path) -> None:
    start(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"counters", "root.key"}


@pytest.mark.parametrize("half_written", [b"", b"\x09" * 16, b"\x09" * 32])
@pytest.mark.parametrize("counters", [True, False])
def test_a_first_start_that_was_killed_is_begun_anew(
    tmp_path: Path, half_written: bytes, *, counters: bool
) -> None:
    (tmp_path / "root.key.new").write_bytes(half_written)
    if counters:
        Counters.make(tmp_path / "counters", Root(b"\x09" * 32))

    root = start(tmp_path)

    assert Counters(tmp_path / "counters", root).read("gas") == 0


def test_a_start_that_was_killed_after_writing_leaves_no_second_copy(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "root.key.new").hardlink_to(tmp_path / "root.key")

    start(tmp_path, other=True)

    assert {path.name for path in tmp_path.iterdir()} == {"counters", "root.key"}


def test_a_lost_root_is_not_replaced(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "root.key").unlink()

    with pytest.raises(PlatformUnusable, match="restore it from a backup"):
        start(tmp_path)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_root_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "root.key"
    path.touch(mode=0o600)
    path.write_bytes(bytes(size))

    with pytest.raises(PlatformUnusable, match="32 bytes"):
        start(tmp_path)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666])
def test_a_root_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    start(tmp_path)
    (tmp_path / "root.key").chmod(mode)

    with pytest.raises(PlatformUnusable, match="chmod 600"):
        start(tmp_path)


# --- Counters ------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return start(tmp_path)


def test_a_repeated_increment_changes_nothing(tmp_path: Path, root: Root) -> None:
    counters = Counters(tmp_path / "counters", root)

    assert [counters.increment("gas", one) for one in ("a", "a", "b", "b")] == [1, 1, 2, 2]


def test_a_repeated_increment_changes_nothing_after_a_restart(tmp_path: Path, root: Root) -> None:
    Counters(tmp_path / "counters", root).increment("gas", "a")

    assert Counters(tmp_path / "counters", root).increment("gas", "a") == 1


def test_a_lost_file_of_counters_stops_the_start(tmp_path: Path, root: Root) -> None:
    (tmp_path / "counters").unlink()

    with pytest.raises(PlatformUnusable, match="go back"):
        Counters(tmp_path / "counters", root)


def test_a_changed_byte_of_the_counters_stops_the_start(tmp_path: Path, root: Root) -> None:
    path = tmp_path / "counters"
    Counters(path, root).increment("gas", "a")
    content = path.read_bytes()

    accepted = []
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            accepted.append(Counters(path, root))
        except PlatformUnusable:
            continue

    assert not accepted


def test_counters_of_another_platform_stop_the_start(tmp_path: Path, root: Root) -> None:
    Counters.make(tmp_path / "counters", Root(b"\x09" * 32))

    with pytest.raises(PlatformUnusable):
        Counters(tmp_path / "counters", root)


def test_a_full_disk_does_not_let_the_counter_run_ahead(tmp_path: Path, root: Root) -> None:
    counters = Counters(tmp_path / "counters", root)
    counters.increment("gas", "a")
    # A folder in the place of the draft fails like a disk that takes no file.
    (tmp_path / "counters.new").mkdir()
    with pytest.raises(OSError, match=r"counters\.new"):
        counters.increment("gas", "b")
    (tmp_path / "counters.new").rmdir()

    assert counters.read("gas") == 1
    assert counters.increment("gas", "b") == 2
