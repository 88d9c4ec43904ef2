"""The journal in SQLite: one writer, group commit; an answer means that it is on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from chassis.errors import RequestIdReused
from chassis.group_commit import GroupCommit

from ..errors import (
    ApprovalNotFound,
    JournalUnavailable,
    LeaseLost,
    LimitReached,
    NotesExceeded,
    RunNotFound,
    RunsExceeded,
)
from ..facts import (
    Event,
    Note,
    encode,
    encode_callers,
)
from . import port, tally
from .folding import (
    RUN_COLUMNS,
    Encoded,
    Summary,
    approvals_of,
    encode_events,
    first_events,
    read_run,
)
from .port import Entry, Lease, NewRun, Opened, Run
from .reading import JournalReader

Cursor: TypeAlias = sqlite3.Cursor
Operation: TypeAlias = Callable[[Cursor], object]
Result = TypeVar("Result")


class SqliteJournal(JournalReader):
    """`Journal`; see there. `worker` names the process, `life` this life of it."""

    def __init__(self, engine: Engine, *, worker: str, life: str) -> None:
        super().__init__(engine, worker=f"{worker}/{life}")
        self._former = f"{worker}/"
        self._commits: GroupCommit[Operation] = GroupCommit(self._commit)

    async def create(self, new: NewRun, now: datetime) -> Opened:
        """Keep a run with its first events; see `Journal`."""
        return await self._write(partial(self._create, new, now))

    async def append(self, entry: Entry) -> None:
        """Keep events; see `Journal`."""
        encoded = encode_events(entry.events, sequence=entry.sequence)
        await self._write(partial(self._append, entry, encoded))

    async def post(self, run: str, note: Note, *, request_id: str, now: datetime) -> Run:  # noqa: ARG002  # the port has it
        """Keep a note; see `Journal`."""
        return await self._write(partial(_post, run, note, request_id))

    async def claim(self, now: datetime, *, seconds: float, limit: int) -> list[Lease]:
        """Take open runs that nobody holds; see `Journal`."""
        await self.renew(now, seconds=seconds)
        return await self._write(partial(self._claim, now, limit))

    async def renew(self, now: datetime, *, seconds: float) -> None:
        """Hold all runs of this worker for so long; see `Journal`."""
        until = now.timestamp() + seconds
        sql = "INSERT INTO worker VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET until = ?"
        await self._write(lambda cursor: cursor.execute(sql, (self._worker, until, until)))

    async def release(self) -> None:
        """Let others have the runs of this worker; see `Journal`."""
        sql = "DELETE FROM worker WHERE name = ?"
        await self._write(lambda cursor: cursor.execute(sql, (self._worker,)))

    async def _write(self, operation: Callable[[Cursor], Result]) -> Result:
        return cast("Result", await self._commits.apply(operation))

    def _commit(self, operations: Sequence[Operation]) -> Sequence[object]:
        try:
            with self._engine.begin() as connection:
                cursor = cast("Cursor", connection.connection.cursor())
                return [_outcome(operation, cursor) for operation in operations]
        except (sqlite3.OperationalError, OperationalError) as error:
            raise JournalUnavailable from error

    def _create(self, new: NewRun, now: datetime, cursor: Cursor) -> Opened:
        sql = f"SELECT content_sha256, {RUN_COLUMNS} FROM run WHERE request_id = ?"  # noqa: S608  # constants
        known = _one(cursor, sql, new.request_id)
        if known is not None:
            if known[0] != new.content_sha256:
                raise RequestIdReused(new.request_id)
            return Opened(read_run(known[1:]), None)
        # A run that waits for another must not take its place: only what outsiders started counts.
        # Each of them has at most some open runs in every depth below it.
        open_count = _one(
            cursor,
            "SELECT count(*) FROM run WHERE end_time IS NULL AND callers = ?",
            encode_callers(()),
        )[0]
        if open_count >= port.OPEN_RUNS_MAX:
            raise RunsExceeded(port.OPEN_RUNS_MAX)
        self._insert(new, now, cursor)
        return Opened(_run(cursor, new.name), Lease(new.name, epoch=1))

    def _insert(self, new: NewRun, now: datetime, cursor: Cursor) -> None:
        time = now.isoformat()
        events = first_events(new)
        encoded = encode_events(events, sequence=1)
        cursor.execute(
            "INSERT INTO bundle VALUES (?, ?) ON CONFLICT DO NOTHING", (new.bundle, new.payload)
        )
        cursor.execute(
            "INSERT INTO run (name, request_id, content_sha256, bundle, account, input, dry_run, "
            "create_time, callers, deadline, origin, worker, epoch, sequence, state, answer, "
            "failure_reason, failure_message, step_count, gas) VALUES "
            "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, 'pending', '', '', '', ?, 0)",
            (
                new.name,
                new.request_id,
                new.content_sha256,
                new.bundle,
                new.account,
                new.input,
                new.dry_run,
                time,
                encode_callers(new.callers),
                new.deadline.isoformat() if new.deadline else None,
                new.origin,
                self._worker,
                len(events),
                _summary(events, time).step_count or 0,
            ),
        )
        _keep_records(cursor, new.name, time, encoded)
        _keep_approvals(cursor, new.name, time, events, sequence=1)

    def _append(self, entry: Entry, encoded: Sequence[Encoded], cursor: Cursor) -> None:
        run, time = entry.lease.run, entry.time.isoformat()
        if entry.begun and _one(
            cursor, "SELECT 1 FROM run WHERE request_id = ?", entry.begun.request_id
        ):
            if _is_kept(cursor, entry, encoded):
                return
            raise RequestIdReused(entry.begun.request_id)
        # What is there already was counted, and would find no room beside itself.
        if entry.uses and _is_kept(cursor, entry, encoded):
            return
        tally.require_room(partial(_rows, cursor), _account(cursor, entry), entry.uses)
        summary = _summary(entry.events, time)
        cursor.execute(
            "UPDATE run SET sequence = ?, state = coalesce(?, iif(state = 'pending', 'running', "
            "state)), answer = coalesce(?, answer), failure_reason = coalesce(?, failure_reason), "
            "failure_message = coalesce(?, failure_message), step_count = coalesce(?, step_count), "
            "gas = coalesce(?, gas + ?), end_time = ? "
            "WHERE name = ? AND epoch = ? AND sequence = ? AND end_time IS NULL",
            (
                encoded[-1].sequence,
                summary.state,
                summary.answer,
                summary.failure_reason,
                summary.failure_message,
                summary.step_count,
                summary.gas,
                summary.gas_more,
                summary.end_time,
                run,
                entry.lease.epoch,
                entry.sequence - 1,
            ),
        )
        if cursor.rowcount == 0:
            if _is_kept(cursor, entry, encoded):
                return
            raise LeaseLost(run)
        _keep_records(cursor, run, time, encoded)
        _keep_approvals(cursor, run, time, entry.events, sequence=entry.sequence)
        tally.count(partial(_rows, cursor), _account(cursor, entry), entry.uses, entry.time)
        if entry.heard:
            cursor.executemany(
                "UPDATE note SET is_heard = 1 WHERE number = ?", [(one,) for one in entry.heard]
            )
        if entry.snapshot:
            cursor.execute(
                "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)",
                (run, encoded[-1].sequence, entry.snapshot),
            )
        if entry.begun:
            self._insert(entry.begun, entry.time, cursor)

    def _claim(self, now: datetime, limit: int, cursor: Cursor) -> list[Lease]:
        rows = cursor.execute(
            "UPDATE run SET worker = ?, epoch = epoch + 1 WHERE number IN ("
            "SELECT number FROM run WHERE end_time IS NULL AND worker != ? "
            "AND (substr(worker, 1, ?) = ? "
            "OR worker NOT IN (SELECT name FROM worker WHERE until > ?)) "
            "ORDER BY number LIMIT ?) RETURNING number, name, epoch",
            (
                self._worker,
                self._worker,
                len(self._former),
                self._former,
                now.timestamp(),
                limit,
            ),
        ).fetchall()
        return [Lease(name, epoch) for _, name, epoch in sorted(rows)]


def _outcome(operation: Operation, cursor: Cursor) -> object:
    """Return the result of an operation, or the error with which it was refused.

    Operations look before they change anything: a refused one leaves nothing behind.
    """
    try:
        return operation(cursor)
    except (
        ApprovalNotFound,
        LeaseLost,
        LimitReached,
        NotesExceeded,
        RequestIdReused,
        RunNotFound,
        RunsExceeded,
    ) as error:
        return error


def _one(cursor: Cursor, sql: str, *values: object) -> Any:  # noqa: ANN401  # a row
    return cursor.execute(sql, values).fetchone()


def _rows(cursor: Cursor, sql: str, values: Sequence[Any]) -> list[Any]:
    return cursor.execute(sql, values).fetchall()


def _account(cursor: Cursor, entry: Entry) -> str:
    """Return whose windows an entry uses; empty if it uses none."""
    sql = "SELECT account FROM run WHERE name = ?"
    row = _one(cursor, sql, entry.lease.run) if entry.uses else None
    return str(row[0]) if row else ""


def _run(cursor: Cursor, name: str) -> Run:
    row = _one(cursor, f"SELECT {RUN_COLUMNS} FROM run WHERE name = ?", name)  # noqa: S608  # constants
    if row is None:
        raise RunNotFound(name)
    return read_run(row)


def _post(name: str, note: Note, request_id: str, cursor: Cursor) -> Run:
    run = _run(cursor, name)
    kind, fact = encode(note)
    sql = "SELECT kind, fact FROM note WHERE run = ? AND request_id = ?"
    known = _one(cursor, sql, name, request_id)
    if known is not None:
        if tuple(known) != (kind, fact):
            raise RequestIdReused(request_id)
        return run
    if run.end_time is not None:
        return run
    sql = "SELECT count(*) FROM note WHERE run = ? AND NOT is_heard"
    if _one(cursor, sql, name)[0] >= port.NOTES_MAX:
        raise NotesExceeded(name, port.NOTES_MAX)
    cursor.execute(
        "INSERT INTO note (run, request_id, kind, fact, is_heard) VALUES (?, ?, ?, ?, 0)",
        (name, request_id, kind, fact),
    )
    return run


def _summary(events: Sequence[Event], time: str) -> Summary:
    summary = Summary()
    for event in events:
        summary.add(event, time)
    return summary


def _keep_records(cursor: Cursor, run: str, time: str, encoded: Sequence[Encoded]) -> None:
    blobs = [(one.blob, one.fact) for one in encoded if one.blob]
    if blobs:
        cursor.executemany("INSERT INTO blob VALUES (?, ?) ON CONFLICT DO NOTHING", blobs)
    cursor.executemany(
        "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)",
        [(run, one.sequence, time, one.kind, one.content, one.blob) for one in encoded],
    )


def _keep_approvals(
    cursor: Cursor, run: str, time: str, events: Sequence[Event], *, sequence: int
) -> None:
    changes = approvals_of(run, events, sequence=sequence)
    for call, asked, approval in changes:
        if asked:
            cursor.execute(
                "INSERT OR REPLACE INTO approval VALUES (?, ?, ?, ?, ?)",
                (run, call, asked, approval, time),
            )
        else:
            cursor.execute(
                "DELETE FROM approval WHERE run = ? AND (call = ? OR ? = '')", (run, call, call)
            )
    if changes:
        cursor.execute(
            "UPDATE run SET approval = coalesce((SELECT approval FROM approval WHERE run = ? "
            "ORDER BY sequence LIMIT 1), '') WHERE name = ?",
            (run, run),
        )


def _is_kept(cursor: Cursor, entry: Entry, encoded: Sequence[Encoded]) -> bool:
    """Tell whether an entry whose writer got no answer is there, and its lease still holds."""
    row = _one(cursor, "SELECT epoch FROM run WHERE name = ?", entry.lease.run)
    if row is None or row[0] != entry.lease.epoch:
        return False
    rows = cursor.execute(
        "SELECT sequence, kind, fact, blob FROM record WHERE run = ? AND sequence BETWEEN ? AND ? "
        "ORDER BY sequence",
        (entry.lease.run, encoded[0].sequence, encoded[-1].sequence),
    ).fetchall()
    return rows == [(one.sequence, one.kind, one.content, one.blob) for one in encoded]
