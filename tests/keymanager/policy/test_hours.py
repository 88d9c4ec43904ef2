"""Rules hold by the clocks of a place, also in the nights in which these are changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chassis.hours import Hours
from keymanager.policy.rule import Verdict

from .questions import ALLOW, decided
from .questions import QUESTION as NOW_QUESTION

BERLIN = "Europe/Berlin"
ALL = frozenset(range(7))
SUNDAY = frozenset({6})


def _is_open(hours: Hours, text: str) -> bool:
    return hours.include(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("time", "is_open"),
    [
        ("2026-03-28T06:59:59", False),  # 07:59 in winter
        ("2026-03-28T07:00:00", True),
        ("2026-03-29T06:00:00", True),  # 08:00, a day later, in summer
        ("2026-03-29T05:59:59", False),
        ("2026-10-24T06:00:00", True),
        ("2026-10-25T06:00:00", False),  # 07:00, a day later, in winter
        ("2026-10-25T07:00:00", True),
        ("2026-10-25T16:59:59", True),
        ("2026-10-25T17:00:00", False),
    ],
)
def test_the_day_begins_when_the_clock_says_so(time: str, is_open: bool) -> None:  # noqa: FBT001
    assert _is_open(Hours(BERLIN, ALL, start=8 * 60, end=18 * 60), time) is is_open


def test_an_hour_that_the_clock_strikes_twice_is_open_twice() -> None:
    hours = Hours(BERLIN, ALL, start=2 * 60, end=3 * 60)
    minutes = [f"2026-10-{25}T{hour:02}:{minute:02}:00" for hour in range(4) for minute in (0, 59)]

    assert [_is_open(hours, minute) for minute in minutes] == [True] * 4 + [False] * 4


def test_an_hour_that_the_clock_skips_is_never() -> None:
    hours = Hours(BERLIN, ALL, start=2 * 60, end=3 * 60)

    assert not any(_is_open(hours, f"2026-03-29T{hour:02}:30:00") for hour in range(24))


def test_a_night_that_loses_an_hour_ends_by_the_clock() -> None:
    night = Hours(BERLIN, ALL, start=22 * 60, end=6 * 60)

    assert _is_open(night, "2026-03-29T03:59:59")
    assert not _is_open(night, "2026-03-29T04:00:00")


@pytest.mark.parametrize(
    ("time", "is_open"),
    [
        ("2026-06-07T19:59:59", False),
        ("2026-06-07T20:00:00", True),  # Sunday, 22:00
        ("2026-06-08T03:59:59", True),  # Monday, 05:59
        ("2026-06-08T04:00:00", False),
        ("2026-06-08T20:00:00", False),  # Monday, 22:00
        ("2026-06-07T03:00:00", False),  # Sunday, 05:00, the end of Saturday's night
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(time: str, is_open: bool) -> None:  # noqa: FBT001
    assert _is_open(Hours(BERLIN, SUNDAY, start=22 * 60, end=6 * 60), time) is is_open


def test_days_change_at_midnight_of_the_place() -> None:
    sunday = Hours("Pacific/Kiritimati", SUNDAY, start=0, end=24 * 60)

    assert _is_open(sunday, "2026-06-06T10:00:00")
    assert not _is_open(sunday, "2026-06-06T09:59:59")
    assert not _is_open(sunday, "2026-06-07T10:00:00")


@pytest.mark.parametrize(
    ("until", "verdict"),
    [
        ("2026-06-03T12:00:01Z", Verdict.ALLOW),
        ("2026-06-03T12:00:00Z", Verdict.DENY),
        ("2026-06-03T14:00:00+02:00", Verdict.DENY),
        ("2026-06-03T14:01+02:00", Verdict.ALLOW),
    ],
)
def test_a_rule_ends_at_its_moment(until: str, verdict: Verdict) -> None:
    assert decided(f"{ALLOW}    until: {until}\n", NOW_QUESTION).verdict is verdict
