"""Looks after all schedules: one task that lets what is due start its runs, exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from chassis.clock import Clock
from chassis.errors import ResourceExhausted, Unavailable
from chassis.log import log

from ..errors import ScheduleNotFound
from .overlap import judge
from .ports import Start, Starter, StartLater, StartRefused
from .schedule import Firing, Schedule
from .store import ScheduleStore
from .template import fill
from .timing import due

# The clock of the machine may be set, which wakes nobody.
PAUSE_SECONDS_MAX = 5.0
PAUSE_SECONDS_MIN = 0.05
# While firings wait for runs to end, or for a peer.
LOOK_SECONDS = 1.0
PAGE = 100


class Clerk:
    """Fires what is due, decides about what waits, starts what is to start, and looks again.

    Every step is in the store before the next one begins, and may be repeated. A bug with one
    schedule leaves that alone until the next start of the process.
    """

    def __init__(
        self, store: ScheduleStore, starter: Starter, clock: Clock, bell: asyncio.Event
    ) -> None:
        self._store = store
        self._starter = starter
        self._clock = clock
        # Rings when something has been added or changed.
        self._bell = bell
        self._stopped: set[str] = set()

    async def work(self) -> None:
        """Look after the schedules until cancelled."""
        while True:
            self._bell.clear()
            try:
                is_waiting = await self.look()
                pause = LOOK_SECONDS if is_waiting else await self._pause()
            except SQLAlchemyError:
                log.exception("schedules.unavailable")
                pause = LOOK_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._bell.wait()
            except TimeoutError:
                continue

    async def look(self) -> bool:
        """Do all that can be done now; return whether something waits for others."""
        now = self._clock.now()
        await self._fire(now)
        is_waiting = False
        after = ""
        while names := await asyncio.to_thread(self._store.with_waiting, after=after, limit=PAGE):
            for name in names:
                is_waiting |= await self._guarded(name, partial(self._decide, name))
            after = names[-1]
        place = "", 0
        while found := await asyncio.to_thread(self._store.starting, after=place, limit=PAGE):
            started = [
                self._guarded(schedule.name, partial(self._start, schedule, firing))
                for schedule, firing in found
            ]
            is_waiting |= any(await asyncio.gather(*started))
            place = found[-1][1].place
        return is_waiting

    async def _fire(self, now: datetime) -> None:
        """Let what is due wait for its run."""
        while found := await asyncio.to_thread(self._store.due, now, PAGE):
            claimed = False
            for schedule in found:
                claim = partial(self._claim, schedule, now)
                claimed |= await self._guarded(schedule.name, claim)
            if not claimed:
                # Others have claimed them, or they are stopped; whatever is left is due later.
                return

    async def _claim(self, schedule: Schedule, now: datetime) -> bool:
        found = await asyncio.to_thread(due, schedule, now)
        return await asyncio.to_thread(self._store.claim, schedule, found, now)

    async def _decide(self, name: str) -> bool:
        """Decide about what waits of a schedule; return whether something still does."""
        schedule, opened, waiting = await asyncio.to_thread(self._store.standing, name)
        ended = [one for one in opened if one.run and not await self._starter.is_open(one.run)]
        if ended:
            await asyncio.to_thread(self._store.note_ended, ended)
            opened = [one for one in opened if one not in ended]
        verdict = judge(schedule.rules, opened, waiting)
        for firing in verdict.cancels:
            if firing.run:
                await self._starter.cancel(firing.run)
        if not verdict.is_empty:
            await asyncio.to_thread(self._store.carry_out, schedule, verdict)
        return len(waiting) > len(verdict.starts) + len(verdict.skips)

    async def _start(self, schedule: Schedule, firing: Firing) -> bool:
        """Start the run of a firing; return whether it has to wait for others."""
        start = Start(
            bundle=firing.bundle,
            input=fill(schedule.input, firing),
            request_id=firing.request_id,
            dry_run=schedule.dry_run,
        )
        try:
            run = await self._starter.start(start)
        except StartLater:
            return True
        except StartRefused as error:
            log.info("schedule.refused", firing=firing.name, reason=error.reason)
            await asyncio.to_thread(
                self._store.note_failed, firing, reason=error.reason, message=error.message
            )
            return False
        await asyncio.to_thread(self._store.note_started, firing, run)
        log.info("schedule.fired", firing=firing.name, run=run)
        return False

    async def _guarded(self, name: str, step: Callable[[], Awaitable[bool]]) -> bool:
        """Take a step for a schedule; a bug in it must not stop the others."""
        if name in self._stopped:
            return False
        try:
            return await step()
        except SQLAlchemyError:
            raise
        except ScheduleNotFound:
            return False
        except (Unavailable, ResourceExhausted):
            return True
        except Exception:  # noqa: BLE001  # a bug; going on could repeat it on the world
            self._stopped.add(name)
            log.exception("schedule.stopped", schedule=name)
            return False

    async def _pause(self) -> float:
        time = await asyncio.to_thread(self._store.next_fire_time)
        if time is None:
            return PAUSE_SECONDS_MAX
        seconds = (time - self._clock.now()).total_seconds()
        # What is stopped stays due.
        return min(max(seconds, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)
