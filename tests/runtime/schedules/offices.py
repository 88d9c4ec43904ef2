"""A clerk over a file, and all that it works with."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from runtime.schedules.clerk import Clerk
from runtime.schedules.database import open_schedule_database
from runtime.schedules.schedule import Firing, Schedule, State
from runtime.schedules.store import ScheduleStore
from tests.runtime.schedules.schedules import NAME, NOW, FakeStarter, kept
from tests.runtime.worlds import FakeClock


class Office:
    """A clerk over a file; another one finds what the first has left."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_schedule_database(folder / "schedules.db")
        self.store = ScheduleStore(self.engine)
        self.clock = FakeClock()
        self.clock.time = NOW
        self.starter = FakeStarter(self.clock)
        self.bell = asyncio.Event()
        self.clerk = self.new_clerk()

    def new_clerk(self) -> Clerk:
        """Return the clerk of a new process."""
        return Clerk(self.store, self.starter, self.clock, self.bell)

    def keep(self, schedule: Schedule) -> None:
        """Make a schedule."""
        kept(self.store, schedule)

    async def at(self, seconds: float) -> None:
        """Let the clerk look at a time."""
        self.clock.time = NOW + timedelta(seconds=seconds)
        await self.clerk.look()

    @property
    def firings(self) -> list[Firing]:
        """Return the firings, oldest first."""
        return self.store.firings(NAME, before=None, limit=1_000)[::-1]

    @property
    def states(self) -> list[State]:
        """Return how far the firings are, oldest first."""
        return [firing.state for firing in self.firings]
