"""What every journal promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event

from chassis.errors import RequestIdReused
from runtime.errors import LeaseLost, NotesExceeded, RunNotFound, RunsExceeded, RunUnfinished
from runtime.facts import (
    CancelRequested,
    Failure,
    GenerationFinished,
    Outcome,
    PauseRequested,
    ResumeRequested,
    RunFinished,
    RunStarted,
    SignalSent,
    State,
)
from runtime.journal import reads
from runtime.journal.opening import open_journal
from runtime.journal.port import Lease, NewRun, Snapshot
from runtime.journal.stored import StoredJournal
from tests.runtime.worlds import RUN, START

from .runs import (
    ACTED,
    ANSWERING,
    ASKED,
    BILL,
    CALL,
    FINISHED,
    LARGE,
    LATER,
    NEW,
    SECOND,
    SENT,
    SOON,
    THIRD,
    entry,
)


async def test_a_run_is_kept_with_its_first_event(journal: StoredJournal) -> None:
    opened = await journal.create(NEW, START)
    [record] = await journal.events(RUN)
    assert opened.lease == Lease(RUN, 1)
    assert (opened.run.state, record.sequence) == (State.PENDING, 1)
    assert record.event == RunStarted("bundles/1", '""', dry_run=False)


async def test_a_repeated_request_gives_the_same_run_and_no_lease(journal: StoredJournal) -> None:
    first = await journal.create(NEW, START)
    again = await journal.create(replace(NEW, name=SECOND), START)
    assert (again.run, again.lease) == (first.run, None)


@pytest.mark.parametrize(
    "other",
    [
        replace(NEW, bundle="bundles/2"),
        replace(NEW, input="1"),
        replace(NEW, dry_run=True),
        replace(NEW, origin=THIRD),
    ],
)
async def test_a_request_id_with_other_content_is_refused(
    journal: StoredJournal, other: NewRun
) -> None:
    await journal.create(NEW, START)
    with pytest.raises(RequestIdReused):
        await journal.create(replace(other, name=SECOND), START)


async def test_open_runs_are_limited(
    journal: StoredJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.journal.port.OPEN_RUNS_MAX", 1)
    await journal.create(NEW, START)
    with pytest.raises(RunsExceeded):
        await journal.create(replace(NEW, name=SECOND, request_id="second"), START)
    await journal.append(entry(FINISHED))
    await journal.create(replace(NEW, name=SECOND, request_id="second"), START)


async def test_runs_that_others_wait_for_do_not_count(
    journal: StoredJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.journal.port.OPEN_RUNS_MAX", 2)
    await journal.create(NEW, START)
    await journal.append(replace(entry(SENT), begun=ANSWERING))
    assert await journal.create(replace(NEW, name=THIRD, request_id="third"), START)


async def test_a_call_and_the_run_that_answers_it_are_one(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(replace(entry(SENT), begun=ANSWERING))
    assert (await journal.events(RUN))[-1].event == SENT
    assert (await journal.get(SECOND)).deadline == LATER


async def test_a_call_whose_request_id_is_taken_leaves_no_trace(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    with pytest.raises(RequestIdReused):
        await journal.append(replace(entry(SENT), begun=replace(ANSWERING, request_id="first")))
    assert len(await journal.events(RUN)) == 1
    assert len(await journal.newest(9)) == 1


@pytest.mark.parametrize("begun", [None, ANSWERING])
async def test_an_entry_that_is_handed_in_again_changes_nothing(
    journal: StoredJournal, begun: NewRun | None
) -> None:
    await journal.create(NEW, START)
    for _ in range(2):
        await journal.append(replace(entry(SENT, LARGE), begun=begun))
    assert [record.sequence for record in await journal.events(RUN)] == [1, 2, 3]


async def test_another_entry_at_the_same_place_is_refused(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(SENT))
    with pytest.raises(LeaseLost):
        await journal.append(entry(ACTED))


async def test_a_large_fact_comes_back_and_is_kept_once(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(LARGE, LARGE))
    assert [record.event for record in await journal.events(RUN, after=1)] == [LARGE, LARGE]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM blob").scalar() == 1


async def test_a_run_shows_what_its_journal_says(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(GenerationFinished(1, "", (), (), 5), ACTED))
    running = await journal.get(RUN)
    assert (running.state, running.step_count, running.gas, running.sequence) == (
        State.RUNNING,
        1,
        6,
        3,
    )


async def test_an_ended_run_shows_its_end(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    failure = Failure("MODEL_FAILED", "try another")
    await journal.append(entry(RunFinished(Outcome(State.FAILED, failure=failure), BILL)))
    run = await journal.get(RUN)
    assert (run.state, run.failure, run.gas, run.end_time) == (State.FAILED, failure, 9, SOON)
    assert await journal.receipt(RUN) == BILL


async def test_a_paused_run_shows_it(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(PauseRequested()))
    await journal.append(entry(SignalSent("go", "1"), sequence=3))
    assert (await journal.get(RUN)).state == State.PAUSED
    await journal.append(entry(ResumeRequested(), sequence=4))
    assert (await journal.get(RUN)).state == State.RUNNING


async def test_nothing_is_journaled_after_the_end(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(FINISHED))
    with pytest.raises(LeaseLost):
        await journal.append(entry(SENT, sequence=3))


async def test_a_fork_begins_with_the_events_of_another_run(journal: StoredJournal) -> None:
    history = (GenerationFinished(1, "", (CALL,), (), 5), ASKED)
    await journal.create(NEW, START)
    fork = replace(NEW, name=SECOND, request_id="fork", origin=RUN, history=history)
    run = (await journal.create(fork, START)).run
    assert (run.origin, run.sequence, run.step_count, run.gas) == (RUN, 3, 1, 0)
    assert [record.event for record in await journal.events(SECOND)][1:] == [*history]
    assert [one.run.name for one in await journal.waiting(9)] == [SECOND]


async def test_an_open_run_has_no_receipt(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    with pytest.raises(RunUnfinished):
        await journal.receipt(RUN)


async def test_an_unknown_run_is_not_found(journal: StoredJournal) -> None:
    for ask in (journal.get, journal.receipt, journal.events, journal.payload):
        with pytest.raises(RunNotFound):
            await ask(RUN)
    with pytest.raises(RunNotFound):
        await journal.post(RUN, CancelRequested(), request_id="1", now=START)


async def test_runs_are_listed_newest_first(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.create(replace(NEW, name=SECOND, request_id="second"), START)
    newest, oldest = await journal.newest(10)
    assert (newest.name, oldest.name) == (SECOND, RUN)
    assert await journal.newest(10, before=newest.number) == [oldest]


async def test_a_journal_is_read_in_pages(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(SENT, ACTED, SENT, ACTED))
    assert [record.sequence for record in await journal.events(RUN, after=1, limit=2)] == [2, 3]


async def test_runs_with_few_events_are_read_together(
    journal: StoredJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "OPENING_EVENTS_MAX", 2)
    for number, name in enumerate((RUN, SECOND, THIRD)):
        await journal.create(replace(NEW, name=name, request_id=str(number)), START)
    await journal.append(entry(LARGE))
    await journal.append(entry(SENT, ACTED, run=THIRD))
    await journal.post(SECOND, CancelRequested(), request_id="1", now=START)
    few, other = await journal.openings([RUN, SECOND, THIRD, "runs/none"])
    assert (few.run, few.has_notes) == (await journal.get(RUN), False)
    assert few.events == tuple(record.event for record in await journal.events(RUN))
    assert (other.run.name, len(other.events), other.has_notes) == (SECOND, 1, True)


async def test_the_last_snapshot_is_kept(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    assert await journal.snapshot(RUN) is None
    for sequence in (2, 3):
        await journal.append(replace(entry(SENT, sequence=sequence), snapshot=b"%d" % sequence))
    assert await journal.snapshot(RUN) == Snapshot(3, b"3")


async def test_what_was_kept_is_there_after_a_restart(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.create(NEW, START)
    await journal.append(replace(entry(SENT), begun=ANSWERING))
    before = [await journal.get(name) for name in (RUN, SECOND)]
    engine.dispose()
    again = open_journal(engine, worker="one")
    assert [await again.get(name) for name in (RUN, SECOND)] == before
    assert await again.payload(RUN) == b"{}"


# --- Notes ---------------------------------------------------------------------------------------


async def test_notes_wait_in_their_order_until_they_are_heard(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    signals = [SignalSent("go", str(number)) for number in range(3)]
    for number, signal in enumerate(signals):
        await journal.post(RUN, signal, request_id=str(number), now=START)
    kept = await journal.notes(RUN)
    assert [one.note for one in kept] == signals
    assert await journal.noted() == [RUN]
    heard = tuple(one.number for one in kept)
    await journal.append(replace(entry(*signals), heard=heard))
    assert (await journal.notes(RUN), await journal.noted()) == ([], [])


async def test_a_note_is_kept_once_also_after_it_was_heard(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    note = SignalSent("go", "1")
    await journal.post(RUN, note, request_id="1", now=START)
    await journal.append(replace(entry(note), heard=((await journal.notes(RUN))[0].number,)))
    await journal.post(RUN, note, request_id="1", now=START)
    assert await journal.notes(RUN) == []
    with pytest.raises(RequestIdReused):
        await journal.post(RUN, SignalSent("go", "2"), request_id="1", now=START)


async def test_a_run_that_has_ended_takes_no_notes(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(FINISHED))
    run = await journal.post(RUN, CancelRequested(), request_id="1", now=START)
    assert (run.end_time, await journal.notes(RUN)) == (SOON, [])


async def test_notes_that_nobody_hears_are_limited(
    journal: StoredJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.journal.port.NOTES_MAX", 1)
    await journal.create(NEW, START)
    await journal.post(RUN, PauseRequested(), request_id="1", now=START)
    with pytest.raises(NotesExceeded):
        await journal.post(RUN, PauseRequested(), request_id="2", now=START)


# --- Leases --------------------------------------------------------------------------------------


async def test_a_worker_takes_up_what_it_had_in_a_former_life(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.claim(START, seconds=5, limit=9)
    await journal.create(NEW, START)
    again = open_journal(engine, worker="one")
    assert await again.claim(START, seconds=5, limit=9) == [Lease(RUN, 2)]
    assert await again.claim(START, seconds=5, limit=9) == []


async def test_another_worker_waits_until_a_lease_has_run_out(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.claim(START, seconds=5, limit=9)
    await journal.create(NEW, START)
    other = open_journal(engine, worker="two")
    assert await other.claim(SOON, seconds=5, limit=9) == []
    assert await other.claim(LATER, seconds=5, limit=9) == [Lease(RUN, 2)]
    assert await journal.claim(LATER, seconds=5, limit=9) == []


async def test_a_worker_that_lets_go_is_not_waited_for(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.claim(START, seconds=5, limit=9)
    await journal.create(NEW, START)
    await journal.release()
    other = open_journal(engine, worker="two")
    assert await other.claim(START, seconds=5, limit=9) == [Lease(RUN, 2)]


async def test_who_lost_a_run_writes_nothing_while_others_in_the_batch_do(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.create(NEW, START)
    other = open_journal(engine, worker="two")
    assert await other.claim(START, seconds=5, limit=9) == [Lease(RUN, 2)]
    await journal.create(replace(NEW, name=SECOND, request_id="second"), START)
    with pytest.raises(LeaseLost):
        await journal.append(entry(SENT))
    await journal.append(entry(SENT, run=SECOND))
    assert [(await journal.get(name)).sequence for name in (RUN, SECOND)] == [1, 2]


async def test_who_asks_for_runs_at_the_same_time_is_answered_with_one_query(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.create(NEW, START)
    await journal.create(replace(NEW, name=SECOND, request_id="2"), START)
    begun = list[object]()
    event.listen(engine, "begin", begun.append)
    asked = asyncio.gather(*map(journal.get, (SECOND, THIRD, RUN)), return_exceptions=True)
    second, third, first = await asked
    assert isinstance(third, RunNotFound)
    assert not isinstance(second, BaseException)
    assert not isinstance(first, BaseException)
    assert [second.name, first.name] == [SECOND, RUN]
    assert len(begun) == 1
