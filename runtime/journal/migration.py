"""Bringing the file of an earlier release to the present version."""

from __future__ import annotations

from hashlib import sha256

from sqlalchemy import Connection, func, insert, select, text, update

from ..encoding import decode_outcome, encode_outcome
from ..facts import EndDecided, Failure, Outcome, State
from .operations import fact_of, note_sha256
from .tables import BLOB, EVENT, FACT_BYTES_MAX, NOTE, RUN, TABLES, VERSION

# The version in which runs have owners, and outsiders leave notes.
OWNERS = 4


def migrate(connection: Connection, found: int) -> None:
    """Bring a file of an earlier version to this one."""
    assert 0 < found < VERSION, f"there is no version {found} to migrate from"
    had_owners = found >= OWNERS
    for version in range(found, OWNERS):
        for column in _ADDED[version]:
            connection.execute(text(f"ALTER TABLE {column}"))
    old = [*(("approval", "note", "snapshot") if had_owners else ()), "record", "run"]
    for index in ("run_open", "note_unheard"):
        connection.execute(text(f"DROP INDEX IF EXISTS {index}"))
    for table in old:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO old_{table}"))
    TABLES.create_all(connection)
    for statement in (*_MOVED, *(_MOVED_OWNED if had_owners else ())):
        connection.execute(text(statement))
    _keep_outcomes(connection)
    if had_owners:
        _digest_notes(connection)
    else:
        connection.execute(text(_APPROVALS))
        _keep_apart(connection)
        _journal_ends(connection)
    for table in old:
        connection.execute(text(f"DROP TABLE old_{table}"))


# What the version after this one had more, as far as it is still wanted.
_ADDED = {
    # Runs call others.
    1: ("run ADD COLUMN callers BLOB NOT NULL DEFAULT x'5b5d'", "run ADD COLUMN deadline VARCHAR"),
    # Runs wait for people.
    2: (
        "run ADD COLUMN approval VARCHAR NOT NULL DEFAULT ''",
        "run ADD COLUMN approval_sequence INTEGER NOT NULL DEFAULT 0",
    ),
    # Workers have runs, and facts may be large.
    3: ("run ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0", "record ADD COLUMN blob TEXT"),
}
# A run has a number for a key, and nobody has what was open. [] is nobody who waits.
_MOVED = (
    """
    INSERT INTO run
    SELECT number, name, request_id, content_sha256, bundle, account, callers <> x'5b5d',
        create_time, deadline, sequence, state, step_count, gas, end_time, NULL, '', epoch
    FROM old_run
    """,
    """
    INSERT INTO event
    SELECT number, old_record.sequence, old_record.create_time, kind, fact, blob
    FROM old_record JOIN old_run ON old_run.name = run
    """,
)
_MOVED_OWNED = (
    """
    INSERT INTO approval
    SELECT number, call, old_approval.sequence, old_approval.create_time, old_approval.approval
    FROM old_approval JOIN old_run ON old_run.name = run
    """,
    """
    INSERT INTO note
    SELECT old_note.number, old_run.number, old_note.request_id, '', kind, fact, is_heard
    FROM old_note JOIN old_run ON old_run.name = run
    """,
    """
    INSERT INTO snapshot
    SELECT number, old_snapshot.sequence, old_snapshot.state
    FROM old_snapshot JOIN old_run ON old_run.name = run
    """,
)
_APPROVALS = """
    INSERT INTO approval
    SELECT number, json_extract(CAST(fact AS TEXT), '$.call.id'), old_record.sequence,
        old_record.create_time, approval
    FROM old_record
    JOIN old_run ON old_run.name = run AND approval_sequence = old_record.sequence
    WHERE end_time IS NULL
"""


def _keep_apart(connection: Connection) -> None:
    """Move long facts to where they are kept once."""
    key = EVENT.c.run, EVENT.c.sequence
    long = select(*key).where(func.length(EVENT.c.fact) > FACT_BYTES_MAX)
    for run, sequence in connection.execute(long).all():
        is_it = EVENT.c.run == run, EVENT.c.sequence == sequence
        fact = connection.execute(select(EVENT.c.fact).where(*is_it)).scalar_one()
        _keep_blob(connection, digest := sha256(fact).hexdigest(), fact)
        connection.execute(update(EVENT).where(*is_it).values(fact=b"", blob=digest))


def _keep_blob(connection: Connection, digest: str, content: bytes) -> None:
    kept = insert(BLOB).prefix_with("OR IGNORE").values(sha256=digest, content=content)
    connection.execute(kept)


def _keep_outcomes(connection: Connection) -> None:
    """Keep of ended runs what their columns said."""
    ended = text(
        "SELECT number, state, answer, failure_reason, failure_message FROM old_run"
        " WHERE end_time IS NOT NULL"
    )
    for number, state, answer, reason, message in connection.execute(ended).all():
        outcome = Outcome(State(state), answer, Failure(reason, message) if reason else None)
        changed = update(RUN).where(RUN.c.number == number)
        connection.execute(changed.values(outcome=encode_outcome(outcome)))


def _journal_ends(connection: Connection) -> None:
    """Append how open runs will end where that was decided: it had no event of its own.

    It happened when the last one did, as far as anybody knows.
    """
    decided = text(
        "SELECT number, sequence, outcome,"
        " (SELECT max(create_time) FROM old_record WHERE old_record.run = old_run.name)"
        " FROM old_run WHERE end_time IS NULL AND outcome IS NOT NULL"
    )
    for number, sequence, outcome, time in connection.execute(decided).all():
        ending = fact_of(EndDecided(decode_outcome(outcome)))
        row = {"run": number, "sequence": sequence + 1, "create_time": time}
        row |= {"kind": ending.kind, "fact": ending.fact, "blob": ending.blob}
        connection.execute(insert(EVENT).values(row))
        if ending.blob is not None:
            _keep_blob(connection, ending.blob, ending.content)
        changed = update(RUN).where(RUN.c.number == number)
        connection.execute(changed.values(sequence=sequence + 1, state=State.RUNNING))


def _digest_notes(connection: Connection) -> None:
    """Tell repeated notes from others by their digests; one that was heard is an event."""
    for number, kind, fact, is_heard in connection.execute(
        select(NOTE.c.number, NOTE.c.kind, NOTE.c.fact, NOTE.c.is_heard)
    ).all():
        values = {"sha256": note_sha256(kind, fact), "fact": b"" if is_heard else fact}
        connection.execute(update(NOTE).where(NOTE.c.number == number).values(values))
