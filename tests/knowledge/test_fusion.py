"""The fusion rewards what several rankings agree on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from knowledge.fusion import fuse

RANKINGS = st.lists(st.lists(st.integers(0, 20), unique=True), max_size=4)


@given(RANKINGS)
def test_every_item_of_every_ranking_has_a_score(rankings: list[list[int]]) -> None:
    assert set(fuse(rankings)) == {item for ranking in rankings for item in ranking}


@given(st.lists(st.integers(), unique=True))
def test_one_ranking_keeps_its_order(ranking: list[int]) -> None:
    scores = fuse([ranking])
    assert sorted(scores, key=lambda item: -scores[item]) == ranking


@given(RANKINGS)
def test_the_order_of_the_rankings_does_not_matter(rankings: list[list[int]]) -> None:
    one, two = fuse(rankings), fuse(rankings[::-1])
    assert all(abs(one[item] - two[item]) < 1e-12 for item in one)


def test_the_scores_are_those_of_the_paper() -> None:
    assert fuse([["a", "b"], ["a"]]) == {"a": 1 / 61 + 1 / 61, "b": 1 / 62}


def test_what_both_find_beats_what_one_finds_first() -> None:
    scores = fuse([["a", "b"], ["c", "b"]])
    assert max(scores, key=lambda item: scores[item]) == "b"
