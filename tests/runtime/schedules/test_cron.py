"""Cron expressions: what they mean, and what is none."""

from __future__ import annotations

from datetime import date, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.schedules.cron import parse_cron

MONDAY = date(2026, 1, 5)


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("0 9 * * *", [time(9)]),
        ("*/30 8-9 * * *", [time(8), time(8, 30), time(9), time(9, 30)]),
        ("5,1 0 * * *", [time(0, 1), time(0, 5)]),
        ("50/5 0 * * *", [time(0, 50), time(0, 55)]),
        ("10-20/10 3 * * *", [time(3, 10), time(3, 20)]),
        ("@daily", [time(0)]),
        ("0 0 * JAN mon", [time(0)]),
        ("0 0 * FEB *", []),
        ("0 0 * * TUE-FRI", []),
        ("0 0 * * 1", [time(0)]),
        # Both kinds of days are restricted: one is enough.
        ("0 0 5 * FRI", [time(0)]),
        ("0 0 6 * MON", [time(0)]),
        ("0 0 6 * FRI", []),
        # One of them is not: both have to fit.
        ("0 0 */2 * FRI", []),
    ],
)
def test_an_expression_means_these_times_of_a_monday(expression: str, times: list[time]) -> None:
    assert list(parse_cron(expression).on(MONDAY)) == times


@pytest.mark.parametrize("sunday", ["0", "7", "SUN", "0,7"])
def test_sunday_has_three_names(sunday: str) -> None:
    week = [MONDAY + timedelta(days=number) for number in range(7)]
    assert [bool(parse_cron(f"0 0 * * {sunday}").on(day)) for day in week] == [False] * 6 + [True]


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("* * * *", "has 4 fields"),
        ("* * * * * *", "has 6 fields"),
        ("@reboot", "has 1 fields"),
        ("60 * * * *", "has 60 as minute; it must be 0 to 59"),
        ("* 24 * * *", "hour; it must be 0 to 23"),
        ("* * 0 * *", "it must be 1 to 31"),
        ("* * * 13 *", "it must be 1 to 12"),
        ("* * * * 8", "it must be 0 to 7"),
        ("* * * * mox", "no name of one"),
        ("*/0 * * * *", "a step is at least 1"),
        ("9-5 * * * *", "it ends before it starts"),
        ("*-5 * * * *", "a range needs two ends"),
        ("* * L * *", "which is no number"),
        ("* * * * 1#2", "which is no number"),
        ("-1 * * * *", "which is no number"),
        ("1,,2 * * * *", "which is no number"),
        ("٣ * * * *", "which is no number"),
        ("0 0 30 2 *", "names a day that no month of it has"),
        ("0 0 31 4,6 *", "names a day that no month of it has"),
        (f"{'0,' * 200}0 * * * *", "is longer than 256"),
    ],
)
def test_what_is_none_is_refused(expression: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        parse_cron(expression)


@given(st.text(max_size=300))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        cron = parse_cron(text)
    except ValueError:
        return
    assert cron.times
