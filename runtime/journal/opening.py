"""Opening the database of the journal: a file of SQLite, or PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from chassis.database import open_database, open_postgres

from .migration import migrate
from .sqlite import SqliteJournal
from .stored import StoredJournal
from .tables import TABLES, VERSION

# There is one process for one file; a second one takes the runs of the first over.
WORKER = "embedded"


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
        # There is no earlier version there.
        return open_postgres(url, TABLES, version=VERSION)
    return open_database(path, TABLES, version=VERSION, migrate=migrate)
