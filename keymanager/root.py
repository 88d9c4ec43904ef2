"""The file of the root key: made once, never overwritten, read by its owner only."""

from __future__ import annotations

import os
from pathlib import Path

from .sealing import KEY_BYTES, RandomBytes, RootKey


class RootKeyUnusable(Exception):
    """The service must not start: with another root key, every secret would be lost."""


def open_root(path: Path, random_bytes: RandomBytes, *, may_make: bool) -> RootKey:
    """Read the root key; make it if there is none and `may_make`, because nothing is sealed yet.

    One process at a time owns the folder.
    """
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)  # of a start that was killed
    if not path.exists():
        if not may_make:
            raise RootKeyUnusable(
                f"{path} is missing, but secrets are sealed under it; restore it from a backup, "
                "or move the whole folder away to start without these secrets"
            )
        _write_once(path, random_bytes(KEY_BYTES), draft=draft)
    # Before anything is sealed, also after a start that was killed between write and sync.
    _sync_folder(path.parent)
    if path.stat().st_mode & 0o077:
        raise RootKeyUnusable(
            f"{path} can be read by others; chmod 600 it, then rotate what it seals"
        )
    content = path.read_bytes()
    if len(content) != KEY_BYTES:
        raise RootKeyUnusable(f"{path} has not {KEY_BYTES} bytes; restore it from a backup")
    return RootKey(content)


def _write_once(path: Path, content: bytes, *, draft: Path) -> None:
    """Let the file appear complete, or not at all."""
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        assert os.write(descriptor, content) == len(content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    # A link, unlike a rename, fails where a file exists.
    path.hardlink_to(draft)
    draft.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
