"""Opening the database of the ledger, and bringing an old one to the present version."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, select, text, update

from chassis.database import SchemaTooNew, open_database

from .budget_rows import migrate_budgets
from .bulk import bulk_of
from .entries import Entry, Tip, last_leg, new_entry
from .ledger import HOLD_LIFE, HoldState
from .market.tables import ALL_TABLES
from .tables import ENTRY, HOLD, RUN, VERSION, entry_values, hold_of

# Two processes that start at once must not both make the tables. Any number, but always the same.
_SCHEMA_LOCK = 7_405


def open_ledger_database(path: Path, url: str) -> Engine:
    """Open the PostgreSQL database of a URL, or a file if there is none."""
    if url:
        return open_postgres(url)
    return open_database(path, ALL_TABLES, version=VERSION, migrate=migrate)


def open_postgres(url: str) -> Engine:
    """Open a PostgreSQL database, make its tables, and refuse one that a later release wrote."""
    # Whatever the server's default is: what we acknowledge is on its disk.
    durable = {"options": "-c synchronous_commit=on"}
    engine = create_engine(url, connect_args=durable, hide_parameters=True, pool_pre_ping=True)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
        connection.execute(text("CREATE TABLE IF NOT EXISTS schema_version (version INT)"))
        found = connection.execute(text("SELECT version FROM schema_version")).scalar()
        if found is not None and found > VERSION:
            problem = f"{engine.url.database} has schema {found}, this release knows {VERSION}"
            raise SchemaTooNew(problem)
        if found is None:
            connection.execute(text("INSERT INTO schema_version VALUES (0)"))
        elif found < VERSION:
            migrate(connection, found)
        ALL_TABLES.create_all(connection)
        connection.execute(text("UPDATE schema_version SET version = :new"), {"new": VERSION})
    return engine


def migrate(connection: Connection, found: int) -> None:
    """Bring the tables of an earlier version to this one; new tables are made afterwards."""
    assert _FIRST <= found < VERSION, f"there is no version {found} to migrate from"
    if found == _FIRST:
        _add_columns(connection, _COLUMNS_OF_2)
    else:
        _add_columns(connection, _COLUMNS_OF_4)
    if found == _SECOND:
        _add_columns(connection, ("fence ADD COLUMN ledger_id TEXT NOT NULL DEFAULT ''",))
    if found <= _SECOND:
        _add_columns(connection, _COLUMNS_OF_3)
    if found == _FIRST:
        _enter_charges(connection)
    if found <= _SECOND:
        migrate_budgets(connection)


_FIRST, _SECOND = 1, 2
_COLUMNS_OF_2 = (
    "run ADD COLUMN line_count BIGINT NOT NULL DEFAULT 0",
    "hold ADD COLUMN expire_time TEXT NOT NULL DEFAULT ''",
    "hold ADD COLUMN refunded_gas BIGINT NOT NULL DEFAULT 0",
)
_COLUMNS_OF_3 = (
    "run ADD COLUMN callers TEXT NOT NULL DEFAULT '[]'",
    "hold ADD COLUMN callers TEXT NOT NULL DEFAULT '[]'",
    "hold ADD COLUMN tenants TEXT NOT NULL DEFAULT '[]'",
)

# The first version had no entries: their table is made anew.
_COLUMNS_OF_4 = ("entry ADD COLUMN fee TEXT NOT NULL DEFAULT ''",)


def _add_columns(connection: Connection, columns: Sequence[str]) -> None:
    for column in columns:
        connection.execute(text(f"ALTER TABLE {column}"))


def _enter_charges(connection: Connection) -> None:
    """Make entries of the charges of the first version, in the order of their holds.

    They have the time of the hold: when they were charged was not recorded.
    """
    ALL_TABLES.create_all(connection)
    lines = "(SELECT COALESCE(MAX(line), 0) FROM hold WHERE hold.run = run.name)"
    connection.execute(update(RUN).values(line_count=text(lines)))
    _date_expiry(connection)
    tip, entries = Tip(), list[Entry]()
    charged = select(HOLD).where(HOLD.c.state == HoldState.SETTLED.value)
    for row in connection.execute(charged.order_by(HOLD.c.create_time, HOLD.c.name)):
        hold = hold_of(row)
        entries.append(
            new_entry(
                tip,
                hold,
                last_leg(hold, hold.charged_usages),
                hold.charged_gas,
                now=hold.create_time,
            )
        )
        tip = entries[-1].tip
    bulk_of(connection.engine).insert(connection, ENTRY, [entry_values(entry) for entry in entries])


def _date_expiry(connection: Connection) -> None:
    made = select(HOLD.c.name, HOLD.c.create_time)
    rows = [
        (name, (datetime.fromisoformat(create_time) + HOLD_LIFE).isoformat())
        for name, create_time in connection.execute(made)
    ]
    bulk_of(connection.engine).update(connection, HOLD, ["expire_time"], rows)
