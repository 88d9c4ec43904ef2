"""SQLite on a disk whose power can be cut: what was not synced survives in part.

The files live in memory. Every write is remembered until its file is synced; when the power is cut,
each sector of 512 bytes that was written since survives with a probability of one half.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import apsw
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

SECTOR = 512


@dataclass
class _File:
    """What is on the disk for sure, and what was written since."""

    durable: bytearray = field(default_factory=bytearray)
    present: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)

    def write(self, content: bytes, offset: int) -> None:
        end = offset + len(content)
        if len(self.present) < end:
            self.present.extend(bytes(end - len(self.present)))
        self.present[offset:end] = content
        self.dirty.update(range(offset // SECTOR, (end - 1) // SECTOR + 1))

    def sync(self) -> None:
        self.durable = bytearray(self.present)
        self.dirty.clear()

    def cut(self, dice: random.Random) -> bytearray:
        """Return what is there after a cut; also the length may be the old or the new one."""
        left = bytearray(self.durable)
        for sector in sorted(self.dirty):
            if dice.random() < 0.5:
                start = sector * SECTOR
                part = self.present[start : start + SECTOR]
                if len(left) < start + len(part):
                    left.extend(bytes(start + len(part) - len(left)))
                left[start : start + len(part)] = part
        return left


class Disk(apsw.VFS):
    """A file system of SQLite. `snapshots` has what a cut at some moment would leave."""

    def __init__(self, name: str, content: dict[str, bytes] | None = None) -> None:
        self.name = name
        self.files = {
            path: _File(bytearray(found), bytearray(found))
            for path, found in (content or {}).items()
        }
        # Called before every write and every sync.
        self.on_change: Callable[[], None] = lambda: None
        super().__init__(name, base="", maxpathname=256)

    def cut(self, dice: random.Random) -> dict[str, bytes]:
        """Return what the files hold after a cut now."""
        return {path: bytes(file.cut(dice)) for path, file in self.files.items()}

    def xOpen(
        self, name: apsw.URIFilename | str | None, flags: list[int]
    ) -> apsw.VFSFile:  # as in apsw
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        flags[1] = flags[0]
        return _Handle(self, path)  # type: ignore[return-value]  # it has what SQLite calls

    def xAccess(self, pathname: str, flags: int) -> bool:  # as above
        return pathname in self.files

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001  # as above
        self.files.pop(filename, None)

    def xFullPathname(self, name: str) -> str:  # as above
        return name


class _Handle:
    """An open file."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._file = disk.files.setdefault(path, _File())

    def xRead(self, amount: int, offset: int) -> bytes:  # as in apsw
        return bytes(self._file.present[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # as above
        self._disk.on_change()
        self._file.write(bytes(data), offset)

    def xTruncate(self, size: int) -> None:  # as above
        self._disk.on_change()
        del self._file.present[size:]

    def xSync(self, flags: int) -> None:  # as above
        self._disk.on_change()
        self._file.sync()

    def xFileSize(self) -> int:  # as above
        return len(self._file.present)

    def xLock(self, level: int) -> None:  # one process
        pass

    def xUnlock(self, level: int) -> None:  # as above
        pass

    def xCheckReservedLock(self) -> bool:  # as above
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:  # as above
        return False

    def xSectorSize(self) -> int:  # as above
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # it promises nothing
        return 0

    def xClose(self) -> None:  # as above
        pass


class _Cursor:
    """The part of a cursor of Python's own driver that is used here."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._rows: list[tuple[object, ...]] = []
        self.description: list[tuple[object, ...]] | None = None
        self.rowcount, self.lastrowid, self.arraysize = -1, 0, 1

    def execute(self, statement: str, values: Sequence[object] = ()) -> _Cursor:
        cursor = self._connection.cursor()
        cursor.execute(statement, tuple(values))
        try:
            names = [column[0] for column in cursor.get_description()]
        except apsw.ExecutionCompleteError:
            # No rows.
            names = []
        self._rows = list(cursor)
        self.description = [(one, *([None] * 6)) for one in names] or None
        return self

    def executemany(self, statement: str, rows: Iterable[Sequence[object]]) -> _Cursor:
        for row in rows:
            self.execute(statement, row)
        return self

    def fetchone(self) -> tuple[object, ...] | None:
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[tuple[object, ...]]:
        rows, self._rows = self._rows, []
        return rows

    def close(self) -> None:
        pass


class _Connection:
    """A connection as Python's own driver has them."""

    isolation_level = None

    def __init__(self, disk: Disk) -> None:
        self._connection = apsw.Connection("keymanager.db", vfs=disk.name)
        # Without shared memory, which this file system has not, a log needs this.
        self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")

    def cursor(self) -> _Cursor:
        return _Cursor(self._connection)

    def commit(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()

    def create_function(self, *_arguments: object, **_options: object) -> None:
        """SQLAlchemy wants REGEXP; nothing here uses it."""


def engine_on(disk: Disk) -> Engine:
    """Return an engine whose one connection is on a disk."""
    return create_engine("sqlite://", poolclass=StaticPool, creator=lambda: _Connection(disk))
