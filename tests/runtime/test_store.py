"""Runs and journals in SQLite."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from chassis.database import open_memory_database
from chassis.errors import RequestIdReused
from runtime import store as store_module
from runtime.database import open_run_database
from runtime.errors import ApprovalNotFound, RunNotFound, RunsExceeded, RunUnfinished
from runtime.facts import (
    ActionCall,
    ActionFinished,
    ApprovalAwaited,
    Caller,
    CancelRequested,
    EffectSent,
    Event,
    Failure,
    GenerationFinished,
    Outcome,
    Receipt,
    RunFinished,
    RunStarted,
    State,
)
from runtime.rows import TABLES
from runtime.store import NewRun, RunStore
from tests.runtime.worlds import RUN, START

NEW = NewRun(
    name=RUN,
    request_id="first",
    bundle="bundles/1",
    payload=b"{}",
    account="agents/a",
    input='""',
    dry_run=False,
)
BILL = Receipt(RUN, "agents/a", (), 9, "", 0)
AWAITED = ApprovalAwaited(ActionCall("step-1-1", "board.post", "{}"), "approvals/1", "posts")
ACTED = ActionFinished("step-1-1", "board.post", "{}", gas=1)
FINISHED = RunFinished(Outcome(State.CANCELLED), BILL)
SECOND = RUN.replace("0001", "0002")
SENT = EffectSent("step-1-1", "call", SECOND)
ANSWERING = replace(
    NEW,
    name=SECOND,
    request_id="call",
    callers=(Caller("agents/b", f"{RUN[:-1]}9"), Caller("agents/a", RUN)),
    deadline=START + timedelta(seconds=9),
)


@pytest.fixture
def store() -> RunStore:
    return RunStore(open_memory_database(TABLES))


def test_a_run_is_stored_with_its_first_event(store: RunStore) -> None:
    run = store.create(NEW, START)
    [record] = store.journal(RUN)
    assert (run.state, record.sequence) == (State.PENDING, 1)
    assert record.event == RunStarted("bundles/1", '""', dry_run=False)


def test_a_repeated_request_gives_the_same_run(store: RunStore) -> None:
    first = store.create(NEW, START)
    assert store.create(replace(NEW, name=SECOND), START) == first


@pytest.mark.parametrize(
    "other",
    [
        replace(NEW, bundle="bundles/2"),
        replace(NEW, input="1"),
        replace(NEW, dry_run=True),
    ],
)
def test_a_request_id_with_other_content_is_refused(store: RunStore, other: NewRun) -> None:
    store.create(NEW, START)
    with pytest.raises(RequestIdReused):
        store.create(replace(other, name=SECOND), START)


def test_open_runs_are_limited(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "OPEN_RUNS_MAX", 1)
    store.create(NEW, START)
    with pytest.raises(RunsExceeded):
        store.create(replace(NEW, name=SECOND, request_id="second"), START)


def test_a_run_that_has_ended_makes_room(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "OPEN_RUNS_MAX", 1)
    store.create(NEW, START)
    store.append(RUN, RunFinished(Outcome(State.CANCELLED), BILL), START)
    store.create(replace(NEW, name=SECOND, request_id="second"), START)
    assert store.open_names() == [SECOND]


def test_a_call_and_the_run_that_answers_it_are_one(store: RunStore) -> None:
    store.create(NEW, START)
    store.delegate(SENT, ANSWERING, START)
    assert store.journal(RUN)[-1].event == SENT
    assert store.get(SECOND).deadline == START + timedelta(seconds=9)


def test_a_call_whose_request_id_is_taken_leaves_no_trace(store: RunStore) -> None:
    store.create(NEW, START)
    with pytest.raises(RequestIdReused):
        store.delegate(SENT, replace(ANSWERING, request_id="first"), START)
    assert len(store.journal(RUN)) == 1
    assert store.open_names() == [RUN]


def test_runs_that_others_wait_for_do_not_count(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "OPEN_RUNS_MAX", 2)
    store.create(NEW, START)
    store.delegate(SENT, ANSWERING, START)
    third = RUN.replace("0001", "0003")
    assert store.create(replace(NEW, name=third, request_id="third"), START).name == third


@given(st.lists(st.sampled_from(["append", "cancel"]), max_size=10))
def test_sequences_have_no_gaps(moves: list[str]) -> None:
    store = RunStore(open_memory_database(TABLES))
    store.create(NEW, START)
    for move in moves:
        if move == "append":
            store.append(RUN, EffectSent("a", "b"), START)
        else:
            store.request_cancel(RUN, START)
    sequences = [record.sequence for record in store.journal(RUN)]
    assert sequences == list(range(1, len(sequences) + 1))


def test_a_run_shows_what_its_journal_says(store: RunStore) -> None:
    store.create(NEW, START)
    store.append(RUN, GenerationFinished(1, "", (), (), 5), START)
    running = store.get(RUN)
    assert (running.state, running.step_count, running.gas) == (State.RUNNING, 1, 5)


def test_an_ended_run_shows_its_end(store: RunStore) -> None:
    store.create(NEW, START)
    failure = Failure("MODEL_FAILED", "try another")
    end = RunFinished(Outcome(State.FAILED, failure=failure), BILL)
    store.append(RUN, end, START + timedelta(seconds=1))
    run = store.get(RUN)
    assert (run.state, run.failure, run.gas) == (State.FAILED, failure, 9)
    assert run.end_time == START + timedelta(seconds=1)


def test_nothing_is_journaled_after_the_end(store: RunStore) -> None:
    store.create(NEW, START)
    store.append(RUN, RunFinished(Outcome(State.CANCELLED), BILL), START)
    with pytest.raises(AssertionError):
        store.append(RUN, EffectSent("a", "b"), START)


def test_the_first_decision_about_the_end_wins(store: RunStore) -> None:
    store.create(NEW, START)
    first = Outcome(State.SUCCEEDED, "done")
    store.decide(RUN, first)
    assert store.decide(RUN, Outcome(State.CANCELLED)) == first == store.outcome(RUN)


def test_a_decided_run_is_not_cancelled_any_more(store: RunStore) -> None:
    store.create(NEW, START)
    store.decide(RUN, Outcome(State.SUCCEEDED, "done"))
    store.request_cancel(RUN, START)
    assert CancelRequested() not in [record.event for record in store.journal(RUN)]


def test_an_open_run_has_no_receipt(store: RunStore) -> None:
    store.create(NEW, START)
    with pytest.raises(RunUnfinished):
        store.receipt(RUN)


def test_an_unknown_run_is_not_found(store: RunStore) -> None:
    for ask in (store.get, store.receipt, store.journal, store.payload, store.outcome):
        with pytest.raises(RunNotFound):
            ask(RUN)


def test_runs_are_listed_newest_first(store: RunStore) -> None:
    store.create(NEW, START)
    store.create(replace(NEW, name=SECOND, request_id="second"), START)
    newest, oldest = store.newest(10)
    assert (newest.name, oldest.name) == (SECOND, RUN)
    assert store.newest(10, before=newest.number) == [oldest]


def test_a_journal_is_read_in_pages(store: RunStore) -> None:
    store.create(NEW, START)
    for _ in range(4):
        store.append(RUN, EffectSent("a", "b"), START)
    assert [record.sequence for record in store.journal(RUN, after=1, limit=2)] == [2, 3]


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    first = RunStore(open_run_database(tmp_path / "runtime.db"))
    before = first.create(NEW, START), first.delegate(SENT, ANSWERING, START)
    after = RunStore(open_run_database(tmp_path / "runtime.db"))
    assert (replace(after.get(RUN), state=State.PENDING), after.get(SECOND)) == before
    assert after.payload(RUN) == b"{}"


def test_a_file_in_which_no_run_waits_for_people_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "runtime.db"
    engine = open_run_database(path)
    before = RunStore(engine).create(NEW, START)
    with engine.begin() as connection:
        for column in ("approval", "approval_sequence"):
            connection.execute(text(f"ALTER TABLE run DROP COLUMN {column}"))
        connection.execute(text("PRAGMA user_version=2"))
    after = RunStore(open_run_database(path))
    assert after.get(RUN) == before
    after.append(RUN, AWAITED, START)
    assert after.get(RUN).approval == AWAITED.approval


def waiting(store: RunStore) -> list[str]:
    """Return the runs that wait for people, read in pages of one."""
    names, place = list[str](), ("", 0)
    while page := store.waiting(1, after=place):
        names, place = [*names, page[0].run.name], page[0].place
    return names


def test_runs_that_wait_for_people_are_listed_by_how_long_they_wait(store: RunStore) -> None:
    names = [RUN, SECOND, RUN.replace("0001", "0003")]
    for number, name in enumerate(names):
        store.create(replace(NEW, name=name, request_id=str(number)), START)
    store.append(names[1], AWAITED, START)
    for name in (names[2], names[0]):
        store.append(name, AWAITED, START + timedelta(seconds=1))
    assert waiting(store) == [names[1], names[0], names[2]]


@pytest.mark.parametrize("event", [ACTED, FINISHED])
def test_a_call_with_a_result_waits_for_nobody(store: RunStore, event: Event) -> None:
    store.create(NEW, START)
    store.append(RUN, AWAITED, START)
    store.append(RUN, event, START)
    assert (store.get(RUN).approval, waiting(store)) == ("", [])
    with pytest.raises(ApprovalNotFound):
        store.awaited(RUN, AWAITED.call.id, sha256=AWAITED.arguments_sha256)


def test_a_file_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "runtime.db"
    engine = open_run_database(path)
    before = RunStore(engine).create(NEW, START)
    with engine.begin() as connection:
        for column in ("callers", "deadline", "approval", "approval_sequence"):
            connection.execute(text(f"ALTER TABLE run DROP COLUMN {column}"))
        connection.execute(text("PRAGMA user_version=1"))
    after = RunStore(open_run_database(path))
    assert after.get(RUN) == before
    assert after.delegate(SENT, ANSWERING, START).callers == ANSWERING.callers
