"""Opening the database of runs, and bringing an old one to the present version."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, text

from chassis.database import open_database

from .store import TABLES

VERSION = 2


def open_run_database(path: Path) -> Engine:
    """Open the file, or make it."""
    return open_database(path, TABLES, version=VERSION, migrate=migrate)


def migrate(connection: Connection, found: int) -> None:
    """Bring a file of the first version, in which no run called another, to this one."""
    assert found == 1, f"there is no version {found} to migrate from"
    for column in (
        "callers BLOB NOT NULL DEFAULT x'5b5d'",  # []
        "deadline VARCHAR",
    ):
        connection.execute(text(f"ALTER TABLE run ADD COLUMN {column}"))
