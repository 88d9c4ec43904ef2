"""A time of the week on the clocks of a place."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import datetime

MINUTES_PER_DAY = 24 * 60
# As people name them; numbered from Monday, 0.
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Hours:
    """A time of the week on the clocks of a place.

    `start` and `end` are minutes after midnight; a span over midnight belongs to the day on which
    it begins. Days are numbered from Monday, 0.
    """

    zone: str
    days: frozenset[int]
    start: int
    end: int

    def include(self, time: datetime) -> bool:
        """Return whether the clocks show a time of it, whatever was done to them before."""
        local = time.astimezone(zoneinfo.ZoneInfo(self.zone))
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        if minute >= self.start:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days
