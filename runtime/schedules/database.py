"""Opening the database of schedules: a file of its own, or tables of their own in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from chassis.database import open_database, open_postgres

from .tables import TABLES, VERSION

_VERSION_TABLE = "schedules_version"


def open_schedule_database(path: Path, url: str = "") -> Engine:
    """Open the PostgreSQL database of a URL, or a file if there is none."""
    if url:
        return open_postgres(url, TABLES, version=VERSION, version_table=_VERSION_TABLE)
    return open_database(path, TABLES, version=VERSION)
