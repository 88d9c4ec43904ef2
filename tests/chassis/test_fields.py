"""Checks of request fields."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import fields
from chassis.errors import InvalidField


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_a_page_token_gives_its_key_back(key: list[str]) -> None:
    token = fields.page_token(*key)

    assert fields.page_start(token, parts=len(key)) == tuple(key)


@given(st.text(min_size=1))
def test_a_forged_page_token_is_refused_or_well_formed(token: str) -> None:
    try:
        key = fields.page_start(token)
    except InvalidField:
        return
    assert key is not None
    assert len(key) == 1


def test_a_page_token_of_another_shape_is_refused() -> None:
    with pytest.raises(InvalidField):
        fields.page_start(fields.page_token("a", "b"), parts=1)


@given(st.integers(min_value=0, max_value=2**31))
def test_a_page_is_never_empty_and_never_over_the_limit(page_size: int) -> None:
    assert 1 <= fields.page_limit(page_size) <= fields.PAGE_SIZE_MAX


def test_a_negative_page_is_refused() -> None:
    with pytest.raises(InvalidField):
        fields.page_limit(-1)


@pytest.mark.parametrize("name", ["agents/a", "agents/market-brief", "agents/" + "a" * 63])
def test_a_good_account_name_passes(name: str) -> None:
    assert fields.require_match("account", name, fields.ACCOUNT_NAME, example="agents/a") == name


@pytest.mark.parametrize(
    "name",
    ["", "agents/", "agents/A", "agents/a\n", "agents/-a", "agents/a/b", "agents/" + "a" * 64],
)
def test_a_bad_account_name_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(InvalidField, match="agents/a"):
        fields.require_match("account", name, fields.ACCOUNT_NAME, example="agents/a")


def test_not_a_number_is_not_in_any_range() -> None:
    with pytest.raises(InvalidField):
        fields.require_range("temperature", math.nan, least=0, most=2)


def test_too_long_and_missing_are_refused() -> None:
    with pytest.raises(InvalidField, match="at most 2"):
        fields.require_size("text", "abc", size_max=2)
    with pytest.raises(InvalidField, match="is required"):
        fields.require_size("text", "", size_max=2)
