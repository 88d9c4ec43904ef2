"""Guesses are what stood after the same words before, and grow only as long as they are right."""

from __future__ import annotations

import itertools

from linker.providers.speculation import FIRST, PAUSE, Lookup

COPIED = [*range(40)]


def lookup(*tail: int) -> Lookup:
    """Return the lookup of a text that begins to repeat itself."""
    guesser = Lookup([*COPIED, 99])
    for token in tail:
        guesser.add(token)
    return guesser


def test_what_stood_after_the_same_pair_is_guessed() -> None:
    assert lookup(5, 6).guess(3, right_min=0) == [7, 8, 9]


def test_what_never_stood_before_is_no_ground_for_a_guess() -> None:
    assert lookup(5, 9).guess(3, right_min=0) == []
    assert Lookup([1]).guess(3, right_min=0) == []


def test_the_pair_at_the_end_is_looked_for_before_it() -> None:
    assert Lookup([1, 2, 3, 1, 2]).guess(3, right_min=0) == [3, 1, 2]


def test_the_last_place_counts() -> None:
    assert Lookup([1, 2, 3, 1, 2, 4, 1, 2]).guess(1, right_min=0) == [4]


def test_right_guesses_grow() -> None:
    guesser = lookup(5, 6)
    assert len(guesser.guess(99, right_min=0)) == FIRST
    guesser.learn(guessed=FIRST, right=FIRST)
    assert len(guesser.guess(99, right_min=0)) == 2 * FIRST


def test_guesses_that_do_not_pay_are_rare_and_short() -> None:
    guesser = lookup(5, 6)
    assert guesser.guess(9, right_min=0.7)
    guesser.learn(guessed=FIRST, right=FIRST // 2)
    assert not guesser.guess(9, right_min=0.7)
    for _ in range(PAUSE // 2):
        # The text goes on repeating itself.
        guesser.add(5)
        guesser.add(6)
    assert len(guesser.guess(9, right_min=0.7)) == 1
    guesser.learn(guessed=1, right=1)
    assert len(guesser.guess(9, right_min=0.7)) > 1


def test_guesses_that_are_never_right_become_ever_rarer() -> None:
    guesser = lookup(5, 6)
    assert guesser.guess(9, right_min=0.7)
    guesser.learn(guessed=FIRST, right=0)
    tried = []
    for written in range(16 * PAUSE):
        guesser.add(5 + written % 2)
        if guesser.guess(9, right_min=0.7):
            tried.append(written)
            guesser.learn(guessed=1, right=0)
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert len(waits) > 1
    assert all(later == 2 * earlier for earlier, later in itertools.pairwise(waits))
