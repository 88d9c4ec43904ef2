"""Reads how often, how much and when a rule holds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from chassis.clock import is_time_zone
from chassis.draft import Draft, FieldPath
from chassis.hours import DAYS, MINUTES_PER_DAY, Hours
from chassis.problems import Flaw, describe

from .fact_fields import FACT_NAME
from .fields import read_choice, read_integer, read_items, read_mapping, read_one_or_more, read_text
from .rule import PERIODS, WINDOW_SECONDS_MAX, Limit

LIMITS_MAX = 8
USES_MAX = 1_000_000_000
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00")
_ZONE = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_MOMENT = re.compile(
    r"2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def read_limits(draft: Draft, path: FieldPath) -> tuple[Limit, ...]:
    """Return how often a rule may be used."""
    found = (_read_limit(draft, inner) for inner in read_items(draft, path, count_max=LIMITS_MAX))
    return tuple(limit for limit in found if limit)


def read_hours(draft: Draft, path: FieldPath) -> Hours | None:
    """Return the time of the week at which a rule holds."""
    names = ("zone", "days", "from", "until")
    value = read_mapping(draft, path, known=names, required=("zone",))
    zone = None
    if "zone" in value:
        zone = read_text(draft, (*path, "zone"), _ZONE, example="Europe/Berlin")
        if zone and not is_time_zone(zone):
            message = f"is {describe(zone)}, which is no time zone of the IANA database"
            fix = "Write it like `Europe/Berlin`, or `UTC`."
            draft.report((*path, "zone"), Flaw.INVALID_VALUE, message, fix=fix)
    days: set[int] = set(range(7))
    if "days" in value:
        inner = read_one_or_more(draft, (*path, "days"))
        words = [read_choice(draft, one, DAYS) for one in inner]
        days = {DAYS.index(word) for word in words if word}
    start, end = (
        _read_minute(draft, (*path, name)) if name in value else least
        for name, least in (("from", 0), ("until", MINUTES_PER_DAY))
    )
    if zone is None or start is None or end is None:
        return None
    if start in {end, MINUTES_PER_DAY}:
        fix = "Leave out `from` and `until` for the whole day."
        draft.report(path, Flaw.CONTRADICTION, "ends as it begins", fix=fix)
    return Hours(zone, frozenset(days), start, end)


def read_moment(draft: Draft, path: FieldPath) -> datetime | None:
    """Return a moment, in UTC."""
    text = read_text(draft, path, _MOMENT, example="2026-12-31T18:00:00Z")
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except ValueError:
        fix = "Write a day of the calendar and an hour from 00 to 23."
        draft.report(path, Flaw.INVALID_VALUE, f"is {describe(text)}: no such time", fix=fix)
        return None


def _read_limit(draft: Draft, path: FieldPath) -> Limit | None:
    known = ("uses", "sum", "at_most", "per", "each")
    value = read_mapping(draft, path, known=known)
    if not value:
        return None
    if ("uses" in value) == ("sum" in value) or ("sum" in value) != ("at_most" in value):
        message = "must have either `uses`, or `sum` with `at_most`"
        fix = "Write `{uses: 50, per: day}` or `{sum: value, at_most: 1000, per: day}`."
        draft.report(path, Flaw.CONTRADICTION, message, fix=fix)
        return None
    fact = ""
    if "uses" in value:
        most = read_integer(draft, (*path, "uses"), least=1, most=USES_MAX)
    else:
        most = read_integer(draft, (*path, "at_most"), least=0)
        fact = read_text(draft, (*path, "sum"), FACT_NAME, example="value") or ""
    each, each_fact = _read_each(draft, (*path, "each")) if "each" in value else ("", "")
    seconds = _read_period(draft, (*path, "per"))
    if most is None or seconds is None:
        return None
    return Limit(most=most, seconds=seconds, fact=fact, each=each, each_fact=each_fact)


def _read_each(draft: Draft, path: FieldPath) -> tuple[str, str]:
    """Return whether agents or secrets have a limit each, or the fact whose values have."""
    if isinstance(draft.get(path), dict):
        names = ("fact",)
        value = read_mapping(draft, path, known=names, required=names)
        inner = (*path, "fact")
        return "", (read_text(draft, inner, FACT_NAME, example="to") or "") if value else ""
    return read_choice(draft, path, ("agent", "secret")) or "", ""


def _read_period(draft: Draft, path: FieldPath) -> int | None:
    value = draft.get(path)
    if isinstance(value, str) and value in PERIODS:
        return PERIODS[value]
    if type(value) is int:
        return read_integer(draft, path, least=1, most=WINDOW_SECONDS_MAX)
    code = Flaw.MISSING_FIELD if path not in draft.spots else Flaw.INVALID_VALUE
    words = ", ".join(f"`{name}`" for name in PERIODS)
    fix = "Write how long the window is, such as `per: day`."
    draft.report(path, code, f"must be {words}, or a number of seconds", fix=fix)
    return None


def _read_minute(draft: Draft, path: FieldPath) -> int | None:
    text = read_text(draft, path, _TIME, example="08:00")
    return int(text[:2]) * 60 + int(text[3:]) if text else None
