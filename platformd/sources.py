"""What the code of ActionVM on the disk is: one hash for each of its folders.

Python runs `__pycache__/x.pyc` instead of `x.py` when time and size fit. So a compiled file that
Python would run must be what its source compiles to; otherwise the folder is unclean.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import sys
from collections.abc import Iterator

from .memory import Memory, Unclean, read_settled, settled_status, stamp_of

_CACHE = "__pycache__"
_HEADER_BYTES = 16
_IMPORTABLE = (".py", ".pyc", ".so", ".pth")


class Sources:
    """Hashes the folders of one checkout."""

    def __init__(self, checkout: str, memory: Memory, *, owner_uid: int) -> None:
        self.checkout = checkout
        self._memory = memory
        self._owner_uid = owner_uid

    def hash_folder(self, name: str) -> str:
        """Return the SHA-256 of names and contents; raise Unclean for what others could change."""
        top = f"{self.checkout}/{name}"
        total = hashlib.sha256()
        for path in sorted(_files(top)):
            total.update(f"{path[len(top) :]}\0{self._hash(path)}\n".encode())
        return total.hexdigest()

    def hash_file(self, path: str) -> str:
        """Return the SHA-256 of one file; of one that does not exist, an empty text."""
        if not os.path.lexists(path):
            return ""
        return self._memory.hash_file(path, owner_uid=self._owner_uid)

    def check_top(self, packages: frozenset[str]) -> None:
        """Raise Unclean if the checkout holds a module that hides one of a library."""
        with os.scandir(self.checkout) as entries:
            for entry in entries:
                hides = entry.name.endswith(_IMPORTABLE) or (
                    entry.name not in packages
                    and entry.name.isidentifier()
                    and os.path.lexists(f"{entry.path}/__init__.py")
                )
                if hides:
                    raise Unclean(f"{entry.path} would be imported in place of a library")

    def _hash(self, path: str) -> str:
        status = settled_status(path, owner_uid=self._owner_uid)
        compiled = _compiled_of(path)
        if compiled is not None and os.path.lexists(compiled):
            compiled_status = settled_status(compiled, owner_uid=self._owner_uid)
            self._memory.recall(
                compiled,
                stamp_of(status, compiled_status),
                lambda: _check_compiled(path, status, compiled, compiled_status),
            )
        return self._memory.recall(path, stamp_of(status), lambda: read_settled(path, status)[0])


def _files(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise Unclean(f"{entry.path} is a link")
                if not entry.is_dir():
                    yield entry.path
                elif entry.name != _CACHE:
                    yield from _files(entry.path)
    except OSError as error:
        raise Unclean(f"{folder} cannot be read") from error


def _compiled_of(path: str) -> str | None:
    folder, _, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if suffix != "py":
        return None
    return f"{folder}/{_CACHE}/{stem}{dot}{sys.implementation.cache_tag}.pyc"


def _check_compiled(
    path: str, status: os.stat_result, compiled: str, compiled_status: os.stat_result
) -> str:
    """Return what Python does with a compiled file: `used` or `ignored`; or raise Unclean."""
    content = read_settled(compiled, compiled_status)[1]
    header, body = content[:_HEADER_BYTES], content[_HEADER_BYTES:]
    numbers = [int.from_bytes(header[at : at + 4], "little") for at in (4, 8, 12)]
    by_time = numbers[0] == 0
    current = numbers[1:] == [int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF]
    if header[:4] != importlib.util.MAGIC_NUMBER or (by_time and not current):
        return "ignored"
    source = read_settled(path, status)[1]
    try:
        # Whoever could write a file that harms `marshal` could trace us as well: its owner is
        # root or the user of the caller.
        same = marshal.loads(body) == compile(source, path, "exec", dont_inherit=True)  # noqa: S302
    except Exception as error:  # `marshal` and `compile` raise whatever they like
        raise Unclean(f"{compiled} is damaged; delete it") from error
    if not same:
        raise Unclean(f"{compiled} is not what {path} compiles to; delete it")
    return "used"
