"""Files of earlier releases open, with everything that they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from chassis.database import SchemaTooNew
from chassis.errors import RequestIdReused
from runtime.errors import LimitReached
from runtime.facts import EndDecided, State
from runtime.journal.opening import open_journal, open_journal_database
from runtime.journal.port import Lease, Snapshot
from runtime.journal.stored import StoredJournal
from runtime.rules import Use
from tests.runtime.worlds import RUN, START

from .old_files import FAILED, SIGNALS, STARTED, with_long_keys, without_owners
from .runs import ACTED, AWAITED, CALL, LARGE, NEW, SECOND, THIRD, entry

Make = Callable[[Path], Path]
MAKES = [
    *(partial(without_owners, version=version) for version in (1, 2, 3)),
    *(partial(with_long_keys, version=version) for version in (4, 5)),
]
ASKING = MAKES[2:]


def opened(path: Path) -> StoredJournal:
    """Open a file twice: the second time, there is nothing to do."""
    open_journal_database(path).dispose()
    return open_journal(open_journal_database(path))


@pytest.mark.parametrize("make", MAKES)
async def test_a_run_of_an_earlier_release_is_as_it_was(tmp_path: Path, make: Make) -> None:
    journal = opened(make(tmp_path / "runtime.db"))
    run = await journal.get(RUN)
    assert (run.number, run.state, run.step_count, run.gas) == (1, State.RUNNING, 1, 7)
    assert (run.input, run.dry_run, run.create_time) == (STARTED.input, True, START)
    events = [record.event for record in await journal.events(RUN)]
    assert events == [STARTED, LARGE, AWAITED]
    assert await journal.payload(RUN) == b"{}"


@pytest.mark.parametrize("make", MAKES)
async def test_a_run_of_an_earlier_release_goes_on(tmp_path: Path, make: Make) -> None:
    journal = opened(make(tmp_path / "runtime.db"))
    [lease] = await journal.claim(START, seconds=5, limit=9)
    await journal.append(entry(ACTED, sequence=4, epoch=lease.epoch))
    assert (await journal.events(RUN))[-1].event == ACTED
    before = await journal.newest(9)
    opened_one = await journal.create(replace(NEW, name=THIRD, request_id="third"), START)
    assert opened_one.run.number == before[0].number + 1


@pytest.mark.parametrize("make", ASKING)
async def test_a_call_that_waited_for_a_person_still_does(tmp_path: Path, make: Make) -> None:
    journal = opened(make(tmp_path / "runtime.db"))
    [waiting] = await journal.waiting(9)
    assert (waiting.run.name, waiting.awaited, waiting.create_time) == (RUN, AWAITED, START)
    assert (await journal.get(RUN)).approval == "approvals/1"
    assert await journal.awaited(RUN, CALL.id) == AWAITED


async def test_an_end_that_was_decided_is_journaled(tmp_path: Path) -> None:
    journal = opened(without_owners(tmp_path / "runtime.db", outcome=FAILED))
    last = (await journal.events(RUN))[-1]
    assert (last.sequence, last.create_time, last.event) == (4, START, EndDecided(FAILED))
    assert (await journal.get(RUN)).sequence == 4


async def test_an_end_that_was_reached_is_known(tmp_path: Path) -> None:
    journal = opened(without_owners(tmp_path / "runtime.db"))
    run = await journal.get(SECOND)
    assert (run.state, run.answer, run.failure) == (FAILED.state, FAILED.answer, FAILED.failure)
    assert run.end_time == START


async def test_what_an_owner_kept_beside_its_events_is_there(tmp_path: Path) -> None:
    journal = opened(with_long_keys(tmp_path / "runtime.db"))
    assert await journal.snapshot(RUN) == Snapshot(2, b"\1")
    assert [kept.note for kept in await journal.notes(RUN)] == [SIGNALS[1]]
    await journal.post(RUN, SIGNALS[0], request_id="1", now=START)
    with pytest.raises(RequestIdReused):
        await journal.post(RUN, SIGNALS[1], request_id="1", now=START)


async def test_what_was_counted_before_counts(tmp_path: Path) -> None:
    journal = opened(with_long_keys(tmp_path / "runtime.db", version=5))
    [lease] = await journal.claim(START, seconds=5, limit=9)
    use = Use("k", 1, START - timedelta(days=1), most=3)
    with pytest.raises(LimitReached):
        await journal.append(replace(entry(ACTED, sequence=4, epoch=lease.epoch), uses=(use,)))


async def test_who_had_a_run_before_it_moved_has_it_no_more(tmp_path: Path) -> None:
    journal = opened(with_long_keys(tmp_path / "runtime.db"))
    assert await journal.claim(START, seconds=5, limit=9) == [Lease(RUN, 5)]


def test_what_a_later_release_wrote_is_refused(engine: Engine, tmp_path: Path) -> None:
    is_file = engine.dialect.name == "sqlite"
    later = "PRAGMA user_version=99" if is_file else "UPDATE schema_version SET version = 99"
    with engine.begin() as connection:
        connection.execute(text(later))
    url = "" if is_file else engine.url.render_as_string()
    with pytest.raises(SchemaTooNew):
        open_journal_database(tmp_path / "runtime.db", url)


def test_what_this_release_made_opens_again(engine: Engine, tmp_path: Path) -> None:
    url = "" if engine.dialect.name == "sqlite" else engine.url.render_as_string()
    open_journal_database(tmp_path / "runtime.db", url).dispose()
