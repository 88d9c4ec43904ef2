"""Opening the database of the journal: a file of SQLite, or PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, text

from chassis.database import SchemaTooNew, open_database

from .migration import migrate
from .sqlite import SqliteJournal
from .stored import StoredJournal
from .tables import TABLES, VERSION

# There is one process for one file; a second one takes the runs of the first over.
WORKER = "embedded"
# Two workers that start at once must not both make the tables. Any number, but always the same.
_SCHEMA_LOCK = 7_401


def open_journal(engine: Engine, *, worker: str = WORKER) -> StoredJournal:
    """Return the journal in a database as a worker sees it that nobody else is named like."""
    if engine.dialect.name == "sqlite":
        return SqliteJournal(engine, worker=worker)
    from .postgres import PostgresJournal  # noqa: PLC0415  # its driver is an extra

    return PostgresJournal(engine, worker=worker)


def open_journal_database(path: Path, url: str = "") -> Engine:
    """Open the PostgreSQL database of a URL, or a file if there is none, and make its tables.

    Raise `SchemaTooNew` if a later release wrote it.
    """
    if url:
        return _open_postgres(url)
    return open_database(path, TABLES, version=VERSION, migrate=migrate)


def _open_postgres(url: str) -> Engine:
    # Whatever the server's default is: what we acknowledge is on its disk.
    durable = {"options": "-c synchronous_commit=on"}
    engine = create_engine(url, connect_args=durable, hide_parameters=True, pool_pre_ping=True)
    try:
        with engine.begin() as connection:
            _make_tables(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_tables(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
    connection.execute(text("CREATE TABLE IF NOT EXISTS schema_version (version INT)"))
    found = connection.execute(text("SELECT version FROM schema_version")).scalar()
    if found is None:
        connection.execute(text("INSERT INTO schema_version VALUES (:new)"), {"new": VERSION})
    elif found != VERSION:
        # There is no earlier one for PostgreSQL.
        name = connection.engine.url.database
        raise SchemaTooNew(f"{name} has schema {found}, this release knows {VERSION}")
    TABLES.create_all(connection)
