"""A process that dies anywhere, and several at once: every firing starts one run."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from runtime.schedules.clerk import Clerk
from runtime.schedules.schedule import Interval, OverlapPolicy, State
from runtime.schedules.store import ScheduleStore
from tests.runtime.schedules.offices import Office
from tests.runtime.schedules.schedules import NAME, NOW, FakeStarter, a_schedule, a_webhook

MINUTE = timedelta(minutes=1)


class Killed(BaseException):
    """The process ends here."""


# What a process may die before or after: everything that the clerk does with its peers.
STEPS = [
    *(
        (name, when)
        for name in ("claim", "carry_out", "note_started")
        for when in ("before", "after")
    ),
    ("start", "before"),
    ("start", "after"),
]


def dying(office: Office, step: str, when: str) -> Clerk:
    """Return a clerk whose process dies at a step."""

    class Store(ScheduleStore):
        """Dies at a call."""

        def __getattribute__(self, name: str) -> object:
            found = super().__getattribute__(name)
            if name != step:
                return found

            def call(*arguments: object) -> object:
                if when == "after":
                    found(*arguments)
                raise Killed

            return call

    class Starter(FakeStarter):
        """Dies when it is to start a run."""

        async def start(self, start: object) -> str:
            if step == "start" and when == "before":
                raise Killed
            name = await office.starter.start(start)  # type: ignore[arg-type]  # as the port has it
            if step == "start":
                raise Killed
            return name

        async def is_open(self, run: str) -> bool:
            return await office.starter.is_open(run)

    return Clerk(Store(office.engine), Starter(office.clock), office.clock, office.bell)


@pytest.mark.parametrize(("step", "when"), STEPS)
async def test_a_process_that_dies_anywhere_leaves_one_run_for_each_time(
    office: Office, step: str, when: str
) -> None:
    office.keep(a_schedule(Interval(60, NOW), overlap=OverlapPolicy.ALLOW, overlap_max=100))
    for number in range(1, 4):
        office.clock.time = NOW + number * MINUTE
        with pytest.raises(Killed):
            await dying(office, step, when).look()
        office.clerk = office.new_clerk()
        await office.clerk.look()
    assert office.states == [State.STARTED] * 3
    assert len(office.starter.runs) == 3
    assert len({start.input for start in office.starter.runs.values()}) == 3


async def test_two_clerks_at_once_start_one_run_for_each_time(office: Office) -> None:
    office.keep(a_schedule(Interval(60, NOW), overlap=OverlapPolicy.ALLOW, overlap_max=100))
    clerks = [office.new_clerk(), office.new_clerk()]
    for number in range(1, 6):
        office.clock.time = NOW + number * MINUTE
        await asyncio.gather(*(clerk.look() for clerk in clerks))
    assert len(office.starter.runs) == 5
    assert office.states == [State.STARTED] * 5


async def test_two_clerks_at_once_keep_the_overlap_policy(office: Office) -> None:
    office.keep(a_webhook(overlap=OverlapPolicy.QUEUE, overlap_max=100))
    for number in range(5):
        office.store.offer(NAME, str(number), "1", NOW)
    clerks = [office.new_clerk(), office.new_clerk()]
    for count in range(1, 6):
        await asyncio.gather(*(clerk.look() for clerk in clerks))
        assert len(office.starter.runs) == count
        office.starter.end_all()
