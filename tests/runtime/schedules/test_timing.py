"""When schedules are due: calendars with clocks that are put forward and back, missed times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.schedules.cron import parse_cron
from runtime.schedules.schedule import At, Cron, Interval, MissedPolicy, Schedule
from runtime.schedules.timing import Due, due, fire_time, first_time
from tests.runtime.schedules.schedules import DAILY, MINUTELY, NOW, a_schedule

BERLIN = "Europe/Berlin"


def times(schedule: Schedule, start: datetime, count: int) -> list[datetime]:
    """Return the first due times after a time."""

    def ahead() -> Iterator[datetime]:
        time: datetime | None = start
        while time := first_time(schedule, time or start):
            yield time

    found = ahead()
    return [next(found) for _ in range(count)]


def local(expression: str, timezone: str, start: datetime, count: int) -> list[str]:
    """Return what a clock on the wall shows when a calendar is due."""
    found = times(a_schedule(Cron(expression, timezone), now=start), start, count)
    return [f"{time.astimezone(ZoneInfo(timezone)):%d %H:%M %z}" for time in found]


# --- Clocks that are put forward and back --------------------------------------------------------


def test_a_time_that_does_not_exist_is_due_after_the_gap() -> None:
    # On 29 March 2026, 02:00 to 03:00 does not exist in Berlin.
    start = datetime(2026, 3, 28, tzinfo=UTC)
    shown = local("30 2 * * *", BERLIN, start, 3)
    assert shown == ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]


def test_times_in_a_gap_are_due_once() -> None:
    start = datetime(2026, 3, 29, 0, 40, tzinfo=UTC)
    shown = local("*/20 * * * *", BERLIN, start, 3)
    assert shown == ["29 03:00 +0200", "29 03:20 +0200", "29 03:40 +0200"]


def test_a_time_that_comes_twice_is_due_the_first_time() -> None:
    # On 25 October 2026, 02:00 to 03:00 comes twice in Berlin.
    start = datetime(2026, 10, 24, tzinfo=UTC)
    shown = local("30 2 * * *", BERLIN, start, 3)
    assert shown == ["24 02:30 +0200", "25 02:30 +0200", "26 02:30 +0100"]


def test_a_gap_may_be_half_an_hour_or_a_whole_day() -> None:
    # Lord Howe Island goes from 02:00 to 02:30; Samoa had no 30 December 2011.
    start = datetime(2026, 10, 3, 0, tzinfo=UTC)
    assert local("15 2 * * *", "Australia/Lord_Howe", start, 1) == ["04 02:30 +1100"]
    start = datetime(2011, 12, 29, 12, tzinfo=UTC)
    assert local("0 12 * * *", "Pacific/Apia", start, 3) == [
        "29 12:00 -1000",
        "31 00:00 +1400",
        "31 12:00 +1400",
    ]


@pytest.mark.parametrize(
    ("expression", "start", "found"), [("0 0 29 2 *", 2096, 2104), ("0 0 29 2 */7", 2088, 2128)]
)
def test_29_february_is_found_years_ahead(expression: str, start: int, found: int) -> None:
    after = datetime(start, 3, 1, tzinfo=UTC)
    (time,) = times(a_schedule(Cron(expression, "UTC"), now=after), after, 1)
    assert time == datetime(found, 2, 29, tzinfo=UTC)


ZONES = (BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC")


@settings(max_examples=40)
@given(
    zone=st.sampled_from(ZONES),
    expression=st.sampled_from(["*/17 * * * *", "30 2 * * *", "0 */3 * * SUN", "59 23 28-31 * *"]),
    hours=st.integers(0, 24 * 365 * 20),
)
def test_a_calendar_is_due_when_the_clock_on_the_wall_says_so(
    zone: str, expression: str, hours: int
) -> None:
    """Compare with walking through the minutes of a day and looking at the clock."""
    start = datetime(2007, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    end = start + timedelta(days=1)
    schedule = a_schedule(Cron(expression, zone), now=start)
    found = {time for time in times(schedule, start, 200) if time <= end}
    assert found == _by_walking(expression, zone, start, end)


def _by_walking(expression: str, zone: str, start: datetime, end: datetime) -> set[datetime]:
    cron, place = parse_cron(expression), ZoneInfo(zone)
    due_times, shown = set[datetime](), set[datetime]()
    time = start - timedelta(days=2)
    before = time.astimezone(place).replace(tzinfo=None)
    while time <= end:
        now = time.astimezone(place).replace(tzinfo=None)
        minute = before
        # What the clock skips since the minute before is due now, once.
        while minute < now:
            minute += timedelta(minutes=1)
            if minute not in shown and minute.time() in cron.on(minute.date()):
                due_times.add(time)
            shown.add(minute)
        before = now
        time += timedelta(minutes=1)
    return {one for one in due_times if start < one <= end}


# --- Distances and single times ------------------------------------------------------------------


def test_an_interval_is_due_first_one_distance_after_it_was_made() -> None:
    assert times(a_schedule(MINUTELY), NOW, 2) == [
        NOW + timedelta(minutes=1),
        NOW + timedelta(minutes=2),
    ]


def test_an_interval_with_a_start_is_due_at_the_start() -> None:
    start = NOW + timedelta(hours=1)
    schedule = a_schedule(Interval(60, start), start_time=start)
    assert times(schedule, NOW, 2) == [start, start + timedelta(minutes=1)]


def test_nothing_is_due_at_the_end_or_later() -> None:
    end = NOW + timedelta(minutes=2)
    schedule = a_schedule(MINUTELY, end_time=end)
    assert first_time(schedule, NOW + timedelta(minutes=1)) is None
    assert due(schedule, NOW + timedelta(hours=1)).next_time is None


def test_a_single_time_is_due_once() -> None:
    time = NOW + timedelta(hours=1)
    assert due(a_schedule(At(time)), time) == Due((time,), None, None)


def test_nothing_is_due_too_early() -> None:
    schedule = a_schedule(At(NOW + timedelta(hours=1)))
    assert due(schedule, NOW).times == ()


# --- Missed times --------------------------------------------------------------------------------

NINE = NOW + timedelta(hours=9)
DAY = timedelta(days=1)


def after_a_week(policy: MissedPolicy, missed_max: int = 10) -> Due:
    """Return what is due at ten, after a week in which nobody was there."""
    schedule = a_schedule(DAILY, missed=policy, missed_max=missed_max)
    return due(schedule, NINE + 6 * DAY + timedelta(hours=1))


def test_missed_times_are_skipped_and_said_to_be() -> None:
    found = after_a_week(MissedPolicy.SKIP)
    assert found == Due((), (NINE, NINE + 6 * DAY), NINE + 7 * DAY)


def test_the_latest_missed_time_fires_once() -> None:
    found = after_a_week(MissedPolicy.ONCE)
    assert found == Due((NINE + 6 * DAY,), (NINE, NINE + 5 * DAY), NINE + 7 * DAY)


def test_missed_times_do_not_fire_once_beside_one_that_is_due_now() -> None:
    schedule = a_schedule(DAILY, missed=MissedPolicy.ONCE)
    found = due(schedule, NINE + 6 * DAY)
    assert found == Due((NINE + 6 * DAY,), (NINE, NINE + 5 * DAY), NINE + 7 * DAY)


def test_all_missed_times_fire() -> None:
    found = after_a_week(MissedPolicy.ALL, missed_max=7)
    assert found.times == tuple(NINE + number * DAY for number in range(7))
    assert found.missed is None


def test_of_all_missed_times_the_latest_fire_up_to_the_bound() -> None:
    found = after_a_week(MissedPolicy.ALL, missed_max=2)
    assert found.times == (NINE + 5 * DAY, NINE + 6 * DAY)
    assert found.missed == (NINE, NINE + 4 * DAY)


@pytest.mark.parametrize("policy", MissedPolicy)
def test_a_time_that_is_a_minute_late_is_not_missed(policy: MissedPolicy) -> None:
    schedule = a_schedule(DAILY, missed=policy)
    assert due(schedule, NINE + timedelta(seconds=60)).times == (NINE,)


def test_years_of_missed_minutes_are_caught_up_in_no_time() -> None:
    schedule = a_schedule(Cron("* * * * *", "UTC"), missed=MissedPolicy.ALL, missed_max=3)
    now = NOW + 3650 * DAY + timedelta(seconds=30)
    found = due(schedule, now)
    latest = now - timedelta(seconds=30)
    assert found.times[-1] == latest
    assert len(found.times) == 3 + 1
    assert found.next_time == latest + timedelta(minutes=1)


@given(
    seconds=st.lists(st.integers(0, 400), min_size=1, max_size=60),
    jitter=st.sampled_from([0, 5, 200, 3_600]),
    trigger=st.sampled_from([Interval(10, NOW), Cron("* * * * *", "UTC")]),
)
def test_whoever_looks_often_enough_misses_nothing_and_repeats_nothing(
    seconds: list[int], jitter: int, trigger: Interval | Cron
) -> None:
    schedule = a_schedule(trigger, missed=MissedPolicy.ALL, missed_max=100, jitter_seconds=jitter)
    fired, now = list[datetime](), NOW
    for pause in seconds:
        now += timedelta(seconds=pause)
        found = due(schedule, now)
        fired += found.times
        assert found.missed is None
        assert all(fire_time(schedule, time) <= now for time in found.times)
        assert found.next_time is not None
        assert fire_time(schedule, found.next_time) > now
        schedule = replace(schedule, next_time=found.next_time)
    assert fired == [one for one in times(a_schedule(trigger), NOW, len(fired) + 1) if one in fired]
    assert len(set(fired)) == len(fired)
    # Without a gap: the next one is the one after the last.
    ends = [*fired, schedule.next_time]
    assert all(first_time(schedule, one) == other for one, other in pairwise(ends) if one and other)


# --- Jitter --------------------------------------------------------------------------------------


def test_jitter_follows_from_schedule_and_time_alone() -> None:
    schedule = a_schedule(DAILY, jitter_seconds=600)
    again = a_schedule(DAILY, jitter_seconds=600)
    other = a_schedule(DAILY, jitter_seconds=600, name=f"{schedule.name[:-1]}2")
    assert fire_time(schedule, NINE) == fire_time(again, NINE)
    assert fire_time(schedule, NINE) != fire_time(other, NINE)


def test_jitter_spreads_over_its_seconds() -> None:
    schedule = a_schedule(DAILY, jitter_seconds=600)
    later = [fire_time(schedule, NINE + day * DAY) - (NINE + day * DAY) for day in range(200)]
    assert timedelta() <= min(later) < timedelta(seconds=30)
    assert timedelta(seconds=570) < max(later) < timedelta(seconds=600)
