"""The folder of the models: what comes into it, whole and checked, and what leaves it."""

from __future__ import annotations

import fcntl
import filecmp
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from chassis.errors import InvalidField

from ..errors import ChecksumMismatch, ModelExists, ModelNotFound, ModelUnusable, StorageUnusable
from ..ports import Hub, HubSource
from ..progress import Progress, Report
from .gguf import BadGguf, CutOff, IsAdapter, read_header
from .local import SUFFIX

COPY_BYTES = 8 * 1024 * 1024
# Vocabulary and table of tensors lie in front; those of the largest models take 30 MB.
HEADER_BYTES = 64 * 1024 * 1024


class Shelf:
    """Puts weights where `LocalProvider` finds them; a name has its whole file or none.

    What is under way is in a hidden file beside its goal, named after what it becomes: who comes
    later continues it. Its lock keeps others out, also in other processes.
    """

    def __init__(self, folder: Path, open_hub: Callable[[], Hub]) -> None:
        self._folder = folder
        self._open_hub = open_hub

    def add(self, name: str, source: Path, report: Report) -> None:
        """Take over a file of this machine: as a second name for it, or as a copy."""
        try:
            # What the path leads to: a second name for a link would be a link.
            source = Path(os.path.realpath(source, strict=True))
            if not source.is_file():
                raise InvalidField("path", f"{source} is not a file")
            source.open("rb").close()
        except OSError as error:
            raise InvalidField("path", f"{source} cannot be read: {error.strerror}") from error
        with _telling(name):
            _check(name, source)
            if self._is_taken(name):
                if filecmp.cmp(source, self._path(name), shallow=False):
                    return
                raise ModelExists(_full(name))
            try:
                os.link(source, self._path(name))
            except OSError:
                # Another file system, or somebody else's file.
                self._copy(name, source, report)
            _sync(self._folder)

    def pull(self, name: str, source: HubSource, report: Report) -> None:
        """Fetch a file from the hub, or the rest of it, and check it."""
        hub = self._open_hub()
        file = hub.find(source)
        expected = source.sha256 or file.sha256
        if not expected:
            raise InvalidField("sha256", "is required: the hub does not say what this file has")
        if file.sha256 not in ("", expected):
            way_out = "the hub has other bytes than you expect; is it the right revision?"
            raise ChecksumMismatch(_full(name), file.sha256, expected, way_out)
        with _telling(name), self._draft(name, expected[:16]) as (draft, path):
            if self._is_taken(name):
                path.unlink()
                if _sha256(self._path(name)) != expected:
                    raise ModelExists(_full(name))
                return
            received = draft.seek(0, os.SEEK_END)
            if received > file.size_bytes:
                received = draft.truncate(0)
            self._require_space(name, file.size_bytes - received)
            try:
                hub.fetch(source, file, draft, _checking(name, path, file.size_bytes, report))
                draft.flush()
                _require_sha256(name, path, expected)
                _check(name, path)
            except (ChecksumMismatch, ModelUnusable):
                path.unlink()
                raise
            self._publish(name, draft, path)

    def remove(self, name: str) -> None:
        """Remove a model, and what a pull may have left of it."""
        with _telling(name):
            for draft in self._drafts(name):
                draft.unlink(missing_ok=True)
            try:
                self._path(name).unlink()
            except FileNotFoundError as error:
                raise ModelNotFound(_full(name)) from error
            _sync(self._folder)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _is_taken(self, name: str) -> bool:
        # A link that leads nowhere is somebody's, too.
        return os.path.lexists(self._path(name))

    def _drafts(self, name: str) -> list[Path]:
        # No name has a `~`.
        return sorted(self._folder.glob(f".{name}~*"))

    def _copy(self, name: str, source: Path, report: Report) -> None:
        size = source.stat().st_size
        self._require_space(name, size)
        with self._draft(name, "copy") as (draft, path), source.open("rb") as original:
            try:
                draft.truncate(0)
                while content := original.read(COPY_BYTES):
                    draft.write(content)
                    report(Progress(draft.tell(), size))
                draft.flush()
                _check(name, path)
                self._publish(name, draft, path)
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    @contextmanager
    def _draft(self, name: str, kind: str) -> Iterator[tuple[BinaryIO, Path]]:
        """Open what is here of a model, or an empty file, alone; waits for who has it."""
        path = self._folder / f".{name}~{kind}"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b") as draft:
                fcntl.flock(draft, fcntl.LOCK_EX)
                # Who had it may have finished or removed it meanwhile.
                if os.fstat(descriptor).st_ino == _inode(path):
                    yield draft, path
                    return

    def _publish(self, name: str, draft: BinaryIO, path: Path) -> None:
        """Give a file its name; it is on the disk before it can be seen."""
        draft.flush()
        os.fsync(draft.fileno())
        if self._is_taken(name):
            raise ModelExists(_full(name))
        path.rename(self._path(name))
        for left_over in self._drafts(name):
            left_over.unlink(missing_ok=True)
        _sync(self._folder)

    def _require_space(self, name: str, size: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if size > free:
            problem = f"{size / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free: make room"
            raise StorageUnusable(_full(name), problem)


def _full(name: str) -> str:
    return f"local/{name}"


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _check(name: str, path: Path, *, size_bytes: int = 0) -> None:
    """Refuse what the linker would not load; of `size_bytes` in all, not all need be here."""
    try:
        read_header(path, size_bytes=size_bytes)
    except IsAdapter:
        return
    except BadGguf as error:
        if size_bytes and isinstance(error, CutOff):
            return
        raise ModelUnusable(_full(name), f"{error}") from error


def _checking(name: str, path: Path, size_bytes: int, report: Report) -> Report:
    """Return a report that looks at the header once it should be here: the rest may be 40 GB."""
    is_checked = False

    def check(progress: Progress) -> None:
        nonlocal is_checked
        report(progress)
        if progress.received_bytes >= HEADER_BYTES and not is_checked:
            is_checked = True
            _check(name, path, size_bytes=size_bytes)

    return check


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_sha256(name: str, path: Path, expected: str) -> None:
    found = _sha256(path)
    if found != expected:
        way_out = "what arrived was removed; pull it again"
        raise ChecksumMismatch(_full(name), found, expected, way_out)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Say in words what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise StorageUnusable(_full(name), f"{error.strerror or error}") from error
