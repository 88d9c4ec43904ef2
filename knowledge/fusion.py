"""Joins rankings that cannot be compared by score: reciprocal rank fusion (Cormack et al. 2009)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

# The constant of the paper: how much the first places count more than the next.
RANK_OFFSET = 60

Item = TypeVar("Item", bound=Hashable)


def fuse(rankings: Sequence[Sequence[Item]]) -> Mapping[Item, float]:
    """Return a score for each item that is in one of the rankings, which are best first."""
    scores: dict[Item, float] = defaultdict(float)
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] += 1 / (RANK_OFFSET + rank)
    return scores
