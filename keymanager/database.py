"""Opening the file of the vault, and bringing one of the first release to the present form.

The first release had one row for each secret, under a root key in a file beside the database. All
of it is sealed again in one transaction; only when that is on disk, the root key is destroyed.
"""

from __future__ import annotations

import hmac
import os
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine

from chassis.clock import Clock
from chassis.database import open_database

from .batch import Batch
from .errors import RolledBack
from .first_release import FirstRelease, read_first_release
from .keyring import WRAPS_MAX, seal_version
from .lifecycle import ID_BYTES
from .opening import new_memory, start
from .platform.port import Sealing
from .requests import write as write_request
from .rows import TABLES, VERSION, SecretRow, VersionRow
from .sealing import RandomBytes, derive
from .secret import DEFAULT_TENANT, SYSTEM_TENANT, State
from .signing import SERVICE_KEYS
from .sql import cursor_of
from .store import VaultStore

_FIRST = 1


def open_vault_store(
    folder: Path,
    platform: Sealing,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
    accepts_rollback: bool = False,
) -> tuple[Engine, VaultStore]:
    """Open `keymanager.db` of a folder; whoever opens disposes of the engine.

    Raises as `VaultStore` does, and `RootKeyUnusable` for a first release without its root key.
    """
    root_file = folder / "root.key"

    def migrate(connection: Connection, found: int) -> None:
        assert found == _FIRST, f"there is no version {found} to migrate from"
        counter = platform.read_counter()
        if platform.has_counted() and not accepts_rollback:
            raise RolledBack(
                f"keymanager.db is of the first release, the platform counted {counter}"
            )
        old = read_first_release(connection, root_file)
        TABLES.create_all(connection)
        cursor = cursor_of(connection)
        memory = new_memory(cursor, platform, counter, random_bytes)
        batch = Batch(
            memory, cursor, now=clock.now(), random_bytes=random_bytes, wraps_max=WRAPS_MAX
        )
        _seal_again(batch, old)
        start(batch, counter, request_key=old.tag_key)
        for request in old.requests:
            write_request(batch, request)
        connection.exec_driver_sql("DROP TABLE requests")
        connection.exec_driver_sql("DROP TABLE secrets")

    engine = open_database(folder / "keymanager.db", TABLES, version=VERSION, migrate=migrate)
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
