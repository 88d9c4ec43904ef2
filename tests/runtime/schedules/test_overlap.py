"""What becomes of firings while runs are open."""

from __future__ import annotations

import pytest

from runtime.schedules.overlap import judge
from runtime.schedules.schedule import Firing, OverlapPolicy, Rules
from tests.runtime.schedules.schedules import NAME, NOW


def firings(*numbers: int) -> list[Firing]:
    """Return firings by number."""
    return [Firing(NAME, number, str(number), NOW) for number in numbers]


@pytest.mark.parametrize(
    ("policy", "open_count", "starts", "skips", "cancels"),
    [
        ((OverlapPolicy.SKIP, 1), 0, [1], [2, 3, 4], []),
        ((OverlapPolicy.SKIP, 1), 1, [], [1, 2, 3, 4], []),
        ((OverlapPolicy.QUEUE, 1), 0, [1], [3, 4], []),
        ((OverlapPolicy.QUEUE, 2), 1, [], [3, 4], []),
        ((OverlapPolicy.QUEUE, 4), 1, [], [], []),
        ((OverlapPolicy.ALLOW, 3), 1, [1, 2], [3, 4], []),
        ((OverlapPolicy.ALLOW, 3), 3, [], [1, 2, 3, 4], []),
        # The bound was lower when they started.
        ((OverlapPolicy.ALLOW, 3), 5, [], [1, 2, 3, 4], []),
        ((OverlapPolicy.CANCEL, 1), 0, [4], [1, 2, 3], []),
        ((OverlapPolicy.CANCEL, 1), 2, [], [1, 2, 3], [101, 102]),
    ],
)
def test_a_policy_decides(
    policy: tuple[OverlapPolicy, int],
    open_count: int,
    starts: list[int],
    skips: list[int],
    cancels: list[int],
) -> None:
    opened = firings(*range(101, 101 + open_count))
    verdict = judge(Rules(overlap=policy[0], overlap_max=policy[1]), opened, firings(1, 2, 3, 4))
    assert [one.number for one in verdict.starts] == starts
    assert [one.number for one, _, _ in verdict.skips] == skips
    assert [one.number for one in verdict.cancels] == cancels


@pytest.mark.parametrize("policy", OverlapPolicy)
def test_who_does_not_wait_is_not_decided_about(policy: OverlapPolicy) -> None:
    assert judge(Rules(overlap=policy), [], []).is_empty
