"""The store of schedules, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from chassis.database import SchemaTooNew
from chassis.errors import RequestIdReused
from runtime.errors import ScheduleNotFound, SchedulesExceeded
from runtime.schedules import store as store_module
from runtime.schedules.database import open_schedule_database
from runtime.schedules.overlap import Verdict
from runtime.schedules.schedule import (
    EVENTS_KEPT,
    FIRINGS_KEPT,
    MESSAGES_KEPT,
    WAITING_MAX,
    Message,
    NewDocument,
    State,
)
from runtime.schedules.store import QueueFull, SchedulePaused, ScheduleStore
from runtime.schedules.timing import due
from tests.gas.postgres import Postgres, PostgresMissing, running_postgres
from tests.runtime.schedules.schedules import MINUTELY, NAME, NOW, a_schedule, a_webhook, kept

MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres | None]:
    try:
        with running_postgres(fsync=False) as server:
            yield server
    except PostgresMissing:
        yield None


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        opened = open_schedule_database(tmp_path / "schedules.db")
    else:
        server: Postgres | None = request.getfixturevalue("postgres")
        if server is None:
            pytest.skip("PostgreSQL is not installed")
        opened = open_schedule_database(tmp_path, server.fresh_database())
    yield opened
    opened.dispose()


@pytest.fixture
def store(engine: Engine) -> ScheduleStore:
    return ScheduleStore(engine)


def test_what_was_created_is_read_as_it_was(store: ScheduleStore) -> None:
    made = kept(store, a_schedule(MINUTELY, jitter_seconds=9, end_time=NOW + MINUTE * 9))
    assert store.get(NAME) == made


def test_a_repeated_request_makes_one_schedule(store: ScheduleStore) -> None:
    made = store.create(a_schedule(), request_id="r", content_sha256="1")
    other = a_schedule(name=f"{NAME[:-1]}2")
    assert store.create(other, request_id="r", content_sha256="1") == made
    assert store.made_by("r", content_sha256="1") == made
    with pytest.raises(RequestIdReused):
        store.create(other, request_id="r", content_sha256="2")
    with pytest.raises(RequestIdReused):
        store.made_by("r", content_sha256="2")


def test_there_is_a_limit(store: ScheduleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SCHEDULES_MAX", 1)
    kept(store, a_schedule())
    with pytest.raises(SchedulesExceeded):
        kept(store, a_schedule(name=f"{NAME[:-1]}2"))


def test_pages_go_by_name(store: ScheduleStore) -> None:
    for number in (3, 1, 2):
        kept(store, a_schedule(name=f"{NAME[:-1]}{number}"))
    page = store.page(after=f"{NAME[:-1]}1", limit=1)
    assert [one.name for one in page] == [f"{NAME[:-1]}2"]


def test_a_due_time_is_claimed_by_one_of_two_workers(store: ScheduleStore) -> None:
    kept(store, a_schedule())
    now = NOW + MINUTE
    (read,) = store.due(now, 10)
    (read_too,) = store.due(now, 10)
    assert store.claim(read, due(read, now), now)
    assert not store.claim(read_too, due(read_too, now), now)
    assert [one.number for one in store.firings(NAME, before=None, limit=9)] == [1]
    assert store.due(now, 10) == []
    assert store.next_fire_time() == NOW + 2 * MINUTE


def test_many_workers_at_once_claim_each_time_once(store: ScheduleStore) -> None:
    kept(store, a_schedule())

    def work(_: int) -> int:
        claimed = 0
        for number in range(1, 9):
            now = NOW + number * MINUTE
            for schedule in store.due(now, 10):
                claimed += store.claim(schedule, due(schedule, now), now)
        return claimed

    with ThreadPoolExecutor(4) as pool:
        claims = sum(pool.map(work, range(4)))
    found = store.firings(NAME, before=None, limit=99)
    assert sorted(one.time for one in found) == [NOW + one * MINUTE for one in range(1, 9)]
    assert claims <= len(found)


def test_a_time_that_was_claimed_before_is_not_claimed_again(store: ScheduleStore) -> None:
    """A clock is set back, and somebody resumes the schedule there."""
    kept(store, a_schedule())
    now = NOW + MINUTE
    (read,) = store.due(now, 10)
    store.claim(read, due(read, now), now)
    store.update(NAME, NOW, is_paused=True, bundle="")
    store.update(NAME, NOW, is_paused=False, bundle="")
    (again,) = store.due(now, 10)
    assert store.claim(again, due(again, now), now)
    assert len(store.firings(NAME, before=None, limit=9)) == 1


def test_a_paused_schedule_is_not_due_and_what_fell_due_is_over(store: ScheduleStore) -> None:
    kept(store, a_schedule())
    store.update(NAME, NOW, is_paused=True, bundle="")
    assert store.due(NOW + 9 * MINUTE, 10) == []
    resumed = store.update(NAME, NOW + 9 * MINUTE, is_paused=False, bundle="")
    assert resumed.next_time == NOW + 10 * MINUTE
    assert store.get(NAME).next_time == NOW + 10 * MINUTE


def test_resuming_what_is_not_paused_changes_nothing(store: ScheduleStore) -> None:
    kept(store, a_schedule())
    assert store.update(NAME, NOW + 9 * MINUTE, is_paused=False, bundle="").next_time == (
        NOW + MINUTE
    )


def test_an_event_is_taken_once(store: ScheduleStore) -> None:
    kept(store, a_webhook())
    first = store.offer(NAME, "d", '{"a":1}', NOW)
    again = store.offer(NAME, "d", '{"a":2}', NOW + MINUTE)
    assert again == first
    assert store.find(NAME, "d") == first
    assert store.find(NAME, "e") is None


def test_an_event_that_comes_many_times_at_once_is_taken_once(store: ScheduleStore) -> None:
    kept(store, a_webhook())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: store.offer(NAME, "d", "1", NOW), range(8)))
    assert {one.number for one in found} == {1}


def test_events_of_a_paused_schedule_are_refused_but_known_ones_are_known(
    store: ScheduleStore,
) -> None:
    kept(store, a_webhook())
    known = store.offer(NAME, "d", "1", NOW)
    store.update(NAME, NOW, is_paused=True, bundle="")
    assert store.offer(NAME, "d", "1", NOW) == known
    with pytest.raises(SchedulePaused):
        store.offer(NAME, "e", "1", NOW)


def test_events_after_the_end_are_refused(store: ScheduleStore) -> None:
    kept(store, a_webhook(end_time=NOW + MINUTE))
    store.offer(NAME, "d", "1", NOW)
    with pytest.raises(SchedulePaused):
        store.offer(NAME, "e", "1", NOW + MINUTE)


def test_so_many_events_wait_and_no_more(store: ScheduleStore) -> None:
    kept(store, a_webhook())
    for number in range(WAITING_MAX):
        store.offer(NAME, str(number), "1", NOW)
    with pytest.raises(QueueFull):
        store.offer(NAME, "one more", "1", NOW)


@pytest.mark.parametrize(("trigger", "kept_for"), [(None, EVENTS_KEPT), (Message(), MESSAGES_KEPT)])
def test_old_firings_are_forgotten_but_no_event_that_may_come_again(
    store: ScheduleStore,
    monkeypatch: pytest.MonkeyPatch,
    trigger: Message | None,
    kept_for: timedelta,
) -> None:
    monkeypatch.setattr(store_module, "FIRINGS_KEPT", 2)
    schedule = kept(store, a_schedule(trigger) if trigger else a_webhook())
    for number in range(5):
        firing = store.offer(NAME, str(number), "1", NOW)
        store.carry_out(store.get(NAME), Verdict(skips=((firing, "OVERLAP", ""),)))
    store.offer(NAME, "5", "1", NOW + kept_for)
    assert len(store.firings(NAME, before=None, limit=99)) == 6
    store.offer(NAME, "6", "1", NOW + kept_for + MINUTE)
    numbers = [one.number for one in store.firings(NAME, before=None, limit=99)]
    assert numbers == [7, 6, 5]
    assert schedule.kept == kept_for


def test_a_firing_whose_run_is_open_is_not_forgotten(
    store: ScheduleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FIRINGS_KEPT", 0)
    kept(store, a_webhook())
    firing = store.offer(NAME, "d", "1", NOW)
    store.carry_out(store.get(NAME), Verdict(starts=(firing,)))
    store.note_started(firing, "runs/1")
    store.offer(NAME, "e", "1", NOW + 2 * EVENTS_KEPT)
    assert store.find(NAME, "d") is not None
    store.note_ended([firing])
    store.offer(NAME, "f", "1", NOW + 2 * EVENTS_KEPT)
    assert store.find(NAME, "d") is None


def test_a_verdict_about_what_has_changed_is_not_carried_out(store: ScheduleStore) -> None:
    kept(store, a_webhook())
    firing = store.offer(NAME, "d", "1", NOW)
    read, _, waiting = store.standing(NAME)
    assert waiting == [firing]
    store.offer(NAME, "e", "1", NOW)
    assert not store.carry_out(read, Verdict(starts=(firing,)))
    assert store.carry_out(store.get(NAME), Verdict(starts=(firing,)))
    ((_, starting),) = store.starting(after=("", 0), limit=9)
    assert (starting.number, starting.state, starting.bundle) == (1, State.STARTING, read.bundle)


def test_a_run_that_was_started_is_not_failed_by_a_slower_worker(store: ScheduleStore) -> None:
    kept(store, a_webhook())
    firing = store.offer(NAME, "d", "1", NOW)
    store.carry_out(store.get(NAME), Verdict(starts=(firing,)))
    store.note_started(firing, "runs/1")
    store.note_failed(firing, reason="BUNDLE_INVALID", message="")
    found = store.find(NAME, "d")
    assert found is not None
    assert (found.state, found.run, found.is_open) == (State.STARTED, "runs/1", True)


def test_a_deleted_schedule_is_gone_with_its_firings(store: ScheduleStore) -> None:
    kept(store, a_webhook())
    firing = store.offer(NAME, "d", "1", NOW)
    store.carry_out(store.get(NAME), Verdict(starts=(firing,)))
    store.delete(NAME)
    assert store.starting(after=("", 0), limit=9) == []
    store.note_started(firing, "runs/1")
    for call in (
        lambda: store.get(NAME),
        lambda: store.delete(NAME),
        lambda: store.firings(NAME, before=None, limit=1),
        lambda: store.offer(NAME, "d", "1", NOW),
        lambda: store.update(NAME, NOW, is_paused=True, bundle=""),
    ):
        with pytest.raises(ScheduleNotFound):
            call()


def test_only_what_waits_for_documents_is_watched(store: ScheduleStore) -> None:
    kept(store, a_webhook())
    watching = a_schedule(NewDocument("collections/news"), name=f"{NAME[:-1]}2")
    kept(store, watching)
    assert [one.name for one in store.watching(after="", limit=9)] == [watching.name]
    store.note_seen(watching.name, cursor=NOW + MINUTE, problem="p")
    (found,) = store.watching(after="", limit=9)
    assert (found.cursor, found.problem) == (NOW + MINUTE, "p")
    store.update(watching.name, NOW, is_paused=True, bundle="")
    assert store.watching(after="", limit=9) == []


def test_the_limit_of_kept_firings_holds_for_events(
    store: ScheduleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FIRINGS_MAX", 3)
    kept(store, a_webhook())
    for number in range(4):
        firing = store.offer(NAME, str(number), "1", NOW)
        store.carry_out(store.get(NAME), Verdict(skips=((firing, "OVERLAP", ""),)))
    with pytest.raises(QueueFull):
        store.offer(NAME, "one more", "1", NOW)
    assert FIRINGS_KEPT > 3


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    engine = open_schedule_database(tmp_path / "schedules.db")
    made = kept(ScheduleStore(engine), a_webhook())
    firing = ScheduleStore(engine).offer(NAME, "d", "1", NOW)
    engine.dispose()
    again = open_schedule_database(tmp_path / "schedules.db")
    # One change, by the event.
    assert ScheduleStore(again).get(NAME) == replace(made, revision=1)
    assert ScheduleStore(again).find(NAME, "d") == firing
    again.dispose()


def test_a_database_of_a_later_release_is_left_alone(postgres: Postgres | None) -> None:
    if postgres is None:
        pytest.skip("PostgreSQL is not installed")
    url = postgres.fresh_database()
    engine = open_schedule_database(Path(), url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schedules_version SET version = 99"))
    engine.dispose()
    with pytest.raises(SchemaTooNew):
        open_schedule_database(Path(), url)
