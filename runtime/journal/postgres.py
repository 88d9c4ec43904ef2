"""The journal in PostgreSQL: several workers share it, and each writes its batches as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from sqlalchemy import BigInteger, Boolean, Connection, Engine, LargeBinary, Table

from . import tally
from .draft import Draft, Found, Stored, Values
from .folding import Head
from .operations import Extend, Operation, Tell
from .stored import StoredJournal
from .tables import APPROVAL, BLOB, BUNDLE, EVENT, HEAD_COLUMNS, RUN, SNAPSHOT

# Whoever begins runs holds it: numbers have no gaps, and the limit is exact. Any number will do.
_BEGINNING_LOCK = 7_403
# Whoever counts in windows of policies holds it: two must not take the same room.
_COUNTING_LOCK = 7_404


class PostgresJournal(StoredJournal):
    """The journal in a database that is open."""

    def __init__(self, engine: Engine, *, worker: str) -> None:
        super().__init__(engine, PostgresRows(), worker=worker)


class PostgresRows:
    """One statement for any number of rows, sent without waiting for the one before.

    Rows of runs are locked from `find` until the transaction ends. That is the fence: who takes a
    run over has to wait for the lock, or skips it, and whoever finds another epoch writes nothing.
    """

    failures: tuple[type[Exception], ...] = (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        # A standby that became none, or one that is none any more.
        psycopg.InternalError,
    )

    def find(self, connection: Connection, batch: Sequence[Operation]) -> Found:
        """Lock the runs of a batch, in the order of their numbers as everybody does."""
        raw = _raw(connection)
        cursor = raw.cursor(binary=True)
        begins = [asked.begun.new for asked in batch if asked.begun]
        names = [asked.run for asked in batch if asked.run]
        found = Found(_stored(cursor), _execute(cursor))
        if begins:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_BEGINNING_LOCK,))
        if any(isinstance(asked, Extend) and asked.entry.uses for asked in batch):
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_COUNTING_LOCK,))
        if begins:
            names += [new.name for new in begins]
            requests = [new.request_id for new in begins]
            cursor.execute(_BY_REQUEST, (names, requests))
        else:
            cursor.execute(_BY_NAME, (names,))
        found.heads = [Head(*row) for row in cursor.fetchall()]
        if begins:
            bundles = [new.bundle for new in begins]
            found.bundles = {name for (name,) in cursor.execute(_BUNDLES, (bundles,))}
            ((found.last_number, found.open_count),) = cursor.execute(_COUNTS)
        tells = [asked for asked in batch if isinstance(asked, Tell)]
        if tells:
            _find_notes(cursor, tells, found)
        return found

    def write(self, connection: Connection, draft: Draft) -> None:
        """Write the rows of one table after those of another."""
        raw = _raw(connection)
        changed, finished = draft.changed.values(), draft.finished
        opened = [row for row in draft.approvals.values() if row is not None]
        closed = [key for key, row in draft.approvals.items() if row is None]
        ended = [(run.number, run.end_time, run.outcome) for run in finished]
        folded = [(run.number, run.sequence, run.state, run.step_count, run.gas) for run in changed]
        with raw.pipeline(), raw.cursor() as cursor:
            for statement, rows in (
                (_NEW_BUNDLE, draft.bundles.items()),
                (_NEW_RUN, draft.begun),
                (_NEW_EVENT, draft.events.values()),
                (_CHANGE, folded),
                (_FINISH, ended),
                (_CLOSE_ALL, [(run.number,) for run in finished]),
                (_CLOSE, closed),
                (_NEW_APPROVAL, opened),
                # In one order, for two workers may keep the same.
                (_NEW_BLOB, sorted(draft.blobs.items())),
                (_NEW_SNAPSHOT, draft.snapshots.values()),
                (_NEW_NOTE, draft.notes),
                (_HEAR, draft.heard),
            ):
                if rows:
                    cursor.execute(statement, _by_column(rows))


def _raw(connection: Connection) -> psycopg.Connection[Any]:
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection), "this is the journal in PostgreSQL"
    return raw


def _by_column(rows: Iterable[Values]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _execute(cursor: psycopg.Cursor[Any]) -> tally.Execute:
    def execute(sql: str, values: Sequence[object]) -> Sequence[Any]:
        cursor.execute(sql.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []

    return execute


def _find_notes(cursor: psycopg.Cursor[Any], tells: Sequence[Tell], found: Found) -> None:
    numbers = {head.name: head.number for head in found.heads}
    runs = [numbers.get(tell.run) for tell in tells]
    requests = [tell.request_id for tell in tells]
    for run, request_id, digest in cursor.execute(_NOTES, (runs, requests)):
        found.notes[run, request_id] = digest
    found.unheard.update(cursor.execute(_UNHEARD, (runs,)).fetchall())


def _stored(cursor: psycopg.Cursor[Any]) -> Stored:
    return lambda run, sequence, count: cursor.execute(
        _STORED, (run, sequence, sequence + count)
    ).fetchall()


def _array(table: Table, name: str) -> str:
    kinds = ((BigInteger, "bigint"), (Boolean, "boolean"), (LargeBinary, "bytea"))
    kind = table.columns[name].type
    return next((sql for cls, sql in kinds if isinstance(kind, cls)), "text")


def _arrays(*kinds: str) -> str:
    return f"unnest({', '.join(f'%b::{kind}[]' for kind in kinds)})"


def _insert(table: Table, conflict: str = "") -> str:
    names = [column.name for column in table.columns]
    arrays = _arrays(*(_array(table, name) for name in names))
    # The condition separates the query from the ON CONFLICT that may follow.
    return f"INSERT INTO {table.name} SELECT * FROM {arrays} WHERE true {conflict}"  # noqa: S608  # our names


_HEADS = f"SELECT {HEAD_COLUMNS} FROM run WHERE name = ANY(%b)"  # noqa: S608  # our names
_LOCK = "ORDER BY number FOR UPDATE"
_BY_NAME = f"{_HEADS} {_LOCK}"
_BY_REQUEST = f"{_HEADS} OR request_id = ANY(%b) {_LOCK}"
_STORED = (
    "SELECT kind, fact, blob FROM event WHERE run = %s AND sequence >= %s AND sequence < %s"
    " ORDER BY sequence"
)
_NOTES = (
    "SELECT run, request_id, sha256 FROM note WHERE (run, request_id) IN"
    " (SELECT * FROM unnest(%b::bigint[], %b::text[]))"
)
_UNHEARD = "SELECT run, count(*) FROM note WHERE run = ANY(%b) AND is_heard IS FALSE GROUP BY run"
_BUNDLES = "SELECT name FROM bundle WHERE name = ANY(%b)"
_COUNTS = (
    "SELECT (SELECT coalesce(max(number), 0) FROM run),"
    " (SELECT count(*) FROM run WHERE end_time IS NULL AND is_called IS FALSE)"
)
_NEW_BUNDLE, _NEW_RUN, _NEW_EVENT = map(_insert, (BUNDLE, RUN, EVENT))
_NEW_BLOB = _insert(BLOB, "ON CONFLICT DO NOTHING")
_NEW_SNAPSHOT = _insert(
    SNAPSHOT,
    "ON CONFLICT (run) DO UPDATE SET sequence = excluded.sequence, state = excluded.state",
)
_NEW_APPROVAL = _insert(
    APPROVAL,
    "ON CONFLICT (run, call) DO UPDATE SET sequence = excluded.sequence,"
    " create_time = excluded.create_time, name = excluded.name",
)
_NEW_NOTE = (
    "INSERT INTO note (run, request_id, sha256, kind, fact, is_heard)"  # noqa: S608  # our names
    f" SELECT * FROM {_arrays('bigint', 'text', 'text', 'text', 'bytea', 'boolean')}"
)
_CHANGE = (
    "UPDATE run SET sequence = new.sequence, state = new.state, step_count = new.step_count,"  # noqa: S608  # our names
    f" gas = new.gas FROM {_arrays('bigint', 'bigint', 'text', 'bigint', 'bigint')}"
    " AS new(number, sequence, state, step_count, gas) WHERE run.number = new.number"
)
_FINISH = (
    "UPDATE run SET end_time = new.end_time, outcome = new.outcome"  # noqa: S608  # our names
    f" FROM {_arrays('bigint', 'text', 'bytea')} AS new(number, end_time, outcome)"
    " WHERE run.number = new.number"
)
_CLOSE_ALL = "DELETE FROM approval WHERE run = ANY(%b)"
_CLOSE = (
    "DELETE FROM approval WHERE (run, call) IN (SELECT * FROM unnest(%b::bigint[], %b::text[]))"
)
_HEAR = (
    "UPDATE note SET is_heard = TRUE, fact = '' WHERE (number, run) IN"
    " (SELECT * FROM unnest(%b::bigint[], %b::bigint[]))"
)
