"""The journal in SQLite: one process has it, and writes a batch with prepared statements."""

from __future__ import annotations

import json
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
_GIVEN = "IN (SELECT value FROM json_each(?))"
_BY_NAME = f"{_HEADS} WHERE name {_GIVEN}"
_BY_REQUEST = f"{_HEADS} WHERE request_id {_GIVEN}"
_STORED = (
    "SELECT kind, fact, blob FROM event WHERE run = ? AND sequence >= ? AND sequence < ?"
    " ORDER BY sequence"
)
_NOTE_DIGEST = "SELECT sha256 FROM note WHERE run = ? AND request_id = ?"
_UNHEARD = "SELECT count(*) FROM note WHERE run = ? AND is_heard IS 0"
_BUNDLES = f"SELECT name FROM bundle WHERE name {_GIVEN}"  # noqa: S608  # our names
_COUNTS = (
    "SELECT (SELECT coalesce(max(number), 0) FROM run),"
    " (SELECT count(*) FROM run WHERE end_time IS NULL AND is_called IS 0)"
)

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
        """Look runs up by their keys, which are handed over as JSON."""
        cursor = _cursor(connection)
        begins = [asked.begun.new for asked in batch if asked.begun]
        names = [*(asked.run for asked in batch), *(new.name for new in begins)]
        heads = {row[0]: Head(*row) for row in cursor.execute(_BY_NAME, (json.dumps(names),))}
        found = Found(_stored(cursor), _execute(cursor))
        if begins:
            requests = json.dumps([new.request_id for new in begins])
            for row in cursor.execute(_BY_REQUEST, (requests,)):
                heads.setdefault(row[0], Head(*row))
            bundles = json.dumps([new.bundle for new in begins])
            found.bundles = {name for (name,) in cursor.execute(_BUNDLES, (bundles,))}
            found.last_number, found.open_count = cursor.execute(_COUNTS).fetchone()
        found.heads = [*heads.values()]
        tells = [asked for asked in batch if isinstance(asked, Tell)]
        if tells:
            _find_notes(cursor, tells, found)
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


def _find_notes(cursor: sqlite3.Cursor, tells: Sequence[Tell], found: Found) -> None:
    numbers = {head.name: head.number for head in found.heads}
    for tell in tells:
        run = numbers.get(tell.run)
        if run is not None:
            known = cursor.execute(_NOTE_DIGEST, (run, tell.request_id)).fetchone()
            if known:
                (found.notes[run, tell.request_id],) = known
            (found.unheard[run],) = cursor.execute(_UNHEARD, (run,)).fetchone()


def _stored(cursor: sqlite3.Cursor) -> Stored:
    return lambda run, sequence, count: cursor.execute(
        _STORED, (run, sequence, sequence + count)
    ).fetchall()
