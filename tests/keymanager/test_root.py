"""The root key is made once, and never again over secrets that another one sealed."""

from __future__ import annotations

from pathlib import Path

import pytest

from keymanager.root import RootKeyUnusable, open_root


def _bytes(size: int) -> bytes:
    return b"\x07" * size


def _other_bytes(size: int) -> bytes:
    return b"\x08" * size


def test_a_new_root_key_has_32_bytes(tmp_path: Path) -> None:
    open_root(tmp_path / "root.key", _bytes, may_make=True)
    assert (tmp_path / "root.key").read_bytes() == _bytes(32)


def test_only_its_owner_may_read_a_new_root_key(tmp_path: Path) -> None:
    open_root(tmp_path / "root.key", _bytes, may_make=True)
    assert (tmp_path / "root.key").stat().st_mode & 0o777 == 0o600


def test_a_root_key_that_is_there_is_kept(tmp_path: Path) -> None:
    made = open_root(tmp_path / "root.key", _bytes, may_make=True)
    found = open_root(tmp_path / "root.key", _other_bytes, may_make=True)
    assert found.tag(b"x") == made.tag(b"x")


def test_nothing_but_the_root_key_stays_in_the_folder(tmp_path: Path) -> None:
    open_root(tmp_path / "root.key", _bytes, may_make=True)
    assert [path.name for path in tmp_path.iterdir()] == ["root.key"]


@pytest.mark.parametrize("half_written", [b"", b"\x09" * 16, b"\x09" * 32])
def test_a_start_that_was_killed_while_writing_leaves_no_root_key(
    tmp_path: Path, half_written: bytes
) -> None:
    (tmp_path / "root.key.new").write_bytes(half_written)
    open_root(tmp_path / "root.key", _bytes, may_make=True)
    assert (tmp_path / "root.key").read_bytes() == _bytes(32)


def test_a_start_that_was_killed_after_writing_leaves_no_second_copy(tmp_path: Path) -> None:
    open_root(tmp_path / "root.key", _bytes, may_make=True)
    (tmp_path / "root.key.new").hardlink_to(tmp_path / "root.key")

    open_root(tmp_path / "root.key", _other_bytes, may_make=False)

    assert [path.name for path in tmp_path.iterdir()] == ["root.key"]


def test_a_missing_root_key_is_not_replaced_where_secrets_are_sealed(tmp_path: Path) -> None:
    with pytest.raises(RootKeyUnusable, match="restore it from a backup"):
        open_root(tmp_path / "root.key", _bytes, may_make=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_root_key_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "root.key"
    path.touch(mode=0o600)
    path.write_bytes(bytes(size))
    with pytest.raises(RootKeyUnusable, match="32 bytes"):
        open_root(path, _bytes, may_make=True)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666])
def test_a_root_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    open_root(tmp_path / "root.key", _bytes, may_make=True)
    (tmp_path / "root.key").chmod(mode)
    with pytest.raises(RootKeyUnusable, match="chmod 600"):
        open_root(tmp_path / "root.key", _bytes, may_make=True)
