"""Which price table is in force at what time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from chassis.canonical import canonical_json, sha256_hex
from chassis.errors import InvalidField, RequestIdReused

from .prices import PriceTable

# The first table was in force before anything could be held.
EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Scheduled:
    """A table and when it comes into force; `number` says in which order they were scheduled.

    `request_sha256` is of everything that was asked for, so that a repeated request is known.
    """

    number: int
    version: str
    effective_time: datetime
    create_time: datetime
    price_count: int
    request_id: str
    request_sha256: str

    @property
    def is_from_file(self) -> bool:
        """Tell whether it came from the file that the service started with."""
        # No request id has a space in it.
        return self.request_id.startswith("file ")


@dataclass(frozen=True)
class Update:
    """A table that an operator schedules; without a rate, it takes the one that is in force."""

    request_id: str
    table: PriceTable
    has_rate: bool
    effective_time: datetime | None

    @property
    def sha256(self) -> str:
        """Return a digest of all that is asked for."""
        time = self.effective_time.isoformat() if self.effective_time else ""
        return sha256_hex(canonical_json([self.table.version, self.has_rate, time]))


class PriceBook:
    """The prices of the one who writes the ledger: those in force, and what is scheduled."""

    def __init__(self, schedule: Sequence[Scheduled]) -> None:
        # From the table in force on.
        self.schedule = list(schedule)
        self.table = PriceTable({})
        # What requests of a batch scheduled before, by request id.
        self.known: dict[str, Scheduled] = {}
        self.added: list[tuple[Scheduled, PriceTable]] = []

    def begin(self) -> None:
        """Forget what only the last batch needed."""
        self.known.clear()
        self.added.clear()

    def publish(self, asked: Update, now: datetime) -> Scheduled:
        """Schedule a price table, once per request id."""
        known = self.known.get(asked.request_id)
        if known is not None:
            if known.request_sha256 != asked.sha256:
                raise RequestIdReused(asked.request_id)
            return known
        time = asked.effective_time or now
        if time < now:
            raise InvalidField("effective_time", "has passed; leave it out for now")
        table = asked.table if asked.has_rate else replace(asked.table, rate=self.table.rate)
        scheduled = Scheduled(
            number=max(one.number for one in self.schedule) + 1,
            version=table.version,
            effective_time=time,
            create_time=now,
            price_count=len(table.prices),
            request_id=asked.request_id,
            request_sha256=asked.sha256,
        )
        self.schedule.append(scheduled)
        self.known[asked.request_id] = scheduled
        self.added.append((scheduled, table))
        if in_force(self.schedule, now) is scheduled:
            self.table = table
        return scheduled


def in_force(schedule: Sequence[Scheduled], time: datetime) -> Scheduled:
    """Return what counts at a time: the latest that has begun, of equal ones the last scheduled.

    A clock that was set back before the first one of a schedule finds that one.
    """
    assert schedule, "there is always a table"
    begun = [one for one in schedule if one.effective_time <= time]
    if not begun:
        return min(schedule, key=_rank)
    return max(begun, key=_rank)


def _rank(one: Scheduled) -> tuple[datetime, int]:
    return one.effective_time, one.number
