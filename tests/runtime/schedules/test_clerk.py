"""The clerk: what is due starts one run, whatever dies, and however clocks are set."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from sqlalchemy.exc import OperationalError

from runtime.schedules.ports import StartLater, StartRefused
from runtime.schedules.schedule import (
    At,
    MissedPolicy,
    OverlapPolicy,
    State,
)
from tests.runtime.schedules.offices import Office
from tests.runtime.schedules.schedules import (
    BUNDLE,
    NAME,
    NOW,
    a_schedule,
    a_webhook,
)
from tests.runtime.worlds import FakeClock, until
from tests.simulation.loop import VirtualTimeLoop

MINUTE = timedelta(minutes=1)


# --- Starting ------------------------------------------------------------------------------------


async def test_nothing_starts_before_it_is_due(office: Office) -> None:
    office.keep(a_schedule())
    await office.at(59)
    assert office.starter.runs == {}


async def test_a_due_time_starts_a_run_with_the_time_as_input(office: Office) -> None:
    office.keep(a_schedule())
    await office.at(60)
    (start,) = office.starter.runs.values()
    time = (NOW + MINUTE).isoformat()
    assert (start.bundle, start.input) == (BUNDLE, f'{{"time":"{time}"}}')
    (firing,) = office.firings
    assert (firing.state, firing.run, firing.time) == (State.STARTED, "runs/1", NOW + MINUTE)


async def test_an_event_starts_a_run_with_the_event_as_input(office: Office) -> None:
    office.keep(a_webhook())
    office.store.offer(NAME, "d", '{"a":1}', NOW)
    await office.at(0)
    (start,) = office.starter.runs.values()
    assert start.input == '{"event":{"a":1}}'


async def test_looking_again_starts_nothing_again(office: Office) -> None:
    office.keep(a_schedule(At(NOW + MINUTE)))
    for seconds in (60, 60, 61, 600):
        await office.at(seconds)
    assert len(office.starter.runs) == 1


async def test_jitter_starts_a_run_later(office: Office) -> None:
    office.keep(a_schedule(At(NOW + MINUTE), jitter_seconds=3_600))
    await office.at(60)
    assert office.starter.runs == {}
    await office.at(60 + 3_600)
    assert [firing.time for firing in office.firings] == [NOW + MINUTE]


async def test_a_run_starts_once_whoever_is_missing_is_back(office: Office) -> None:
    office.keep(a_schedule(At(NOW + MINUTE)))
    office.starter.fail_next(StartLater(), StartLater())
    await office.at(60)
    assert office.states == [State.STARTING]
    await office.at(61)
    await office.at(62)
    assert office.states == [State.STARTED]


async def test_a_run_that_is_refused_is_not_tried_again(office: Office) -> None:
    office.keep(a_schedule(At(NOW + MINUTE)))
    office.starter.fail_next(StartRefused("BUNDLE_NOT_FOUND", "assemble it first"))
    await office.at(60)
    await office.at(61)
    (firing,) = office.firings
    assert (firing.state, firing.reason) == (State.FAILED, "BUNDLE_NOT_FOUND")
    assert office.starter.runs == {}


async def test_a_start_that_is_tried_again_keeps_its_bundle(office: Office) -> None:
    """Its first try may have started a run; a request with another bundle would be another."""
    office.keep(a_schedule(At(NOW + MINUTE)))
    office.starter.fail_next(StartLater())
    await office.at(60)
    office.store.update(NAME, NOW, is_paused=None, bundle=BUNDLE.replace("a", "b"))
    await office.at(61)
    assert [start.bundle for start in office.starter.runs.values()] == [BUNDLE]


async def test_a_bug_with_one_schedule_stops_no_other(office: Office) -> None:
    office.keep(a_schedule(At(NOW + MINUTE)))
    other = f"{NAME[:-1]}2"
    office.keep(a_schedule(At(NOW + MINUTE), name=other))
    office.starter.fail_next(KeyError("a bug"))
    await office.at(60)
    assert office.states == [State.STARTING]
    assert office.store.firings(other, before=None, limit=1)[0].state == State.STARTED


async def test_more_schedules_than_a_page_are_all_looked_after(office: Office) -> None:
    names = [f"{NAME[:-3]}{number:03}" for number in range(120)]
    for name in names:
        office.keep(a_schedule(At(NOW + MINUTE), name=name))
    await office.at(60)
    assert len(office.starter.runs) == len(names)


# --- Clocks that are set -------------------------------------------------------------------------


async def test_a_clock_that_is_set_back_fires_nothing_again(office: Office) -> None:
    office.keep(a_schedule())
    for seconds in (60, 120, 0, 60, 120, 180):
        await office.at(seconds)
        office.starter.end_all()
    assert [firing.time for firing in office.firings] == [NOW + n * MINUTE for n in (1, 2, 3)]


async def test_a_clock_that_is_set_forward_has_missed_what_lies_between(office: Office) -> None:
    office.keep(a_schedule(missed=MissedPolicy.SKIP))
    await office.at(3_610)
    assert office.states == [State.SKIPPED, State.STARTED]
    missed, last = office.firings
    assert (missed.reason, missed.time) == ("MISSED", NOW + MINUTE)
    assert last.time == NOW + 60 * MINUTE


# --- Overlap and pauses --------------------------------------------------------------------------


async def test_a_time_is_skipped_while_a_run_is_open(office: Office) -> None:
    office.keep(a_schedule())
    await office.at(60)
    await office.at(120)
    office.starter.end_all()
    await office.at(180)
    assert office.states == [State.STARTED, State.SKIPPED, State.STARTED]
    assert office.firings[1].reason == "OVERLAP"


async def test_a_time_waits_for_the_run_before_and_then_starts(office: Office) -> None:
    office.keep(a_schedule(overlap=OverlapPolicy.QUEUE))
    for seconds in (60, 120, 180):
        await office.at(seconds)
    assert office.states == [State.STARTED, State.WAITING, State.SKIPPED]
    office.starter.end_all()
    await office.at(181)
    assert office.states == [State.STARTED, State.STARTED, State.SKIPPED]


async def test_a_run_is_cancelled_and_its_successor_starts_when_it_has_ended(
    office: Office,
) -> None:
    office.keep(a_schedule(overlap=OverlapPolicy.CANCEL))
    await office.at(60)
    await office.at(120)
    assert office.starter.cancelled == ["runs/1"]
    assert office.states == [State.STARTED, State.WAITING]
    office.starter.end_all()
    await office.at(121)
    assert office.states == [State.STARTED, State.STARTED]


async def test_a_pause_holds_what_waits(office: Office) -> None:
    office.keep(a_webhook())
    office.store.offer(NAME, "d", "1", NOW)
    office.store.update(NAME, NOW, is_paused=True, bundle="")
    await office.at(0)
    assert office.states == [State.WAITING]
    office.store.update(NAME, NOW, is_paused=False, bundle="")
    await office.at(0)
    assert office.states == [State.STARTED]


async def test_a_peer_that_is_down_while_runs_are_looked_at_changes_nothing(
    office: Office,
) -> None:
    office.keep(a_schedule(overlap=OverlapPolicy.QUEUE))
    await office.at(60)

    office.starter.is_down = True
    await office.at(120)
    assert office.states == [State.STARTED, State.WAITING]
    office.starter.is_down = False
    office.starter.end_all()
    await office.at(121)
    assert office.states == [State.STARTED, State.STARTED]


# --- The task ------------------------------------------------------------------------------------


class LoopClock(FakeClock):
    """Time that goes as that of the loop."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self.loop = loop

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.loop.elapsed)


