"""Which price table is in force at what time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chassis.canonical import canonical_json, sha256_hex

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
