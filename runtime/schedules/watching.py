"""Looks for new documents in collections, and lets each of them fire once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from chassis.canonical import sha256_hex
from chassis.clock import Clock
from chassis.errors import PeerUnavailable
from chassis.log import log

from ..errors import ScheduleNotFound
from ..jsontext import write_json
from .ports import Collections, Document, WatchingFails
from .schedule import NewDocument, Schedule
from .store import QueueFull, SchedulePaused, ScheduleStore

LOOK_SECONDS = 30.0
PAGE = 100
# What is older was seen: two clocks differ by less, and no document takes longer to be stored.
# Firings are kept for longer, so that what is seen twice is known.
OVERLAP = timedelta(minutes=5)
_STEP = timedelta(minutes=1)


class Watcher:
    """Reads what has changed since a time that the schedule remembers."""

    def __init__(
        self, store: ScheduleStore, collections: Collections, clock: Clock, bell: asyncio.Event
    ) -> None:
        self._store = store
        self._collections = collections
        self._clock = clock
        self._bell = bell

    async def work(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                await self.look()
            except SQLAlchemyError:
                log.exception("schedules.unavailable")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once at all collections that are waited for."""
        after = ""
        while found := await asyncio.to_thread(self._store.watching, after=after, limit=PAGE):
            for schedule in found:
                try:
                    await self._watch(schedule)
                except (PeerUnavailable, ScheduleNotFound, SchedulePaused):
                    # Down for a moment, or nobody wants to know any more.
                    continue
            after = found[-1].name

    async def _watch(self, schedule: Schedule) -> None:
        assert isinstance(schedule.trigger, NewDocument)
        assert schedule.cursor is not None, "it has one from the start"
        cursor, problem = schedule.cursor, ""
        seen = self._clock.now() - OVERLAP
        try:
            documents = await self._collections.changed(schedule.trigger.collection, cursor)
        except WatchingFails as error:
            documents, seen, problem = (), cursor, str(error)
        for document in documents:
            try:
                await self._offer(schedule, document)
            except QueueFull:
                # It is found again, after those before it have started their runs.
                seen = min(seen, document.update_time)
                break
        # Not every look is worth writing.
        cursor = seen if seen - cursor >= _STEP else cursor
        if problem != schedule.problem or cursor != schedule.cursor:
            await asyncio.to_thread(
                self._store.note_seen, schedule.name, cursor=cursor, problem=problem
            )

    async def _offer(self, schedule: Schedule, document: Document) -> None:
        time = document.update_time.isoformat()
        version = f"{document.name}\n{document.sha256}\n{time}"
        event = {
            "document": document.name,
            "source": document.source,
            "sha256": document.sha256,
            "update_time": time,
        }
        key = sha256_hex(version.encode())[:32]
        await asyncio.to_thread(
            self._store.offer, schedule.name, key, write_json({**event}), self._clock.now()
        )
        self._bell.set()
