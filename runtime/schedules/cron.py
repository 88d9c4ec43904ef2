"""Cron expressions: which local times one means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, time

EXPRESSION_CHARACTERS_MAX = 256

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ITEM = re.compile(r"(\*|[0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?(?:/([0-9]{1,2}))?")


@dataclass(frozen=True)
class CronTimes:
    """Local times, sorted; weekdays count from Monday, as those of `date` do.

    A day fits if it is one of the days of the month and of the week; where both are restricted, one
    is enough, as in every cron since that of Unix V7.
    """

    times: tuple[time, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either_day: bool

    def on(self, day: date) -> tuple[time, ...]:
        """Return the times of a day."""
        if day.month not in self.months:
            return ()
        fits = day.day in self.days, day.weekday() in self.weekdays
        return self.times if (any(fits) if self.is_either_day else all(fits)) else ()


@dataclass(frozen=True)
class _Field:
    label: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _WEEKDAYS),
)
_LONGEST = dict.fromkeys(range(1, 13), 31) | {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def parse_cron(expression: str) -> CronTimes:
    """Return what an expression means; raise `ValueError` with what is wrong."""
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        raise ValueError(f"is longer than {EXPRESSION_CHARACTERS_MAX} characters")
    parts = _MACROS.get(expression.lower(), expression.lower()).split()
    if len(parts) != len(_FIELDS):
        wanted = ", ".join(field.label for field in _FIELDS)
        raise ValueError(f"has {len(parts)} fields; it needs {len(_FIELDS)}: {wanted}")
    found = [_values(part, field) for part, field in zip(parts, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = found
    is_either = not parts[2].startswith("*") and not parts[4].startswith("*")
    if not is_either and min(days) > max(_LONGEST[month] for month in months):
        raise ValueError("names a day that no month of it has")
    return CronTimes(
        times=tuple(time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)),
        days=days,
        months=months,
        # Sunday is 0 and 7 here, and 6 there.
        weekdays=frozenset((weekday + 6) % 7 for weekday in weekdays),
        is_either_day=is_either,
    )


def _values(part: str, field: _Field) -> frozenset[int]:
    return frozenset().union(*(_item(item, field) for item in part.split(",")))


def _item(item: str, field: _Field) -> frozenset[int]:
    found = _ITEM.fullmatch(item)
    if found is None:
        raise ValueError(f"has {item!r} as {field.label}, which is no number, range or step")
    first, last, step = found.groups()
    if first == "*" and last:
        raise ValueError(f"has {item!r} as {field.label}: a range needs two ends")
    least = field.least if first == "*" else _number(first, field)
    # `5/15` means from 5 on.
    is_open = first == "*" or step is not None
    most = _number(last, field) if last else field.most if is_open else least
    if most < least:
        raise ValueError(f"has {item!r} as {field.label}: it ends before it starts")
    if step in {"0", "00"}:
        raise ValueError(f"has {item!r} as {field.label}: a step is at least 1")
    return frozenset(range(least, most + 1, int(step or 1)))


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.least
    if not text.isdigit():
        raise ValueError(f"has {text!r} as {field.label}, which is no name of one")
    if not field.least <= int(text) <= field.most:
        raise ValueError(f"has {text} as {field.label}; it must be {field.least} to {field.most}")
    return int(text)
