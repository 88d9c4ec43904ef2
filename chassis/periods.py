"""The periods of a calendar: when the hour, the day or the month began on the clocks of a place."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, time
from typing import Literal, TypeAlias

CalendarPeriod: TypeAlias = Literal["hour", "day", "month"]


def period_start(period: CalendarPeriod, zone: str, now: datetime) -> datetime:
    """Return the moment at which the period began that a time is in."""
    place = zoneinfo.ZoneInfo(zone)
    local = now.astimezone(place)
    if period == "hour":
        # It keeps `fold`: an hour that the clock strikes twice is two hours.
        start = local.replace(minute=0, second=0, microsecond=0)
    else:
        day = local.date() if period == "day" else local.date().replace(day=1)
        # Where the clock skips midnight, this is the moment at which it does.
        start = datetime.combine(day, time(), place)
    return start.astimezone(UTC)
