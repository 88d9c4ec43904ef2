"""Opening the file of the journal, and bringing an old one to the present version."""

from __future__ import annotations

import uuid
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from chassis.database import open_database

from ..facts import ApprovalAwaited, EndDecided, decode, decode_outcome, encode
from .sqlite import SqliteJournal
from .tables import TABLES

VERSION = 5
# There is one process for one file; a second one takes the runs of the first over.
WORKER = "embedded"


def open_journal(engine: Engine) -> SqliteJournal:
    """Return the journal in a database, for this life of this process."""
    return SqliteJournal(engine, worker=WORKER, life=uuid.uuid4().hex)


def open_journal_file(path: Path) -> Engine:
    """Open the file, or make it."""
    return open_database(path, TABLES, version=VERSION, migrate=migrate)


def migrate(connection: Connection, found: int) -> None:
    """Bring a file of an earlier version to this one."""
    assert found in _ADDED, f"there is no version {found} to migrate from"
    for version in range(found, VERSION):
        for table, column in _ADDED[version]:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column}"))
    TABLES.create_all(connection)
    if found > _LAST_WITHOUT_OWNERS:
        return
    _end_what_is_decided(connection)
    _ask_what_is_asked(connection)
    for column in ("outcome", "is_cancel_requested", "approval_sequence"):
        connection.execute(text(f"ALTER TABLE run DROP COLUMN {column}"))
    connection.execute(text("DROP INDEX IF EXISTS ix_run_end_time"))
    connection.execute(text("CREATE INDEX run_open ON run (number) WHERE end_time IS NULL"))


_LAST_WITHOUT_OWNERS = 3
# What the version after this one has more.
_ADDED = {
    # Runs call others.
    1: (("run", "callers BLOB NOT NULL DEFAULT x'5b5d'"), ("run", "deadline VARCHAR")),  # []
    # Runs wait for people.
    2: (
        ("run", "approval VARCHAR NOT NULL DEFAULT ''"),
        ("run", "approval_sequence INTEGER NOT NULL DEFAULT 0"),
    ),
    # Workers have runs, facts may be large, and runs may be forks.
    3: (
        ("run", "origin TEXT NOT NULL DEFAULT ''"),
        ("run", "worker TEXT NOT NULL DEFAULT ''"),
        ("run", "epoch BIGINT NOT NULL DEFAULT 0"),
        ("record", "blob TEXT REFERENCES blob (sha256)"),
    ),
    # What policies count; it is a table of its own.
    4: (),
}


def _end_what_is_decided(connection: Connection) -> None:
    """Journal how runs end that were about to."""
    rows = connection.execute(
        text("SELECT name, sequence, outcome FROM run WHERE end_time IS NULL AND outcome NOT NULL")
    ).all()
    for name, sequence, outcome in rows:
        kind, fact = encode(EndDecided(decode_outcome(outcome)))
        connection.execute(
            text(
                "INSERT INTO record (run, sequence, create_time, kind, fact) "
                "SELECT :run, :next, create_time, :kind, :fact FROM record "
                "WHERE run = :run AND sequence = :last"
            ),
            {"run": name, "next": sequence + 1, "last": sequence, "kind": kind, "fact": fact},
        )
        connection.execute(
            text("UPDATE run SET sequence = sequence + 1 WHERE name = :run"), {"run": name}
        )


def _ask_what_is_asked(connection: Connection) -> None:
    """Keep which calls wait for people."""
    rows = connection.execute(
        text(
            "SELECT run.name, record.sequence, record.create_time, kind, fact FROM run "
            "JOIN record ON record.run = run.name AND record.sequence = run.approval_sequence"
        )
    ).all()
    for name, sequence, time, kind, fact in rows:
        event = decode(kind, fact)
        assert isinstance(event, ApprovalAwaited), "its run says so"
        connection.execute(
            text("INSERT INTO approval VALUES (:run, :call, :sequence, :approval, :time)"),
            {
                "run": name,
                "call": event.call.id,
                "sequence": sequence,
                "approval": event.approval,
                "time": time,
            },
        )
