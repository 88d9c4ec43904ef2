"""Opening the database of runs, and bringing an old one to the present version."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, text

from chassis.database import open_database

from .rows import TABLES

VERSION = 3


def open_run_database(path: Path) -> Engine:
    """Open the file, or make it."""
    return open_database(path, TABLES, version=VERSION, migrate=migrate)


def migrate(connection: Connection, found: int) -> None:
    """Bring a file of an earlier version to this one."""
    assert found in _ADDED, f"there is no version {found} to migrate from"
    for version in range(found, VERSION):
        for column in _ADDED[version]:
            connection.execute(text(f"ALTER TABLE run ADD COLUMN {column}"))


# What the version after this one has more.
_ADDED = {
    # Runs call others.
    1: ("callers BLOB NOT NULL DEFAULT x'5b5d'", "deadline VARCHAR"),  # []
    # Runs wait for people.
    2: ("approval VARCHAR NOT NULL DEFAULT ''", "approval_sequence INTEGER NOT NULL DEFAULT 0"),
}
