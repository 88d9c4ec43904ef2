"""New documents: each fires once, whatever the clocks and the peers do."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from chassis.errors import PeerUnavailable
from runtime.schedules import store
from runtime.schedules.overlap import Verdict
from runtime.schedules.schedule import EVENTS_KEPT, WAITING_MAX, NewDocument, State
from runtime.schedules.watching import OVERLAP, Watcher
from tests.runtime.schedules.offices import Office
from tests.runtime.schedules.schedules import NAME, NOW, FakeCollections, a_schedule
from tests.runtime.worlds import until

NEWS = "collections/news"


@pytest.fixture
def collections() -> FakeCollections:
    return FakeCollections()


@pytest.fixture
def watcher(office: Office, collections: FakeCollections) -> Watcher:
    office.keep(a_schedule(NewDocument(NEWS)))
    return Watcher(office.store, collections, office.clock, office.bell)


async def test_a_new_document_fires_once_however_often_it_is_seen(
    office: Office, collections: FakeCollections, watcher: Watcher
) -> None:
    collections.add(f"{NEWS}/documents/a", seconds=10, sha256="s")
    for _ in range(3):
        office.clock.advance(30)
        await watcher.look()
    (firing,) = office.firings
    assert json.loads(firing.event) == {
        "document": f"{NEWS}/documents/a",
        "sha256": "s",
        "source": "",
        "update_time": (NOW + timedelta(seconds=10)).isoformat(),
    }
    assert office.bell.is_set()


async def test_a_document_that_is_replaced_fires_again(
    office: Office, collections: FakeCollections, watcher: Watcher
) -> None:
    collections.add("a", seconds=10, sha256="1")
    await watcher.look()
    collections.documents = []
    collections.add("a", seconds=20, sha256="2")
    await watcher.look()
    assert [json.loads(one.event)["sha256"] for one in office.firings] == ["1", "2"]


async def test_what_was_there_before_the_schedule_does_not_fire(
    office: Office, collections: FakeCollections, watcher: Watcher
) -> None:
    collections.add("a", seconds=-1)
    await watcher.look()
    assert office.firings == []


async def test_a_document_that_is_stored_late_fires(
    office: Office, collections: FakeCollections, watcher: Watcher
) -> None:
    """It has an earlier time than one that was seen before, by a slow clock or a slow disk."""
    office.clock.advance(3_600)
    collections.add("b", seconds=3_500)
    await watcher.look()
    collections.add("a", seconds=3_400)
    await watcher.look()
    assert len(office.firings) == 2


async def test_the_place_in_a_collection_survives_a_restart(
    office: Office, collections: FakeCollections, watcher: Watcher
) -> None:
    office.clock.advance(3_600)
    await watcher.look()
    again = Watcher(office.store, collections, office.clock, office.bell)
    await again.look()
    assert collections.asked == [NOW, NOW + timedelta(hours=1) - OVERLAP]


async def test_no_document_is_forgotten_while_it_may_be_seen_again(
    office: Office, collections: FakeCollections, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FIRINGS_KEPT", 0)
    for number in range(25):
        collections.add(str(number), seconds=60 * number)
        await watcher.look()
        for firing in office.firings:
            if firing.state == State.WAITING:
                skip = Verdict(skips=((firing, "OVERLAP", ""),))
                office.store.carry_out(office.store.get(NAME), skip)
        office.clock.advance(60)
    # Numbers are never used twice, also not for what was forgotten.
    assert office.firings[-1].number == 25
    assert len(office.firings) < 25
    assert OVERLAP < EVENTS_KEPT


async def test_documents_wait_in_their_collection_until_there_is_room(
    office: Office, collections: FakeCollections, watcher: Watcher
) -> None:
    for number in range(WAITING_MAX + 1):
        collections.add(str(number), seconds=number)
    office.clock.advance(7_200)
    await watcher.look()
    assert len(office.firings) == WAITING_MAX
    first = Verdict(skips=((office.firings[0], "OVERLAP", ""),))
    office.store.carry_out(office.store.get(NAME), first)
    await watcher.look()
    assert len(office.firings) == WAITING_MAX + 1


async def test_a_problem_is_said_until_it_is_gone(
    office: Office, collections: FakeCollections, watcher: Watcher
) -> None:
    collections.problem = "collections/news does not exist"
    await watcher.look()
    assert office.store.get(NAME).problem == collections.problem
    collections.problem = ""
    await watcher.look()
    assert office.store.get(NAME).problem == ""


async def test_a_peer_that_is_down_is_asked_again_and_nothing_is_lost(
    office: Office, collections: FakeCollections, watcher: Watcher
) -> None:
    collections.add("a", seconds=1)
    collections.fail_next(PeerUnavailable("knowledge"))
    office.clock.advance(3_600)
    await watcher.look()
    assert office.firings == []
    await watcher.look()
    assert len(office.firings) == 1


async def test_nothing_is_looked_for_before_the_start(
    office: Office, collections: FakeCollections
) -> None:
    start = NOW + timedelta(hours=1)
    schedule = a_schedule(NewDocument(NEWS), start_time=start)
    office.keep(replace(schedule, cursor=start))
    collections.add("a", seconds=60)
    collections.add("b", seconds=3_601)
    watcher = Watcher(office.store, collections, office.clock, office.bell)
    await watcher.look()
    assert office.firings == []
    office.clock.advance(3_602)
    await watcher.look()
    assert [json.loads(one.event)["document"] for one in office.firings] == ["b"]


async def test_at_work_it_looks_again_and_again(
    office: Office, collections: FakeCollections, watcher: Watcher
) -> None:
    task = asyncio.create_task(watcher.work())
    await until(lambda: collections.asked)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
