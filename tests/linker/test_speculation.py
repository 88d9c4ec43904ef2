"""Guesses are what stood after the same words before, and grow only as long as they are right."""

from __future__ import annotations

from linker.providers.speculation import FIRST, Lookup

COPIED = [*range(40)]


def lookup(*tail: int) -> Lookup:
    """Return the lookup of a text that begins to repeat itself."""
    guesser = Lookup([*COPIED, 99])
    for token in tail:
        guesser.add(token)
    return guesser


def test_what_stood_after_the_same_pair_is_guessed() -> None:
    assert lookup(5, 6).guess(3) == [7, 8, 9]


def test_what_never_stood_before_is_no_ground_for_a_guess() -> None:
    assert lookup(5, 9).guess(3) == []
    assert Lookup([1]).guess(3) == []


def test_the_pair_at_the_end_is_looked_for_before_it() -> None:
    assert Lookup([1, 2, 3, 1, 2]).guess(3) == [3, 1, 2]


def test_the_last_place_counts() -> None:
    assert Lookup([1, 2, 3, 1, 2, 4, 1, 2]).guess(1) == [4]


def test_right_guesses_grow() -> None:
    guesser = lookup(5, 6)
    assert len(guesser.guess(99)) == FIRST
    guesser.learn(guessed=FIRST, right=FIRST)
    assert len(guesser.guess(99)) == 2 * FIRST


def test_wrong_guesses_become_rare() -> None:
    guesser = lookup(5, 6)
    pauses = []
    for _ in range(4):
        guesser.learn(guessed=FIRST, right=0)
        pause = 0
        while not guesser.guess(9):
            # The text goes on repeating itself.
            for token in (5, 6):
                guesser.add(token)
            pause += 1
        pauses.append(pause)
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]
