"""Guesses what comes next: text that is being copied goes on as it did where it stood before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

# A guess begins after so many tokens that were seen in this order before.
PAIR = 2
# The first guess of a copy is short, the next as long as the last was right, twice over.
FIRST = 4
# Where guesses do not pay, a single token is tried after so many, the text may copy by now; then
# after twice as many, as long as it is not right.
PAUSE = 32
# What is right of a first guess, until it is known better.
RIGHT = 0.75
# How much of what is known of a text the next measurement takes the place of.
_SHARE_RIGHT = 0.5


class Lookup:
    """Where every two tokens of a sequence stood last, and how good the guesses were."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)
        # The last pair is the one to look for: where it stands now is no answer.
        pairs = itertools.pairwise(tokens[:-1])
        self._places = {pair: place for place, pair in enumerate(pairs, PAIR)}
        self._length = FIRST
        self._right = RIGHT
        self._since, self._pause = 0, PAUSE

    def add(self, token: int) -> None:
        """Take a token that was written."""
        tokens = self._tokens
        if len(tokens) >= PAIR:
            self._places[tokens[-2], tokens[-1]] = len(tokens)
        tokens.append(token)
        self._since += 1

    def guess(self, length_max: int, *, right_min: float) -> list[int]:
        """Return what may follow; nothing if there is no ground for it.

        A guess pays if more than a share of `right_min` is right. One that does not is rare.
        """
        tokens = self._tokens
        if length_max < 1 or len(tokens) < PAIR:
            return []
        does_pay = self._right >= right_min
        if not does_pay and self._since < self._pause:
            return []
        place = self._places.get((tokens[-2], tokens[-1]))
        if place is None:
            return []
        length = min(self._length, length_max) if does_pay else 1
        return tokens[place : place + length]

    def learn(self, *, guessed: int, right: int) -> None:
        """Guess more, or less, now that it is known how much of a guess was right."""
        self._length = self._length * 2 if right == guessed else max(FIRST, right)
        self._right += _SHARE_RIGHT * (right / guessed - self._right)
        self._since, self._pause = 0, PAUSE if right else 2 * self._pause
