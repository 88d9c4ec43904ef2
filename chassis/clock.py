"""Time, handed in so that a simulation can hand in its own."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251  # the one place that reads the clock


def is_time_zone(name: str) -> bool:
    """Tell whether a name is a time zone of the IANA database."""
    return name in _time_zones()


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    # What `localtime` is depends on the machine.
    return frozenset(zoneinfo.available_timezones()) - {"localtime"}
