"""Files of earlier releases open, with everything that they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from runtime.facts import (
    ActionCall,
    ApprovalAwaited,
    EndDecided,
    Event,
    Failure,
    Outcome,
    RunStarted,
    State,
    encode,
    encode_outcome,
)
from runtime.journal.opening import open_journal, open_journal_file
from runtime.journal.port import Entry
from tests.runtime.worlds import RUN, START

# As the release before journals had owners made it.
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
"""
_LATER = {2: ("approval", "approval_sequence"), 1: ("callers", "deadline")}
AWAITED = ApprovalAwaited(ActionCall("step-1-1", "board.post", "{}"), "approvals/1", "posts")
FAILED = Outcome(State.FAILED, failure=Failure("MODEL_FAILED", "try another"))


def old_file(path: Path, *, version: int = 3, outcome: Outcome | None = None) -> Path:
    """Make a file of an earlier release with one open run, which waits for a person."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for statement in _VERSION_3.split(";"):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("INSERT INTO bundle VALUES ('bundles/1', x'7b7d')")
        connection.exec_driver_sql(
            "INSERT INTO run VALUES (1, ?, 'first', 'sha', 'bundles/1', 'agents/a', '\"\"', 0, ?, "
            "x'5b5d', NULL, 2, 'running', '', '', '', 1, 7, NULL, 0, 'approvals/1', 2, ?)",
            (RUN, START.isoformat(), encode_outcome(outcome) if outcome else None),
        )
        events: list[Event] = [RunStarted("bundles/1", '""', dry_run=False), AWAITED]
        for number, event in enumerate(events, 1):
            connection.exec_driver_sql(
                "INSERT INTO record VALUES (?, ?, ?, ?, ?)",
                (RUN, number, START.isoformat(), *encode(event)),
            )
        for older in range(version, 3):
            for column in _LATER[older]:
                connection.exec_driver_sql(f"ALTER TABLE run DROP COLUMN {column}")
        connection.exec_driver_sql(f"PRAGMA user_version={version}")
    engine.dispose()
    return path


def opened(path: Path) -> Engine:
    """Open a file twice: the second time, there is nothing to do."""
    open_journal_file(path).dispose()
    return open_journal_file(path)


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_file_of_an_earlier_release_goes_on(tmp_path: Path, version: int) -> None:
    journal = open_journal(opened(old_file(tmp_path / "runtime.db", version=version)))
    run = await journal.get(RUN)
    assert (run.number, run.state, run.step_count, run.gas) == (1, State.RUNNING, 1, 7)
    [lease] = await journal.claim(START, seconds=5, limit=9)
    await journal.append(Entry(lease, 3, (EndDecided(FAILED),), START))
    assert [record.sequence for record in await journal.events(RUN)] == [1, 2, 3]


async def test_a_call_that_waited_for_a_person_still_does(tmp_path: Path) -> None:
    journal = open_journal(opened(old_file(tmp_path / "runtime.db")))
    [waiting] = await journal.waiting(9)
    assert (waiting.run.name, waiting.awaited, waiting.create_time) == (RUN, AWAITED, START)


async def test_an_end_that_was_decided_is_journaled(tmp_path: Path) -> None:
    journal = open_journal(opened(old_file(tmp_path / "runtime.db", outcome=FAILED)))
    records = await journal.events(RUN)
    assert (records[-1].sequence, records[-1].event) == (3, EndDecided(FAILED))
    assert (await journal.get(RUN)).sequence == 3
