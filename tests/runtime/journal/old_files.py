"""Files as earlier releases made them, each with one run that waits for a person."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from runtime.encoding import encode, encode_outcome
from runtime.facts import Event, Failure, Outcome, RunStarted, SignalSent, State
from tests.runtime.worlds import RUN, START

from .runs import AWAITED, LARGE, SECOND

FAILED = Outcome(State.FAILED, "half", Failure("MODEL_FAILED", "try another"))
STARTED = RunStarted("bundles/1", '"What moved?"', dry_run=True)
SIGNALS = SignalSent("go", "1"), SignalSent("go", "2")
TIME = START.isoformat()

# Before journals had owners.
_VERSION_3 = """
CREATE TABLE bundle (name VARCHAR NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (name));
CREATE TABLE run (
    number INTEGER NOT NULL, name VARCHAR NOT NULL, request_id VARCHAR NOT NULL,
    content_sha256 VARCHAR NOT NULL, bundle VARCHAR NOT NULL, account VARCHAR NOT NULL,
    input VARCHAR NOT NULL, dry_run BOOLEAN NOT NULL, create_time VARCHAR NOT NULL,
    callers BLOB NOT NULL, deadline VARCHAR, sequence INTEGER NOT NULL, state VARCHAR NOT NULL,
    answer VARCHAR NOT NULL, failure_reason VARCHAR NOT NULL, failure_message VARCHAR NOT NULL,
    step_count INTEGER NOT NULL, gas INTEGER NOT NULL, end_time VARCHAR,
    is_cancel_requested BOOLEAN NOT NULL, approval VARCHAR NOT NULL,
    approval_sequence INTEGER NOT NULL, outcome BLOB,
    PRIMARY KEY (number), UNIQUE (name), UNIQUE (request_id),
    FOREIGN KEY(bundle) REFERENCES bundle (name)
);
CREATE INDEX ix_run_end_time ON run (end_time);
CREATE TABLE record (
    run VARCHAR NOT NULL, sequence INTEGER NOT NULL, create_time VARCHAR NOT NULL,
    kind VARCHAR NOT NULL, fact BLOB NOT NULL,
    PRIMARY KEY (run, sequence), FOREIGN KEY(run) REFERENCES run (name)
);
INSERT INTO bundle VALUES ('bundles/1', x'7b7d');
"""
_LATER = {2: ("approval", "approval_sequence"), 1: ("callers", "deadline")}
# Before a run was known by its number.
_VERSION_4 = """
CREATE TABLE bundle (name TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (name));
CREATE TABLE blob (sha256 TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (sha256));
CREATE TABLE worker (name TEXT NOT NULL, until DOUBLE NOT NULL, PRIMARY KEY (name));
CREATE TABLE run (
    number INTEGER NOT NULL, name TEXT NOT NULL, request_id TEXT NOT NULL,
    content_sha256 TEXT NOT NULL, bundle TEXT NOT NULL, account TEXT NOT NULL,
    input TEXT NOT NULL, dry_run BOOLEAN NOT NULL, create_time TEXT NOT NULL,
    callers BLOB NOT NULL, deadline TEXT, origin TEXT DEFAULT '' NOT NULL,
    worker TEXT DEFAULT '' NOT NULL, epoch BIGINT DEFAULT '0' NOT NULL, sequence BIGINT NOT NULL,
    state TEXT NOT NULL, answer TEXT NOT NULL, failure_reason TEXT NOT NULL,
    failure_message TEXT NOT NULL, step_count BIGINT NOT NULL, gas BIGINT NOT NULL,
    end_time TEXT, approval TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (number), UNIQUE (name), UNIQUE (request_id),
    FOREIGN KEY(bundle) REFERENCES bundle (name)
);
CREATE INDEX run_open ON run (number) WHERE end_time IS NULL;
CREATE TABLE record (
    run TEXT NOT NULL, sequence BIGINT NOT NULL, create_time TEXT NOT NULL, kind TEXT NOT NULL,
    fact BLOB NOT NULL, blob TEXT, PRIMARY KEY (run, sequence),
    FOREIGN KEY(run) REFERENCES run (name), FOREIGN KEY(blob) REFERENCES blob (sha256)
);
CREATE TABLE snapshot (
    run TEXT NOT NULL, sequence BIGINT NOT NULL, state BLOB NOT NULL, PRIMARY KEY (run),
    FOREIGN KEY(run) REFERENCES run (name)
);
CREATE TABLE approval (
    run TEXT NOT NULL, call TEXT NOT NULL, sequence BIGINT NOT NULL, approval TEXT NOT NULL,
    create_time TEXT NOT NULL, PRIMARY KEY (run, call), FOREIGN KEY(run) REFERENCES run (name)
);
CREATE TABLE note (
    number INTEGER NOT NULL, run TEXT NOT NULL, request_id TEXT NOT NULL, kind TEXT NOT NULL,
    fact BLOB NOT NULL, is_heard BOOLEAN NOT NULL, PRIMARY KEY (number),
    UNIQUE (run, request_id), FOREIGN KEY(run) REFERENCES run (name)
);
CREATE INDEX note_unheard ON note (run) WHERE NOT is_heard;
PRAGMA user_version=4;
INSERT INTO bundle VALUES ('bundles/1', x'7b7d');
"""
_MORE_IN_5 = """
CREATE TABLE tally (
    account TEXT NOT NULL, "key" TEXT NOT NULL, time BIGINT NOT NULL, amount TEXT NOT NULL,
    total TEXT NOT NULL, PRIMARY KEY (account, "key", time)
);
CREATE INDEX tally_time ON tally (time);
INSERT INTO tally VALUES ('agents/a', 'k', 1767225600000000, '3', '3');
PRAGMA user_version=5;
"""


def without_owners(path: Path, *, version: int = 3, outcome: Outcome | None = None) -> Path:
    """Make a file of version 1, 2 or 3; the end of its second run, if any, is in its columns."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_VERSION_3)
        connection.execute(
            "INSERT INTO run VALUES (1, ?, 'first', 'sha', 'bundles/1', 'agents/a', '\"\"', 1, ?, "
            "x'5b5d', NULL, 3, 'running', '', '', '', 1, 7, NULL, 0, 'approvals/1', 3, ?)",
            (RUN, TIME, encode_outcome(outcome) if outcome else None),
        )
        _record(connection, RUN, [STARTED, LARGE, AWAITED])
        connection.execute(
            "INSERT INTO run VALUES (2, ?, 'second', 'sha', 'bundles/1', 'agents/a', '\"\"', 1, ?, "
            "x'5b5d', NULL, 1, 'failed', 'half', 'MODEL_FAILED', 'try another', 1, 7, ?, 0, '', 0,"
            " NULL)",
            (SECOND, TIME, TIME),
        )
        _record(connection, SECOND, [STARTED])
        for older in range(version, 3):
            for column in _LATER[older]:
                connection.execute(f"ALTER TABLE run DROP COLUMN {column}")
        connection.execute(f"PRAGMA user_version={version}")
    return path


