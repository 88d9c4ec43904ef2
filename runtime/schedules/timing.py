"""When schedules are due, computed from the time that is handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from chassis.canonical import sha256_hex

from .cron import CronTimes, parse_cron
from .schedule import LATE, At, Cron, Interval, MissedPolicy, Schedule

# Between two days on which an expression fits there are at most 40 years: 29 February on a Sunday.
DAYS_MAX = 41 * 366
_MOMENT = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Due:
    """What to fire now, in order; the ends of what was missed for good; when it is due next."""

    times: tuple[datetime, ...]
    missed: tuple[datetime, datetime] | None
    next_time: datetime | None


def first_time(schedule: Schedule, after: datetime) -> datetime | None:
    """Return when a schedule is due first after a time, None if never."""
    start = schedule.rules.start_time
    if start is not None and after < start:
        after = start - _MOMENT
    found = next(_ahead(schedule, after), None)
    return found if found is not None and schedule.rules.allow(found) else None


def fire_time(schedule: Schedule, due_time: datetime) -> datetime:
    """Return when a due time fires: a moment later that depends on nothing else."""
    seconds = schedule.rules.jitter_seconds
    if not seconds:
        return due_time
    digest = sha256_hex(f"{schedule.name} {due_time.isoformat()}".encode())
    return due_time + timedelta(seconds=seconds * int(digest[:12], 16) / 16**12)


def due(schedule: Schedule, now: datetime) -> Due:
    """Return what fires now of everything that is due since `next_time`."""
    first = schedule.next_time
    if first is None or fire_time(schedule, first) > now:
        return Due((), None, first)
    # Whatever was due before has fired for sure, however long its jitter is.
    horizon = now - LATE - timedelta(seconds=schedule.rules.jitter_seconds)
    late, missed = _caught_up(schedule, first, horizon)
    recent = list[datetime]()
    next_time: datetime | None = None
    for time in _times(schedule, max(first, horizon) - _MOMENT):
        if fire_time(schedule, time) > now:
            next_time = time
            break
        recent.append(time)
    on_time = [time for time in recent if now - fire_time(schedule, time) <= LATE]
    late += [time for time in recent if time not in on_time]
    kept = _kept(schedule, late, is_due_now=bool(on_time))
    dropped = [time for time in late if time not in kept]
    if dropped:
        missed = missed[0] if missed else dropped[0], dropped[-1]
    return Due(tuple(sorted([*kept, *on_time])), missed, next_time)


def _caught_up(
    schedule: Schedule, first: datetime, horizon: datetime
) -> tuple[list[datetime], tuple[datetime, datetime] | None]:
    """Return the latest times before a horizon, as many as may matter, and the ends of the rest."""
    if first >= horizon:
        return [], None
    back = islice(_back(schedule, horizon), schedule.rules.missed_max + 1)
    latest = [time for time in back if time >= first][::-1]
    if not latest or latest[0] == first:
        return latest, None
    return latest[1:], (first, latest[0])


def _kept(schedule: Schedule, late: list[datetime], *, is_due_now: bool) -> list[datetime]:
    match schedule.rules.missed:
        case MissedPolicy.SKIP:
            return []
        case MissedPolicy.ONCE:
            return [] if is_due_now else late[-1:]
        case MissedPolicy.ALL:
            return late[-schedule.rules.missed_max :]


def _times(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    for time in _ahead(schedule, after):
        if not schedule.rules.allow(time):
            return
        yield time


def _ahead(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield due times after a time, in order."""
    match schedule.trigger:
        case Cron(expression, timezone):
            return _calendar(expression, timezone, after, 1)
        case Interval(seconds, anchor):
            passed = (after - anchor) // timedelta(seconds=seconds)
            return _steps(anchor, seconds, max(passed + 1, 0), 1)
        case At(time):
            return iter([time] if time > after else [])
        case _:
            return iter(())


def _back(schedule: Schedule, before: datetime) -> Iterator[datetime]:
    """Yield due times before a time, latest first."""
    times: Iterator[datetime]
    match schedule.trigger:
        case Cron(expression, timezone):
            times = _calendar(expression, timezone, before, -1)
        case Interval(seconds, anchor):
            last = -((anchor - before) // timedelta(seconds=seconds)) - 1
            times = _steps(anchor, seconds, last, -1)
        case At(time):
            times = iter([time] if time < before else [])
        case _:
            times = iter(())
    end = schedule.rules.end_time
    return (time for time in times if end is None or time < end)


def _steps(anchor: datetime, seconds: int, number: int, step: int) -> Iterator[datetime]:
    while number >= 0:
        yield anchor + timedelta(seconds=seconds) * number
        number += step


def _calendar(expression: str, timezone: str, edge: datetime, step: int) -> Iterator[datetime]:
    """Yield the times of a calendar beyond an edge; each once, though two local times may meet."""
    cron, zone = _cron(expression), ZoneInfo(timezone)
    is_beyond: Callable[[datetime], bool] = (
        (lambda time: time > edge) if step > 0 else (lambda time: time < edge)
    )
    day = edge.astimezone(zone).date() - step * _DAY
    empty_days, last = 0, None
    while empty_days <= DAYS_MAX:
        times = cron.on(day)[::step]
        empty_days = 0 if times else empty_days + 1
        for local in times:
            time = instant(datetime.combine(day, local), zone)
            if is_beyond(time) and time != last:
                last = time
                yield time
        day += step * _DAY


@lru_cache(maxsize=1_024)
def _cron(expression: str) -> CronTimes:
    return parse_cron(expression)


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return when a clock on the wall shows a local time.

    One that comes twice is the first of both; one that never comes is when the clock was put
    forward, which is the first moment after the gap.
    """
    late = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if late.astimezone(zone).replace(tzinfo=None) == local:
        return late
    # In a gap, the offset before it gives a time after it, and the other way round.
    early = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    offset = early.astimezone(zone).utcoffset()
    while late - early > _SECOND:
        middle = early + (late - early) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            early = middle
        else:
            late = middle
    return late
