"""One value, one sequence of bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.canonical import Json, canonical_json, parse_time, sha256_hex, time_text

VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_it_is_json_that_reads_back_as_the_same_value(value: Json) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), st.integers(-9, 9), min_size=2, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    turned = dict(reversed(value.items()))

    assert canonical_json(value) == canonical_json(turned)


def test_the_digest_is_sha256() -> None:
    # The digest of nothing, from FIPS 180-4's examples.
    assert sha256_hex(b"").startswith("e3b0c44298fc1c14")


@pytest.mark.parametrize(
    "time",
    [
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    ],
)
def test_a_time_is_written_and_comes_back(time: datetime) -> None:
    assert parse_time(time_text(time)) == time


@pytest.mark.parametrize(
    "text",
    [
        *("", "Z", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000", "2026-01-31"),
        *("2026-01-31T12:00:00.000000+00:00", "2026-01-31 12:00:00.000000Z", "2026-W05-6T12Z"),
        *("2026-02-30T12:00:00.000000Z", "0001-01-01T00:00:00.000000+23:59"),
    ],
)
def test_a_time_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_time(text)