def with_long_keys(path: Path, *, version: int = 4) -> Path:
    """Make a file of version 4 or 5, in which two signals were sent and one was heard."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_VERSION_4)
        connection.execute(
            "INSERT INTO run VALUES (1, ?, 'first', 'sha', 'bundles/1', 'agents/a', '\"\"', 1, ?, "
            "x'5b5d', NULL, '', 'embedded/1', 4, 3, 'running', '', '', '', 1, 7, NULL,"
            " 'approvals/1')",
            (RUN, TIME),
        )
        kind, fact = encode(LARGE)
        _record(connection, RUN, [STARTED])
        connection.execute("INSERT INTO blob VALUES ('digest', ?)", (fact,))
        connection.execute(
            "INSERT INTO record VALUES (?, 2, ?, ?, x'', 'digest')", (RUN, TIME, kind)
        )
        _record(connection, RUN, [AWAITED], after=2)
        connection.execute(
            "INSERT INTO approval VALUES (?, 'step-1-1', 3, 'approvals/1', ?)", (RUN, TIME)
        )
        connection.execute("INSERT INTO snapshot VALUES (?, 2, x'01')", (RUN,))
        connection.executemany(
            "INSERT INTO note VALUES (?, ?, ?, ?, ?, ?)",
            [
                (number, RUN, f"{number}", *encode(signal), number == 1)
                for number, signal in enumerate(SIGNALS, 1)
            ],
        )
        connection.execute("INSERT INTO worker VALUES ('embedded', 9e9)")
        if version > 4:
            connection.executescript(_MORE_IN_5)
    return path


def _record(
    connection: sqlite3.Connection, run: str, events: Iterable[Event], *, after: int = 0
) -> None:
    connection.executemany(
        "INSERT INTO record (run, sequence, create_time, kind, fact) VALUES (?, ?, ?, ?, ?)",
        [(run, number, TIME, *encode(event)) for number, event in enumerate(events, after + 1)],
    )
