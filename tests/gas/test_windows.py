"""Windows begin where the contract says, also where clocks are moved."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gas.windows import QUARTER_SECONDS, Period, Window, quarter

NOW = datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)
# A half hour, three quarters of an hour, a move at midnight, one of half an hour, and no move.
ZONES = [
    "Europe/Berlin",
    "America/St_Johns",
    "Asia/Kathmandu",
    "America/Santiago",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "",
]
QUARTER = timedelta(seconds=QUARTER_SECONDS)
TIMES = st.integers(0, 4 * 365 * 96).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + n * QUARTER)


def start(period: Period, now: datetime, zone: str = "") -> str:
    step = Window(period, zone).first_step(now)
    return datetime.fromtimestamp(step, ZoneInfo(zone or "UTC")).isoformat()


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (Period.TOTAL, "1970-01-01T00:00:00+00:00"),
        (Period.HOUR, "2026-03-31T23:00:00+00:00"),
        (Period.DAY, "2026-03-31T00:00:00+00:00"),
        (Period.MONTH, "2026-03-01T00:00:00+00:00"),
    ],
)
def test_a_period_starts_at_its_full_unit_in_utc(period: Period, expected: str) -> None:
    assert start(period, NOW) == expected


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (Period.HOUR, "2026-04-01T05:00:00+05:45"),
        (Period.DAY, "2026-04-01T00:00:00+05:45"),
        (Period.MONTH, "2026-04-01T00:00:00+05:45"),
    ],
)
def test_a_period_starts_at_its_full_unit_in_its_time_zone(period: Period, expected: str) -> None:
    assert start(period, NOW, "Asia/Kathmandu") == expected


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 10, 26), 24),
        # Midnight is skipped, so the day starts at one.
        ("America/Santiago", date(2026, 9, 6), 23),
        # The last hour of the day is struck twice.
        ("America/Santiago", date(2026, 4, 4), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ],
)
def test_a_day_is_as_long_as_its_clock_says(zone: str, day: date, hours: float) -> None:
    window = Window(Period.DAY, zone)
    noon = datetime.combine(day, time(12), ZoneInfo(zone))
    first = window.first_step(noon.astimezone(UTC))
    after = datetime.fromtimestamp(first, UTC) + timedelta(hours=hours)

    assert window.first_step(after - timedelta(microseconds=1)) == first
    assert window.first_step(after) == after.timestamp()


def test_an_hour_that_is_struck_twice_is_two_hours() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    starts = {start(Period.HOUR, first + hour * 4 * QUARTER, "Europe/Berlin") for hour in (0, 1)}

    assert starts == {"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"}


@given(now=TIMES, zone=st.sampled_from(ZONES), period=st.sampled_from(Period))
def test_a_period_starts_where_one_who_looks_at_the_clock_sees_it(
    now: datetime, zone: str, period: Period
) -> None:
    if period in {Period.TOTAL, Period.SLIDING}:
        return
    clock = ZoneInfo(zone or "UTC")

    def has_begun(at: datetime) -> bool:
        here, before = at.astimezone(clock), (at - QUARTER).astimezone(clock)
        match period:
            case Period.MONTH:
                return here.month != before.month
            case Period.DAY:
                return here.day != before.day
        return here.minute == 0 or here.hour != before.hour

    expected = now
    while not has_begun(expected):
        expected -= QUARTER

    assert Window(period, zone).first_step(now + timedelta(seconds=899)) == expected.timestamp()


@given(
    made=TIMES,
    moment=st.timedeltas(timedelta(0), QUARTER),
    seconds=st.integers(60, 366 * 86_400),
    passed=st.floats(0, 1.1),
)
def test_a_sliding_window_counts_what_is_in_it_and_at_most_a_sixtieth_more(
    made: datetime, moment: timedelta, seconds: int, passed: float
) -> None:
    window, made = Window(Period.SLIDING, seconds=seconds), made + moment
    now = made + timedelta(seconds=seconds * passed)
    is_counted = window.step(made) >= window.first_step(now)

    age = now - made
    if age <= timedelta(seconds=seconds):
        assert is_counted
    elif age >= timedelta(seconds=seconds) * 61 / 60:
        assert not is_counted


@given(now=TIMES, zone=st.sampled_from(ZONES), seconds=st.integers(60, 366 * 86_400))
def test_what_is_read_of_the_past_begins_no_later_than_the_window(
    now: datetime, zone: str, seconds: int
) -> None:
    for period in Period:
        window = Window(period, zone, seconds if period is Period.SLIDING else 0)
        begin = window.start(now)
        assert begin % QUARTER_SECONDS == 0
        assert window.step(datetime.fromtimestamp(begin, UTC)) <= window.first_step(now)
        before_next = datetime.fromtimestamp(begin, UTC) + QUARTER
        assert window.step(before_next) >= window.first_step(now)


def test_a_quarter_of_an_hour_has_its_last_moment() -> None:
    assert quarter(NOW) == quarter(NOW.replace(minute=45, second=0, microsecond=0))
