"""What windows have taken is counted with the decision that took it, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from runtime.errors import LeaseLost, LimitReached
from runtime.facts import ActionCall, ActionDecided, Decision
from runtime.journal import tally
from runtime.journal.opening import open_journal, open_journal_database
from runtime.journal.port import Entry, Lease
from runtime.journal.stored import StoredJournal
from runtime.rules import Use
from tests.runtime.worlds import RUN, START

from .old_files import with_long_keys
from .runs import NEW, SECOND, THIRD

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALLOWED = ActionDecided(ActionCall("step-1-1", "board.post", "{}"), Decision.ALLOW, "")


def use(amount: int = 1, *, most: int | None = 3, key: str = "k", at: datetime = START) -> Use:
    """Return a use of a window of a day."""
    return Use(key, amount, at - DAY, most)


def entry(*uses: Use, sequence: int = 2, run: str = RUN, at: datetime = START) -> Entry:
    """Return an entry with one decision."""
    return Entry(Lease(run, 1), sequence, (ALLOWED,), at, uses=uses)


async def test_a_window_that_is_full_refuses_and_says_what_was_used(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(use(2)))
    with pytest.raises(LimitReached) as raised:
        await journal.append(entry(use(2), sequence=3))
    assert (raised.value.key, raised.value.used) == ("k", 2)
    assert len(await journal.events(RUN)) == 2
    await journal.append(entry(use(1), sequence=3))


async def test_uses_of_one_entry_count_together(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(use(1)))
    with pytest.raises(LimitReached) as raised:
        await journal.append(entry(use(1), use(2), sequence=3))
    assert raised.value.used == 1


async def test_a_use_without_a_limit_counts(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(use(10**90, most=None)))
    with pytest.raises(LimitReached) as raised:
        await journal.append(entry(use(), sequence=3))
    assert raised.value.used == 10**90


async def test_an_entry_that_is_handed_in_again_counts_once(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    for _ in range(3):
        await journal.append(entry(use(2)))
    await journal.append(entry(use(1), sequence=3))


async def test_who_has_lost_the_run_counts_nothing(journal: StoredJournal, engine: Engine) -> None:
    await journal.create(NEW, START)
    await open_journal(engine, worker="one").claim(START, seconds=5, limit=9)
    with pytest.raises(LeaseLost):
        await journal.append(entry(use(3)))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tally")).scalar_one() == 0


async def test_agents_and_keys_have_windows_of_their_own(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.create(replace(NEW, name=SECOND, request_id="b", account="agents/b"), START)
    await journal.create(replace(NEW, name=THIRD, request_id="c"), START)
    await journal.append(entry(use(3), use(3, key="other")))
    await journal.append(entry(use(3), run=SECOND))
    with pytest.raises(LimitReached):
        await journal.append(entry(use(), run=THIRD))


async def test_a_window_slides_and_its_boundary_is_free(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(use(3)))
    early, late = START + DAY - timedelta(microseconds=1), START + DAY
    with pytest.raises(LimitReached):
        await journal.append(entry(use(at=early), sequence=3, at=early))
    await journal.append(entry(use(3, at=late), sequence=3, at=late))


async def test_a_clock_that_is_put_back_frees_nothing(journal: StoredJournal) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(use(2)))
    before = START - 2 * DAY
    await journal.append(entry(use(1, at=before), sequence=3, at=before))
    with pytest.raises(LimitReached):
        await journal.append(entry(use(1), sequence=4))


async def test_many_runs_at_once_never_exceed_a_limit(journal: StoredJournal) -> None:
    names = [f"{RUN[:-2]}{number:02}" for number in range(10, 40)]
    for name in names:
        await journal.create(replace(NEW, name=name, request_id=name), START)
    entries = [journal.append(entry(use(most=7), run=name)) for name in names]
    refused = await asyncio.gather(*entries, return_exceptions=True)
    assert sum(isinstance(one, LimitReached) for one in refused) == len(names) - 7


async def test_what_was_counted_is_there_in_the_next_life(
    journal: StoredJournal, engine: Engine
) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(use(3)))
    engine.dispose()
    journal = open_journal(engine, worker="one")
    [lease] = await journal.claim(START, seconds=5, limit=9)
    with pytest.raises(LimitReached):
        await journal.append(replace(entry(use(), sequence=3), lease=lease))


async def test_what_no_window_reaches_is_forgotten(journal: StoredJournal, engine: Engine) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(use(3)))
    later = START + tally.KEPT + HOUR
    await journal.append(entry(use(2, at=later), sequence=3, at=later))
    with pytest.raises(LimitReached) as raised:
        await journal.append(entry(use(2, at=later), sequence=4, at=later))
    assert raised.value.used == 2
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tally")).scalar_one() == 1


async def test_a_file_without_counts_gets_them(tmp_path: Path) -> None:
    journal = open_journal(open_journal_database(with_long_keys(tmp_path / "runtime.db")))
    await journal.create(replace(NEW, name=SECOND, request_id="second"), START)
    await journal.append(entry(use(3), run=SECOND))


_STEPS = st.lists(st.tuples(st.integers(-3_600, 40_000), st.integers(0, 4)), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(_STEPS)
def test_a_sum_is_that_of_all_that_was_counted(
    engine: Engine, steps: list[tuple[int, int]]
) -> None:
    """Against a list; time goes forward, and sometimes a little back."""
    kept: list[tuple[datetime, int]] = []
    now = START
    with engine.connect() as connection, connection.begin() as transaction:

        def execute(sql: str, values: object) -> list[object]:
            is_file = engine.dialect.name == "sqlite"
            sql = sql if is_file else sql.replace("?", "%s")
            result = connection.exec_driver_sql(sql, tuple(values))  # type: ignore[arg-type]  # values of any row
            return list(result.all()) if result.returns_rows else []

        for seconds, amount in steps:
            now += timedelta(seconds=seconds)
            last = max([now, *(time for time, _ in kept)])
            used = sum(size for time, size in kept if time > now - DAY)
            asked = use(amount, most=9, at=now)
            try:
                tally.require_room(execute, "agents/a", [asked])
            except LimitReached as reached:
                assert (reached.used, used + amount > 9) == (used, True)
            else:
                assert used + amount <= 9
                tally.count(execute, "agents/a", [asked], now)
                kept.append((last, amount))
        transaction.rollback()


async def test_workers_at_once_never_exceed_a_limit_together(
    journal: StoredJournal, other: StoredJournal
) -> None:
    mine, theirs = (
        [f"{RUN[:-2]}{number:02}" for number in range(start, start + 15)] for start in (10, 40)
    )
    for worker, names in ((journal, mine), (other, theirs)):
        for name in names:
            await worker.create(replace(NEW, name=name, request_id=name), START)
    pairs = [(journal, name) for name in mine] + [(other, name) for name in theirs]
    entries = [worker.append(entry(use(most=7), run=name)) for worker, name in pairs]
    ended = await asyncio.gather(*entries, return_exceptions=True)
    assert ended.count(None) == 7
    assert sum(isinstance(one, LimitReached) for one in ended) == len(pairs) - 7