def in_virtual_time(office: Office, seconds: float) -> None:
    """Let the clerk work for so long, without waiting."""
    loop = VirtualTimeLoop()
    office.clock = office.starter.clock = LoopClock(loop)

    async def work() -> None:
        task = asyncio.create_task(office.new_clerk().work())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    try:
        loop.run_until_complete(work())
    finally:
        loop.close()


def test_at_work_every_time_fires_within_a_moment(office: Office) -> None:
    office.keep(a_schedule(overlap=OverlapPolicy.ALLOW, overlap_max=100))
    in_virtual_time(office, 600.5)
    seen = [(time - NOW).total_seconds() for time in office.starter.times]
    assert [round(one) for one in seen] == [60 * number for number in range(1, 11)]
    assert all(one % 60 < 0.2 for one in seen)


def test_at_work_a_database_that_does_not_answer_is_asked_again(office: Office) -> None:
    office.keep(a_schedule(At(NOW + MINUTE)))
    office.starter.fail_next(OperationalError("", {}, Exception()))
    in_virtual_time(office, 70)
    assert office.states == [State.STARTED]


async def test_at_work_a_bell_wakes_the_clerk(office: Office) -> None:
    office.keep(a_webhook())
    task = asyncio.create_task(office.clerk.work())
    await until(lambda: not office.bell.is_set())
    office.store.offer(NAME, "d", "1", NOW)
    office.bell.set()
    # Before it would look by itself.
    async with asyncio.timeout(3):
        await until(lambda: office.states == [State.STARTED])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
