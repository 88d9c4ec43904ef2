"""Tests for copies of frozen states."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import pytest

from runtime.facts import ActionCall
from runtime.frozen import replace
from runtime.machines.calls import Call

CALL = Call(ActionCall("step-1-1", "board.post", "{}"))


def test_a_copy_is_what_that_of_dataclasses_is() -> None:
    copy = replace(CALL, is_sent=True)
    assert copy == dataclasses.replace(CALL, is_sent=True)
    assert hash(copy) == hash(dataclasses.replace(CALL, is_sent=True))


def test_the_original_stays_as_it_is() -> None:
    replace(CALL, is_sent=True)
    assert not CALL.is_sent


def test_a_copy_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(CALL, is_sent=True).is_sent = False  # type: ignore[misc]  # it must not be set


def test_no_field_that_there_is_not_is_changed() -> None:
    with pytest.raises(AssertionError, match="no others"):
        replace(CALL, is_send=True)  # type: ignore[call-arg]  # what mypy would find


@dataclasses.dataclass(frozen=True)
class _Square:
    side: int

    @cached_property
    def area(self) -> int:
        return self.side**2


def test_what_was_computed_of_the_original_is_not_copied() -> None:
    square = _Square(2)
    assert square.area == 4
    with pytest.raises(AssertionError, match="no others"):
        replace(square, side=3)
