"""Statements of SQLite on a bare cursor: SQLAlchemy's own cost more than what they do here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Protocol, TypeAlias, TypeVar, cast

from sqlalchemy import Connection, Table

from .errors import SealBroken
from .rows import GUARDED, Row

Cell: TypeAlias = "str | int | bytes"
RowT = TypeVar("RowT", bound=Row)


class Cursor(Protocol):
    """What is needed of the cursor of a driver."""

    def execute(self, statement: str, values: Sequence[Cell] = (), /) -> object: ...

    def executemany(self, statement: str, rows: Iterable[Sequence[Cell]], /) -> object: ...

    def fetchone(self) -> tuple[Cell, ...] | None: ...

    def fetchall(self) -> list[tuple[Cell, ...]]: ...


def cursor_of(connection: Connection) -> Cursor:
    """Return a cursor in the transaction of a connection."""
    return cast("Cursor", connection.connection.cursor())


def select(cursor: Cursor, row: type[RowT], where: str, values: Sequence[Cell] = ()) -> list[RowT]:
    """Return rows as they are stored, by a condition of ours."""
    table = GUARDED[row]  # type: ignore[index]  # it is one of them
    try:
        cursor.execute(f"{_select(table)} {where}", values)
        return [row._make(found) for found in cursor.fetchall()]  # type: ignore[misc]  # as above
    except UnicodeDecodeError as error:
        raise SealBroken(table.name) from error


def get(cursor: Cursor, row: type[RowT], key: Sequence[Cell]) -> RowT | None:
    """Return the row of a key as it is stored."""
    table = GUARDED[row]  # type: ignore[index]  # it is one of them
    try:
        cursor.execute(_get(table), key)
        found = cursor.fetchone()
    except UnicodeDecodeError as error:
        raise SealBroken(table.name) from error
    return None if found is None else row._make(found)  # type: ignore[return-value]  # as above


def upsert(cursor: Cursor, table: Table, rows: Sequence[Sequence[Cell]]) -> None:
    """Add rows of all columns, or replace them by their key."""
    if len(rows) == 1:
        cursor.execute(_upsert(table), rows[0])
    elif rows:
        cursor.executemany(_upsert(table), rows)


def insert(cursor: Cursor, table: Table, rows: Sequence[Sequence[Cell]]) -> None:
    """Add rows of all columns; one that exists is a bug."""
    if rows:
        cursor.executemany(_insert(table), rows)


def delete(cursor: Cursor, table: Table, key: Sequence[Cell]) -> None:
    """Delete the row of a key."""
    cursor.execute(_delete(table), key)


@cache
def _select(table: Table) -> str:
    return f"SELECT {', '.join(_names(table))} FROM {table.name}"  # noqa: S608  # our names


@cache
def _get(table: Table) -> str:
    return f"{_select(table)} WHERE {_is_key(table)}"


@cache
def _delete(table: Table) -> str:
    return f"DELETE FROM {table.name} WHERE {_is_key(table)}"  # noqa: S608  # our names


@cache
def _insert(table: Table) -> str:
    names = _names(table)
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})"  # noqa: S608  # our names


@cache
def _upsert(table: Table) -> str:
    keys = _keys(table)
    rest = ", ".join(f"{name} = excluded.{name}" for name in _names(table) if name not in keys)
    return f"{_insert(table)} ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {rest}"


def _is_key(table: Table) -> str:
    return " AND ".join(f"{name} = ?" for name in _keys(table))


def _names(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def _keys(table: Table) -> list[str]:
    return [column.name for column in table.primary_key.columns]
