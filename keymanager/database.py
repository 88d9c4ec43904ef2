"""Opening the file of the vault, and bringing one of an earlier release to the present form.

The first release had one row for each secret, under a root key in a file beside the database. All
of it is sealed again in one transaction; only when that is on disk, the root key is destroyed.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from chassis.clock import Clock
from chassis.database import SchemaTooNew, open_database

from .batch import Batch
from .errors import RolledBack, SealBroken
from .first_release import FirstRelease, read_first_release
from .keyring import WRAPS_MAX, seal_version
from .lifecycle import ID_BYTES
from .opening import new_memory, open_memory, start
from .platform.port import Sealing
from .rows import TABLES, VERSION, SecretRow, VersionRow
from .sealing import RandomBytes, derive
from .second_release import read_second_release
from .secret import DEFAULT_TENANT, SYSTEM_TENANT, State
from .signing import SERVICE_KEYS
from .sql import cursor_of
from .store import VaultStore

_FIRST, _SECOND = 1, 2


class DatabaseUnusable(Exception):
    """The service must not start: a file of it is damaged, or cannot be read or written."""


def open_vault_store(
    folder: Path,
    platform: Sealing,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
    accepts_rollback: bool = False,
) -> tuple[Engine, VaultStore]:
    """Open `keymanager.db` of a folder; whoever opens disposes of the engine.

    Raises as `VaultStore` does, `DatabaseUnusable`, and `RootKeyUnusable` for a first release
    without its root key.
    """
    root_file = folder / "root.key"
    migrate = _Migration(root_file, platform, clock, random_bytes, accepts_rollback)
    with in_words(folder / "keymanager.db") as path:
        engine = open_database(path, TABLES, version=VERSION, migrate=migrate)
        try:
            store = VaultStore(
                engine,
                platform,
                clock=clock,
                random_bytes=random_bytes,
                accepts_rollback=accepts_rollback,
            )
            if root_file.exists():
                _destroy_root(root_file, engine, store.memory.own.tag)
        except BaseException:
            engine.dispose()
            raise
    return engine, store


@contextmanager
def in_words(path: Path) -> Iterator[Path]:
    """Say what is wrong with a file that does not open: raise `DatabaseUnusable`."""
    try:
        yield path
    except SchemaTooNew as error:
        raise DatabaseUnusable(f"{error}; start the release that wrote it") from error
    except (sqlite3.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith(_DISK_PROBLEMS):
            raise DatabaseUnusable(
                f"{path} cannot be used: {cause}; see who else has it open, its permissions, and "
                "the space on its disk"
            ) from error
        raise DatabaseUnusable(f"{path} is damaged: {cause}; {_WAY_OUT}") from error
    except (SealBroken, UnicodeError) as error:
        # SQLite may quote what it does not understand.
        what = error.name if isinstance(error, SealBroken) else "its schema"
        raise DatabaseUnusable(f"{path} is damaged: {what} was changed; {_WAY_OUT}") from error


_WAY_OUT = "restore a backup into a new key manager, as docs/recovery.md says"
_DISK_PROBLEMS = tuple(
    f"SQLITE_{problem}"
    for problem in ("BUSY", "LOCKED", "FULL", "READONLY", "CANTOPEN", "IOERR", "PERM")
)


@dataclass(frozen=True)
class _Migration:
    """Brings a file of an earlier release to the present form, in one transaction."""

    root_file: Path
    platform: Sealing
    clock: Clock
    random_bytes: RandomBytes
    accepts_rollback: bool

    def __call__(self, connection: Connection, found: int) -> None:
        cursor_of(connection).execute("PRAGMA secure_delete=ON")
        if found == _FIRST:
            self._from_first(connection)
        else:
            assert found == _SECOND, f"there is no version {found} to migrate from"
            self._from_second(connection)

    def _from_first(self, connection: Connection) -> None:
        counter = self.platform.read_counter()
        if counter and not self.accepts_rollback:
            raise RolledBack(
                f"keymanager.db is of the first release, the platform counted {counter}"
            )
        old = read_first_release(connection, self.root_file)
        TABLES.create_all(connection)
        cursor = cursor_of(connection)
        batch = Batch(
            new_memory(cursor, self.platform, counter, self.random_bytes),
            cursor,
            now=self.clock.now(),
            random_bytes=self.random_bytes,
            wraps_max=WRAPS_MAX,
        )
        _seal_again(batch, old)
        start(batch, counter, request_key=old.tag_key, finish=old.take_over_requests)
        connection.exec_driver_sql("DROP TABLE requests")
        connection.exec_driver_sql("DROP TABLE secrets")

    def _from_second(self, connection: Connection) -> None:
        old = read_second_release(cursor_of(connection))
        connection.exec_driver_sql("DROP TABLE request")
        TABLES.create_all(connection)
        open_memory(
            cursor_of(connection),
            self.platform,
            now=self.clock.now(),
            random_bytes=self.random_bytes,
            accepts_rollback=self.accepts_rollback,
            finish=old.take_over,
        )


def _seal_again(batch: Batch, old: FirstRelease) -> None:
    for secret in old.secrets:
        row = SecretRow(
            name=secret.name,
            id=batch.random_bytes(ID_BYTES),
            tenant=SYSTEM_TENANT if secret.name in SERVICE_KEYS else DEFAULT_TENANT,
            kind=secret.kind,
            version=secret.version,
            state=State.ENABLED,
            create_microseconds=secret.create_microseconds,
        )
        version = VersionRow(
            row.id, row.version, 0, State.ENABLED, secret.rotate_microseconds, 0, ciphertext=b""
        )
        batch.write(row)
        seal_version(batch, row, version, secret.value)


def _destroy_root(path: Path, engine: Engine, tag_key: bytes) -> None:
    """Overwrite and remove the root key of the first release, once nothing depends on it."""
    if not hmac.compare_digest(derive(path.read_bytes(), b"tag"), tag_key):
        # It is of another database, which may still need it.
        return
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        # What it sealed is deleted, but moving rows between pages leaves copies behind.
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.close()
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
