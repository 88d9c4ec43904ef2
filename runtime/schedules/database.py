"""Opening the database of schedules: a file of its own, or tables of their own in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from chassis.database import SchemaTooNew, open_database

from .tables import TABLES, VERSION

# Two processes that start at once must not both make the tables. Any number, but always the same.
_SCHEMA_LOCK = 7_406


def open_schedule_database(path: Path, url: str = "") -> Engine:
    """Open the PostgreSQL database of a URL, or a file if there is none."""
    if url:
        return open_postgres(url)
    return open_database(path, TABLES, version=VERSION)


def open_postgres(url: str) -> Engine:
    """Open a PostgreSQL database, make its tables, and refuse one that a later release wrote."""
    # Whatever the server's default is: what we acknowledge is on its disk.
    durable = {"options": "-c synchronous_commit=on"}
    engine = create_engine(url, connect_args=durable, hide_parameters=True, pool_pre_ping=True)
    try:
        _prepare(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _prepare(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
        connection.execute(text("CREATE TABLE IF NOT EXISTS schedules_version (version INT)"))
        found = connection.execute(text("SELECT version FROM schedules_version")).scalar()
        if found is not None and found > VERSION:
            problem = f"{engine.url.database} has schema {found}, this release knows {VERSION}"
            raise SchemaTooNew(problem)
        if found is None:
            connection.execute(
                text("INSERT INTO schedules_version VALUES (:version)"), {"version": VERSION}
            )
        TABLES.create_all(connection)
