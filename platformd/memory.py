"""What platformd remembers of files, so that a file is read again only after it has changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from . import protocol
from .root import Root

_PURPOSE = "memory"
# The time of a change has the resolution of a clock tick: what was changed just now may change
# again without a trace.
SETTLED_NANOSECONDS = 200_000_000
ENTRIES_MAX = 20_000


class Unclean(Exception):
    """A file that nobody can vouch for; the message says which, and why."""


class Memory:
    """Results by name and stamp, kept in a file under a MAC of the root."""

    def __init__(self, path: Path, root: Root, now_nanoseconds: Callable[[], int]) -> None:
        self._path = path
        self._root = root
        self._now = now_nanoseconds
        self._changed = False
        content = root.open_mark(_PURPOSE, path.read_bytes()) if path.exists() else None
        # What was changed, or lost, is found again by reading all files.
        self._entries = {} if content is None else protocol.decode(content)

    def recall(self, name: str, stamp: str, compute: Callable[[], str]) -> str:
        """Return what was computed for this stamp, which must not have changed since."""
        stamp_before, _, known = str(self._entries.get(name, "")).partition("=")
        if stamp_before == stamp:
            return known
        result = compute()
        newest = max(int(number) for number in stamp.split(","))
        if newest < self._now() - SETTLED_NANOSECONDS:
            if len(self._entries) >= ENTRIES_MAX:
                self._entries.clear()
            self._entries[name] = f"{stamp}={result}"
            self._changed = True
        return result

    def hash_file(self, path: str, *, owner_uid: int) -> str:
        """Return the SHA-256 of a regular file that only root and `owner_uid` can change."""
        status = settled_status(path, owner_uid=owner_uid)
        return self.recall(path, stamp_of(status), lambda: read_settled(path, status)[0])

    def save(self) -> None:
        """Write down what is new. It need not be durable: it can be found again."""
        if self._changed:
            draft = self._path.with_name(self._path.name + ".new")
            draft.write_bytes(self._root.seal_mark(_PURPOSE, protocol.encode(self._entries)))
            draft.replace(self._path)
            self._changed = False


def settled_status(path: str, *, owner_uid: int) -> os.stat_result:
    """Return the status of a file; raise Unclean for what others could change."""
    try:
        status = os.stat(path)  # noqa: PTH116  # a thousand of these per measurement
    except OSError as error:
        raise Unclean(f"{path} cannot be read") from error
    if not stat.S_ISREG(status.st_mode):
        raise Unclean(f"{path} is no file")
    if status.st_uid not in {0, owner_uid} or status.st_mode & stat.S_IWOTH:
        raise Unclean(f"others can change {path}; chmod o-w it")
    return status


def stamp_of(*statuses: os.stat_result) -> str:
    """Return what changes whenever one of these files changes; nobody can set `ctime`."""
    return ",".join(
        f"{one.st_size},{one.st_mtime_ns},{one.st_ctime_ns},{one.st_ino}" for one in statuses
    )


def read_settled(path: str, status: os.stat_result) -> tuple[str, bytes]:
    """Return the SHA-256 and the content of a file; raise Unclean if it changes meanwhile."""
    try:
        with open(path, "rb") as source:  # noqa: PTH123  # the descriptor is wanted
            content = source.read()
            after = os.fstat(source.fileno())
    except OSError as error:
        raise Unclean(f"{path} cannot be read") from error
    if stamp_of(after) != stamp_of(status):
        raise Unclean(f"{path} changes while it is measured")
    return hashlib.sha256(content).hexdigest(), content
