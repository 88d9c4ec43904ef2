"""Opening the database of the ledger, and bringing an old one to the present version."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, select, text, update

import chassis.database

from .budget_rows import migrate_budgets
from .bulk import bulk_of
from .entries import Entry, Tip, last_leg, new_entry
from .ledger import HOLD_LIFE, HoldState
from .market.tables import ALL_TABLES
from .tables import ENTRY, HOLD, RUN, VERSION, entry_values, hold_of


def open_ledger_database(path: Path, url: str) -> Engine:
    """Open the PostgreSQL database of a URL, or a file if there is none."""
    if url:
        return open_postgres(url)
    return chassis.database.open_database(path, ALL_TABLES, version=VERSION, migrate=migrate)


def open_postgres(url: str) -> Engine:
    """Open a PostgreSQL database, and bring it to the present version."""
    engine = chassis.database.open_postgres(url, ALL_TABLES, version=VERSION, migrate=migrate)
    with engine.begin() as connection:
        # Every hold is written twice. With room beside it, the second time touches no index.
        connection.execute(text(f"ALTER TABLE {HOLD.name} SET (fillfactor = {_HOLDS_FILL})"))
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


# Percent of a page that new holds fill.
_HOLDS_FILL = 60
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
