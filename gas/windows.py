"""The windows in which budgets count: periods of a calendar in a time zone, and sliding ones.

A window counts in steps, which are numbered. Gas stays in the step of the time at which it was
held, and counts as long as that step is not before the first one of the window.
"""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from functools import lru_cache

# All offsets of time zones are multiples of it, so every period begins with one.
QUARTER_SECONDS = 900
SLIDING_STEPS = 60
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Period(Enum):
    """How often a budget renews."""

    TOTAL = "total"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    SLIDING = "sliding"


@dataclass(frozen=True)
class Window:
    """A period of the calendar in a time zone (an empty one is UTC), or the last `seconds`.

    A calendar counts in one step for each period, numbered by the Unix time of its start; a sliding
    window counts in sixtieths of its length.
    """

    period: Period
    time_zone: str = ""
    seconds: int = 0

    def step(self, at: datetime) -> int:
        """Return the step that a time is in."""
        if self.period is Period.SLIDING:
            return (at - _UNIX_EPOCH) // _MICROSECOND * SLIDING_STEPS // (self.seconds * 10**6)
        return _period_start(self.period, self.time_zone, quarter(at))

    def first_step(self, now: datetime) -> int:
        """Return the first step that counts; all of it counts."""
        step = self.step(now)
        return step - SLIDING_STEPS if self.period is Period.SLIDING else step

    def start(self, now: datetime) -> int:
        """Return the quarter of an hour, as Unix time, in which the window begins."""
        first = self.first_step(now)
        if self.period is Period.SLIDING:
            first = first * self.seconds // SLIDING_STEPS
        return first // QUARTER_SECONDS * QUARTER_SECONDS


def quarter(at: datetime) -> int:
    """Return the start of the quarter of an hour that a time is in, as Unix time."""
    return int(at.timestamp()) // QUARTER_SECONDS * QUARTER_SECONDS


# Few windows of few accounts are asked for, again and again.
@lru_cache(maxsize=4096)
def _period_start(period: Period, time_zone: str, quarter_start: int) -> int:
    if period is Period.TOTAL:
        return 0
    zone = zoneinfo.ZoneInfo(time_zone or "UTC")
    local = datetime.fromtimestamp(quarter_start, zone)
    if period is Period.HOUR:
        # It keeps `fold`: an hour that the clock strikes twice is two hours.
        return int(local.replace(minute=0, second=0).timestamp())
    day = local.date() if period is Period.DAY else local.date().replace(day=1)
    # Where the clock skips midnight, this is the moment at which it does.
    return int(datetime.combine(day, time(), zone).timestamp())
