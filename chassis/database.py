"""SQLite or PostgreSQL as the store of one service: acknowledged means durable."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.pool import StaticPool
from sqlmodel import Session

# Brings the tables of an older version, which it is told, to the present one.
Migration: TypeAlias = "Callable[[Connection, int], None]"


class SchemaTooNew(Exception):
    """The file was written by a later release; it is left alone."""


def open_database(
    path: Path, tables: MetaData, *, version: int = 1, migrate: Migration | None = None
) -> Engine:
    """Open a file, make its tables, and refuse one that a later release wrote.

    A file of an earlier version is migrated first, in the transaction that raises its version.
    `synchronous=FULL` with WAL: a commit that returned survives a power cut (sqlite.org/pragma).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30}, hide_parameters=True)
    return _prepare(engine, tables, version, migrate)


def open_postgres(
    url: str,
    tables: MetaData,
    *,
    version: int = 1,
    migrate: Migration | None = None,
    version_table: str = "schema_version",
) -> Engine:
    """Open a PostgreSQL database, make its tables, and refuse one that a later release wrote.

    Processes that start at once make them one after another. Services that share a database have
    version tables of their own.
    """
    # Whatever the server's default is: what we acknowledge is on its disk.
    durable = {"options": "-c synchronous_commit=on"}
    engine = create_engine(url, connect_args=durable, hide_parameters=True, pool_pre_ping=True)
    try:
        with engine.begin() as connection:
            lock = zlib.crc32(version_table.encode())
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock})
            kept = text(f"CREATE TABLE IF NOT EXISTS {version_table} (version INT)")
            connection.execute(kept)
            found = connection.execute(text(f"SELECT version FROM {version_table}")).scalar()  # noqa: S608  # a constant of a service
            _require_known(engine, found or 0, version)
            if found is None:
                connection.execute(text(f"INSERT INTO {version_table} VALUES (0)"))  # noqa: S608  # as above
            elif migrate is not None and found < version:
                migrate(connection, found)
            tables.create_all(connection)
            raised = text(f"UPDATE {version_table} SET version = :version")  # noqa: S608  # as above
            connection.execute(raised, {"version": version})
    except BaseException:
        engine.dispose()
        raise
    return engine


def _require_known(engine: Engine, found: int, version: int) -> None:
    if found > version:
        problem = f"{engine.url.database} has schema {found}, this release knows {version}"
        raise SchemaTooNew(problem)


def open_memory_database(tables: MetaData, *, version: int = 1) -> Engine:
    """Open a database that lives as long as its engine, for simulations and tests."""
    engine = create_engine(
        "sqlite://",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
        hide_parameters=True,
    )
    return _prepare(engine, tables, version, None)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Run a block that only reads: on a file it neither waits for a writer nor stops one."""
    with engine.connect() as connection:
        connection.execution_options(reading=True)
        with connection.begin():
            yield connection


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """Run a block as one transaction that takes the write lock at its start.

    Taking it late would let two writers read the same state and one of them fail half-way.
    """
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def _prepare(engine: Engine, tables: MetaData, version: int, migrate: Migration | None) -> Engine:
    @event.listens_for(engine, "connect")
    def _(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # sqlite3, untyped here
        cursor = connection.cursor()  # type: ignore[attr-defined]  # as above
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        is_reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")

    with engine.begin() as connection:
        found = connection.execute(text("PRAGMA user_version")).scalar_one()
        _require_known(engine, found, version)
        if migrate is not None and 0 < found < version:
            migrate(connection, found)
        tables.create_all(connection)
        connection.execute(text(f"PRAGMA user_version={version}"))
    return engine
