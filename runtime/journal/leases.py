"""Who has which run: workers take them, say that they are there, and let go."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, delete, insert, or_, select, update

from .port import Lease
from .tables import RUN, WORKER

_IS_OPEN = RUN.c.end_time.is_(None)


@dataclass(frozen=True)
class Claim:
    """Take runs that nobody holds; `held` are those that the worker knows that it has."""

    worker: str
    now: datetime
    seconds: float
    limit: int
    held: AbstractSet[str]

    def apply(self, connection: Connection) -> list[Lease]:
        """Return the leases, oldest run first."""
        _keep_until(connection, self.worker, self.now.timestamp() + self.seconds)
        is_own = RUN.c.worker == self.worker
        own = select(RUN.c.name).where(_IS_OPEN, is_own).order_by(RUN.c.number)
        lost = [name for (name,) in connection.execute(own) if name not in self.held]
        there = select(WORKER.c.name).where(WORKER.c.until > self.now.timestamp())
        is_free = or_(RUN.c.worker.not_in(there), RUN.c.name.in_(lost[: self.limit]))
        free = select(RUN.c.number).where(_IS_OPEN, is_free).order_by(RUN.c.number)
        # Who is about to take or to write one may have it.
        locked = free.limit(self.limit).with_for_update(of=RUN, skip_locked=True)
        numbers = connection.execute(locked).scalars().all()
        if not numbers:
            return []
        taken = update(RUN).where(RUN.c.number.in_(numbers))
        taken = taken.values(worker=self.worker, epoch=RUN.c.epoch + 1)
        returned = taken.returning(RUN.c.number, RUN.c.name, RUN.c.epoch)
        rows = sorted(connection.execute(returned), key=lambda row: row.number)
        return [Lease(row.name, row.epoch) for row in rows]


@dataclass(frozen=True)
class Renew:
    """Hold all runs of a worker."""

    worker: str
    now: datetime
    seconds: float

    def apply(self, connection: Connection) -> None:
        """Say until when."""
        _keep_until(connection, self.worker, self.now.timestamp() + self.seconds)


@dataclass(frozen=True)
class Release:
    """Let others have the runs of a worker."""

    worker: str

    def apply(self, connection: Connection) -> None:
        """Say that it is not there any more."""
        connection.execute(delete(WORKER).where(WORKER.c.name == self.worker))


LeaseOperation: TypeAlias = Claim | Renew | Release


def _keep_until(connection: Connection, worker: str, until: float) -> None:
    known = update(WORKER).where(WORKER.c.name == worker).values(until=until)
    if not connection.execute(known).rowcount:
        connection.execute(insert(WORKER).values(name=worker, until=until))
