"""The journal in SQLite: one process has it, and writes a batch with prepared statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sqlalchemy import Connection, Engine, Table

from . import tally
from .draft import Draft, Found, Stored
from .folding import Head
from .operations import Operation, Tell
from .stored import StoredJournal
from .tables import APPROVAL, BLOB, BUNDLE, EVENT, HEAD_COLUMNS, RUN, SNAPSHOT


def _insert(table: Table, conflict: str = "") -> str:
    names = [column.name for column in table.columns]
    places = ", ".join("?" * len(names))
    return f"INSERT {conflict}INTO {table.name} ({', '.join(names)}) VALUES ({places})"  # noqa: S608  # our names


_HEADS = f"SELECT {HEAD_COLUMNS} FROM run"  # noqa: S608  # our names
_BY_NAME = f"{_HEADS} WHERE name = ?"
_BY_REQUEST = f"{_HEADS} WHERE request_id = ?"
_STORED = (
    "SELECT kind, fact, blob FROM event WHERE run = ? AND sequence >= ? AND sequence < ?"
    " ORDER BY sequence"
)
_NOTE_DIGEST = "SELECT sha256 FROM note WHERE run = ? AND request_id = ?"
_UNHEARD = "SELECT count(*) FROM note WHERE run = ? AND NOT is_heard"
_HAS_BUNDLE = "SELECT 1 FROM bundle WHERE name = ?"
_LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM run"
_OPEN_COUNT = "SELECT count(*) FROM run WHERE end_time IS NULL AND is_called IS 0"

_NEW_RUN, _NEW_BUNDLE, _NEW_EVENT = _insert(RUN), _insert(BUNDLE), _insert(EVENT)
_NEW_BLOB = _insert(BLOB, "OR IGNORE ")
_NEW_SNAPSHOT = _insert(SNAPSHOT, "OR REPLACE ")
_NEW_APPROVAL = _insert(APPROVAL, "OR REPLACE ")
_NEW_NOTE = (
    "INSERT INTO note (run, request_id, sha256, kind, fact, is_heard) VALUES (?, ?, ?, ?, ?, ?)"
)
_CHANGE = "UPDATE run SET sequence = ?, state = ?, step_count = ?, gas = ? WHERE number = ?"
_FINISH = "UPDATE run SET end_time = ?, outcome = ? WHERE number = ?"
_CLOSE_ALL = "DELETE FROM approval WHERE run = ?"
_CLOSE = "DELETE FROM approval WHERE run = ? AND call = ?"
_HEAR = "UPDATE note SET is_heard = 1, fact = x'' WHERE number = ? AND run = ?"


class SqliteJournal(StoredJournal):
    """The journal in a database that is open; one in memory will do."""

    def __init__(self, engine: Engine, *, worker: str) -> None:
        super().__init__(engine, SqliteRows(), worker=worker)


class SqliteRows:
    """`execute` and `executemany` of the driver: loops in C over statements that it prepares once.

    Nobody else writes until the transaction ends, for it began with the lock.
    """

    failures: tuple[type[Exception], ...] = (sqlite3.OperationalError,)

    def find(self, connection: Connection, batch: Sequence[Operation]) -> Found:
        """Look every run up by its key."""
        cursor = _cursor(connection)
        heads = dict[int, Head]()

        def look(statement: str, key: str) -> Head | None:
            row = cursor.execute(statement, (key,)).fetchone()
            return heads.setdefault(row[0], Head(*row)) if row else None

        found = Found(_stored(cursor), _execute(cursor))
        for asked in batch:
            run = look(_BY_NAME, asked.run) if asked.run else None
            if run and isinstance(asked, Tell):
                _find_notes(cursor, run.number, asked.request_id, found)
            begun = asked.begun
            if begun:
                look(_BY_REQUEST, begun.new.request_id)
                look(_BY_NAME, begun.new.name)
                if cursor.execute(_HAS_BUNDLE, (begun.new.bundle,)).fetchone():
                    found.bundles.add(begun.new.bundle)
        if any(asked.begun for asked in batch):
            (found.last_number,) = cursor.execute(_LAST_NUMBER).fetchone()
            (found.open_count,) = cursor.execute(_OPEN_COUNT).fetchone()
        found.heads = list(heads.values())
        return found

    def write(self, connection: Connection, draft: Draft) -> None:
        """Write the rows of one table after those of another."""
        write = _cursor(connection).executemany
        changed, finished = draft.changed.values(), draft.finished
        if draft.begun:
            write(_NEW_BUNDLE, list(draft.bundles.items()))
            write(_NEW_RUN, draft.begun)
        write(_NEW_EVENT, list(draft.events.values()))
        write(
            _CHANGE,
            [(run.sequence, run.state, run.step_count, run.gas, run.number) for run in changed],
        )
        if finished:
            write(_FINISH, [(run.end_time, run.outcome, run.number) for run in finished])
            write(_CLOSE_ALL, [(run.number,) for run in finished])
        if draft.approvals:
            write(_CLOSE, [key for key, row in draft.approvals.items() if row is None])
            write(_NEW_APPROVAL, [row for row in draft.approvals.values() if row is not None])
        if draft.blobs:
            write(_NEW_BLOB, list(draft.blobs.items()))
        if draft.snapshots:
            write(_NEW_SNAPSHOT, list(draft.snapshots.values()))
        if draft.notes:
            write(_NEW_NOTE, draft.notes)
        if draft.heard:
            write(_HEAR, draft.heard)


def _cursor(connection: Connection) -> sqlite3.Cursor:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection), "this is the journal in SQLite"
    return raw.cursor()


def _execute(cursor: sqlite3.Cursor) -> tally.Execute:
    return lambda sql, values: cursor.execute(sql, values).fetchall()


def _find_notes(cursor: sqlite3.Cursor, run: int, request_id: str, found: Found) -> None:
    known = cursor.execute(_NOTE_DIGEST, (run, request_id)).fetchone()
    if known:
        (found.notes[run, request_id],) = known
    (found.unheard[run],) = cursor.execute(_UNHEARD, (run,)).fetchone()


def _stored(cursor: sqlite3.Cursor) -> Stored:
    return lambda run, sequence, count: cursor.execute(
        _STORED, (run, sequence, sequence + count)
    ).fetchall()
