"""Nothing is acknowledged that is not durable, and what nobody answered for can be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError

from runtime.errors import JournalUnavailable, LeaseLost
from runtime.journal.opening import open_journal
from runtime.journal.port import Lease
from runtime.journal.stored import StoredJournal
from tests.gas.postgres import Postgres
from tests.runtime.worlds import RUN, START

from .runs import ACTED, ANSWERING, LARGE, LATER, NEW, SECOND, SENT, THIRD, entry


@contextmanager
def lost_answers(journal: StoredJournal) -> Iterator[None]:
    """Lose the connection when a transaction was committed and nobody has heard of it yet."""

    def lose(connection: Connection) -> None:
        connection.connection.commit()
        raise OperationalError("COMMIT", None, journal._rows.failures[0]("gone"))

    event.listen(journal._engine, "commit", lose)
    yield
    event.remove(journal._engine, "commit", lose)


async def test_an_entry_whose_answer_was_lost_may_be_handed_in_again(
    journal: StoredJournal,
) -> None:
    await journal.create(NEW, START)
    asked = replace(entry(SENT), begun=ANSWERING)
    with lost_answers(journal), pytest.raises(JournalUnavailable):
        await journal.append(asked)
    await journal.append(asked)
    assert [record.event for record in await journal.events(RUN, after=1)] == [SENT]
    assert await journal.claim(START, seconds=5, limit=9) == []


async def test_a_run_whose_answer_was_lost_comes_with_its_lease_when_asked_for_again(
    journal: StoredJournal,
) -> None:
    with lost_answers(journal), pytest.raises(JournalUnavailable):
        await journal.create(NEW, START)
    assert (await journal.create(NEW, START)).lease == Lease(RUN, 1)
    assert (await journal.create(NEW, START)).lease is None


async def test_a_run_that_its_caller_never_heard_of_is_claimed(journal: StoredJournal) -> None:
    with lost_answers(journal), pytest.raises(JournalUnavailable):
        await journal.create(NEW, START)
    assert await journal.claim(START, seconds=5, limit=9) == [Lease(RUN, 2)]


async def test_a_run_whose_caller_went_away_is_claimed(journal: StoredJournal) -> None:
    creating = asyncio.create_task(journal.create(NEW, START))
    await asyncio.sleep(0)
    creating.cancel()
    assert await journal.claim(START, seconds=5, limit=9) == [Lease(RUN, 2)]


async def test_a_run_that_its_caller_hears_of_is_not_claimed(journal: StoredJournal) -> None:
    opened, claimed = await asyncio.gather(
        journal.create(NEW, START), journal.claim(START, seconds=5, limit=9)
    )
    assert (opened.lease, claimed) == (Lease(RUN, 1), [])


async def test_a_claim_whose_answer_was_lost_is_made_again(
    journal: StoredJournal, other: StoredJournal
) -> None:
    await other.create(NEW, START)
    with lost_answers(journal), pytest.raises(JournalUnavailable):
        await journal.claim(START, seconds=5, limit=9)
    assert await journal.claim(START, seconds=5, limit=9) == [Lease(RUN, 3)]


async def test_a_refused_entry_leaves_the_others_of_its_batch_alone(
    journal: StoredJournal, other: StoredJournal
) -> None:
    await other.create(NEW, START)
    await journal.claim(START, seconds=5, limit=9)
    await journal.create(replace(NEW, name=SECOND, request_id="second"), START)
    results = await asyncio.gather(
        journal.append(entry(SENT)),
        journal.append(entry(SENT, run=SECOND)),
        journal.append(replace(entry(ACTED, epoch=2), begun=replace(ANSWERING, name=THIRD))),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [LeaseLost, type(None), type(None)]
    assert [record.event for record in await journal.events(RUN, after=1)] == [ACTED]
    assert (await journal.get(THIRD)).sequence == 1


async def test_what_a_database_cannot_store_fails_its_own_caller_only(
    journal: StoredJournal,
) -> None:
    results = await asyncio.gather(
        journal.create(replace(NEW, account="\ud800"), START),
        journal.create(replace(NEW, name=SECOND, request_id="second"), START),
        return_exceptions=True,
    )
    assert isinstance(results[0], UnicodeEncodeError)
    assert [run.name for run in await journal.newest(9)] == [SECOND]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_full_disk_refuses_and_goes_on_when_there_is_room(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.create(NEW, START)
    pages = [1]

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages[0]}")

    with pytest.raises(JournalUnavailable):
        await journal.append(entry(LARGE))
    assert len(await journal.events(RUN)) == 1
    pages[0] = 1_000_000
    await journal.append(entry(LARGE))
    assert [record.event for record in await journal.events(RUN, after=1)] == [LARGE]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_server_that_is_away_refuses_and_goes_on_when_it_is_back(
    journal: StoredJournal, engine: Engine, postgres: Postgres
) -> None:
    await journal.create(NEW, START)
    name = engine.url.database
    operator = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with operator.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        connection.execute(text(ending), {"name": name})
        for asked in (
            journal.append(entry(SENT)),
            journal.get(RUN),
            journal.renew(START, seconds=1),
        ):
            with pytest.raises(JournalUnavailable):
                await asked
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    operator.dispose()
    await journal.append(entry(SENT))
    assert [record.event for record in await journal.events(RUN, after=1)] == [SENT]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_who_claims_leaves_a_run_that_is_being_written(
    journal: StoredJournal, other: StoredJournal, engine: Engine
) -> None:
    await journal.create(NEW, START)
    with engine.begin() as connection:
        connection.execute(text("SELECT FROM run FOR UPDATE"))
        assert await other.claim(LATER, seconds=5, limit=9) == []
    assert await other.claim(LATER, seconds=5, limit=9) == [Lease(RUN, 2)]


async def test_a_former_life_of_a_worker_writes_nothing_more(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.create(NEW, START)
    again = open_journal(engine, worker="one")
    assert await again.claim(START, seconds=5, limit=9) == [Lease(RUN, 2)]
    with pytest.raises(LeaseLost):
        await journal.append(entry(SENT))
    assert len(await again.events(RUN)) == 1
