"""Writing many rows at once, in the way that is fastest on each database.

SQLAlchemy's own bulk statements cost ten times the CPU of these, which is most of a commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

from sqlalchemy import BigInteger, Boolean, Connection, Engine, LargeBinary, Table

from .tables import Values


class Bulk(Protocol):
    """One statement for any number of rows; none is no statement."""

    def insert(self, connection: Connection, table: Table, rows: Sequence[Values]) -> None:
        """Add rows of all columns; one that exists is a bug."""

    def upsert(self, connection: Connection, table: Table, rows: Sequence[Values]) -> None:
        """Add or replace rows of all columns by primary key."""

    def add(self, connection: Connection, table: Table, rows: Sequence[Values]) -> None:
        """Add rows of all columns; to one that exists, numbers that are no key are added."""

    def update(
        self, connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Values]
    ) -> None:
        """Set columns of rows that exist; a row is its primary key, then their values."""


def bulk_of(engine: Engine) -> Bulk:
    """Return how to write to a database."""
    return PostgresBulk() if engine.dialect.name == "postgresql" else SqliteBulk()


class SqliteBulk:
    """`executemany`, which is a loop in C."""

    def insert(self, connection: Connection, table: Table, rows: Sequence[Values]) -> None:
        if rows:
            connection.exec_driver_sql(_insert_one(table), list(rows))

    def upsert(self, connection: Connection, table: Table, rows: Sequence[Values]) -> None:
        if rows:
            connection.exec_driver_sql(_insert_one(table) + _on_conflict(table), list(rows))

    def add(self, connection: Connection, table: Table, rows: Sequence[Values]) -> None:
        if rows:
            connection.exec_driver_sql(_insert_one(table) + _on_conflict_add(table), list(rows))

    def update(
        self, connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Values]
    ) -> None:
        if rows:
            settings = ", ".join(f"{column} = ?{i}" for i, column in enumerate(columns, start=2))
            (key,) = _keys(table)
            statement = f"UPDATE {table.name} SET {settings} WHERE {key} = ?1"  # noqa: S608  # our names
            connection.exec_driver_sql(statement, list(rows))


class PostgresBulk:
    """One array for each column, which the server turns into rows."""

    def insert(self, connection: Connection, table: Table, rows: Sequence[Values]) -> None:
        if rows:
            statement = _insert_arrays(table)
            connection.exec_driver_sql(statement, _by_column(rows))

    def upsert(self, connection: Connection, table: Table, rows: Sequence[Values]) -> None:
        if rows:
            statement = _insert_arrays(table) + _on_conflict(table)
            connection.exec_driver_sql(statement, _by_column(rows))

    def add(self, connection: Connection, table: Table, rows: Sequence[Values]) -> None:
        if rows:
            statement = _insert_arrays(table) + _on_conflict_add(table)
            connection.exec_driver_sql(statement, _by_column(rows))

    def update(
        self, connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Values]
    ) -> None:
        if rows:
            (key,) = _keys(table)
            settings = ", ".join(f"{column} = new.{column}" for column in columns)
            arrays = _arrays(table, [key, *columns])
            names = ", ".join([key, *columns])
            statement = (
                f"UPDATE {table.name} AS old SET {settings} "  # noqa: S608  # our names
                f"FROM unnest({arrays}) AS new({names}) WHERE old.{key} = new.{key}"
            )
            connection.exec_driver_sql(statement, _by_column(rows))


def _by_column(rows: Sequence[Values]) -> tuple[list[object], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))


@cache
def _insert_one(table: Table) -> str:
    names = [column.name for column in table.columns]
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})"  # noqa: S608  # our names


@cache
def _insert_arrays(table: Table) -> str:
    names = [column.name for column in table.columns]
    arrays = _arrays(table, names)
    # The condition separates the query from the ON CONFLICT that may follow.
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) "  # noqa: S608  # our names
        f"SELECT * FROM unnest({arrays}) WHERE true"
    )


@cache
def _on_conflict(table: Table) -> str:
    settings = ", ".join(f"{name} = excluded.{name}" for name in _rest(table))
    return f" ON CONFLICT ({', '.join(_keys(table))}) DO UPDATE SET {settings}"


@cache
def _on_conflict_add(table: Table) -> str:
    own = table.name
    settings = ", ".join(f"{name} = {own}.{name} + excluded.{name}" for name in _rest(table))
    return f" ON CONFLICT ({', '.join(_keys(table))}) DO UPDATE SET {settings}"


def _keys(table: Table) -> list[str]:
    return [column.name for column in table.primary_key.columns]


def _rest(table: Table) -> list[str]:
    keys = _keys(table)
    return [column.name for column in table.columns if column.name not in keys]


def _arrays(table: Table, names: Sequence[str]) -> str:
    return ", ".join(f"%s::{_array_type(table, name)}" for name in names)


def _array_type(table: Table, name: str) -> str:
    kinds = ((BigInteger, "bigint[]"), (Boolean, "boolean[]"), (LargeBinary, "bytea[]"))
    found = (sql for kind, sql in kinds if isinstance(table.columns[name].type, kind))
    return next(found, "text[]")
