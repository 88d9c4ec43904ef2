"""A checkpoint says one thing, is signed by one key, and is made in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from chassis.evidence.checkpoint import is_checkpoint_due, verify_checkpoint
from chassis.evidence.log import EMPTY_LOG

from .logs import START, Bench, bench

CHANGES: dict[str, object] = {
    "ledger": "ledger-2",
    "size": 4,
    "root": bytes(32),
    "head": bytes(32),
    "counter": 2,
    "time": START + timedelta(microseconds=1),
    "key": Bench(seed=2).key,
    "signature": bytes(64),
}


def test_a_checkpoint_is_genuine_as_it_was_signed() -> None:
    assert verify_checkpoint(bench(3).checkpoints[0])


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_of_which_one_field_was_changed_is_not_genuine(name: str) -> None:
    changed = replace(bench(3).checkpoints[0], **{name: CHANGES[name]})  # type: ignore[arg-type]  # any field

    assert not verify_checkpoint(changed)


def test_a_key_that_is_none_has_signed_nothing() -> None:
    assert not verify_checkpoint(replace(bench(3).checkpoints[0], key=b"short"))


def test_the_same_moment_is_signed_the_same_way_in_any_time_zone() -> None:
    checkpoint = bench(3).checkpoints[0]
    local = checkpoint.time.astimezone(timezone(timedelta(hours=5)))

    assert verify_checkpoint(replace(checkpoint, time=local))


def test_without_records_no_checkpoint_is_due() -> None:
    assert not is_checkpoint_due(EMPTY_LOG, None, START)


def test_the_first_record_makes_a_checkpoint_due() -> None:
    assert is_checkpoint_due(bench(1).states[-1], None, START)


@pytest.mark.parametrize(
    ("records", "seconds", "is_due"),
    [
        (0, 100, False),
        (1, 0.999, False),
        (1, 1, True),
        (1_023, 0, False),
        (1_024, 0, True),
        # The clock was put back.
        (1, -0.001, True),
    ],
)
def test_a_checkpoint_is_due_after_enough_records_or_time(
    records: int, seconds: float, *, is_due: bool
) -> None:
    log = bench(3)
    log.add(records)

    now = START + timedelta(seconds=seconds)
    assert is_checkpoint_due(log.states[-1], log.checkpoints[0], now) == is_due
