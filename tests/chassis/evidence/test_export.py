"""What is written is the format, byte for byte, and never half of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from chassis.evidence.checkpoint import Checkpoint
from chassis.evidence.export import export_lines
from chassis.evidence.lines import Header

from .logs import bench

GENUINE = bench(3, 3, 2)


@pytest.mark.parametrize("first", [1, 6])
def test_an_export_is_written_as_ever(
    assert_golden: Callable[[str, str], None], first: int
) -> None:
    written = b"".join(GENUINE.export(first=first)).decode()
    assert_golden(f"evidence/from-{first}.jsonl", written)


def test_an_export_of_any_size_is_held_nowhere() -> None:
    left = iter(GENUINE.entries)
    lines = export_lines(Header("l", GENUINE.key), left, GENUINE.checkpoints, GENUINE.sign)
    for _ in range(3):
        next(lines)
    # Two are written after the header, and no more than one waits.
    assert len(list(left)) >= GENUINE.size - 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda marks: marks[:-1],
        lambda marks: [marks[1], marks[0], marks[2]],
        lambda marks: [*marks, replace(marks[-1], size=9)],
        lambda marks: marks[:0],
    ],
)
def test_a_writer_is_stopped_before_it_signs_an_export_that_is_not_whole(
    spoil: Callable[[list[Checkpoint]], list[Checkpoint]],
) -> None:
    marks = spoil(GENUINE.checkpoints)
    with pytest.raises(AssertionError, match="checkpoint"):
        list(export_lines(Header("l", GENUINE.key), GENUINE.entries, marks, GENUINE.sign))
