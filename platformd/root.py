"""The root of everything: 32 bytes in a file, made once, and what is derived from them.

One process at a time owns the folder; only its owner reads it.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from . import protocol
from .errors import PlatformUnusable

# `os.urandom`, or the bytes that a test wants.
RandomBytes: TypeAlias = Callable[[int], bytes]

ROOT_BYTES = 32
_SALT = b"actionvm/platform/v1"


class Root:
    """Derives keys; the 32 bytes themselves never leave this object."""

    def __init__(self, content: bytes) -> None:
        assert len(content) == ROOT_BYTES, "a root has 32 bytes"
        self._content = content
        self._mac_key = self.derive({"purpose": "mac"})
        self.attestation_key = Ed25519PrivateKey.from_private_bytes(
            self.derive({"purpose": "attestation"})
        )

    def derive(self, info: protocol.Fields) -> bytes:
        """Return 32 bytes that belong to these facts; canonical JSON keeps facts apart."""
        return HKDF(SHA256(), 32, salt=_SALT, info=protocol.encode(info)).derive(self._content)

    def seal_mark(self, purpose: str, content: bytes) -> bytes:
        """Return `<MAC in hex> LF <content>`: what a file of this folder holds."""
        return self._mac(purpose, content).hex().encode() + b"\n" + content

    def open_mark(self, purpose: str, marked: bytes) -> bytes | None:
        """Return the content of a file of this folder; None if somebody else wrote it."""
        mac, _, content = marked.partition(b"\n")
        expected = self._mac(purpose, content).hex().encode()
        return content if hmac.compare_digest(mac, expected) else None

    def _mac(self, purpose: str, content: bytes) -> bytes:
        return hmac.digest(self._mac_key, purpose.encode() + b"\n" + content, "sha256")


def open_root(folder: Path, random_bytes: RandomBytes, *, make: Callable[[Root], None]) -> Root:
    """Read the root; at the very first start make it, after `make` has written what hangs on it.

    Raises PlatformUnusable if it is missing, unreadable or readable by others.
    """
    path, draft = folder / "root.key", folder / "root.key.new"
    if not path.exists():
        # A draft is of a first start that was killed: nothing hangs on that root yet.
        others = {one.name for one in folder.iterdir()} - {"platformd.lock"}
        if others and not draft.exists():
            raise PlatformUnusable(
                f"{path} is missing, but other files of a platform are there; restore it from a "
                "backup, or move the whole folder away to start without what is sealed"
            )
        draft.unlink(missing_ok=True)
        _write_root(path, random_bytes(ROOT_BYTES), draft=draft, make=make)
    draft.unlink(missing_ok=True)
    sync_folder(folder)
    if path.stat().st_mode & 0o077:
        raise PlatformUnusable(f"{path} can be read by others; chmod 600 it, then rotate all keys")
    content = path.read_bytes()
    if len(content) != ROOT_BYTES:
        raise PlatformUnusable(f"{path} has not {ROOT_BYTES} bytes; restore it from a backup")
    return Root(content)


def _write_root(path: Path, content: bytes, *, draft: Path, make: Callable[[Root], None]) -> None:
    """Let the file appear complete, after everything else, or not at all."""
    write_synced(draft, content)
    sync_folder(path.parent)
    make(Root(content))
    # A link, unlike a rename, fails where a file exists.
    path.hardlink_to(draft)
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole, durably, or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    write_synced(draft, content)
    draft.replace(path)
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file that only its owner reads."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
