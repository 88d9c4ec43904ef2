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
# How much of what is known of a model or a text the next measurement takes the place of.
_SHARE_NEW = 0.05
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


class Costs:
    """What a step of so many rows takes: something, and something more for each row.

    A graphics card reads its weights in the time that it could compute many rows, so a row more
    costs nothing there. A processor computes as long as it reads, and a row has its price.
    """

    def __init__(self) -> None:
        self._rows = self._seconds = 0.0
        self._rows_spread = self._together = 0.0

    def note(self, rows: int, seconds: float) -> None:
        """Learn from a step; old ones count less and less."""
        if not self._rows:
            self._rows, self._seconds = rows, seconds
        more_rows, more_seconds = rows - self._rows, seconds - self._seconds
        self._rows += _SHARE_NEW * more_rows
        self._seconds += _SHARE_NEW * more_seconds
        old = 1 - _SHARE_NEW
        self._rows_spread = old * (self._rows_spread + _SHARE_NEW * more_rows**2)
        self._together = old * (self._together + _SHARE_NEW * more_rows * more_seconds)

    def share_of_rows(self, rows: int) -> float:
        """Return which share of a step is for its rows; so much of a guess must be right to pay.

        As many rows that are guessed take this share of the step, and what is right of them saves
        a whole one. 0 as long as nothing is known: guesses are how it becomes known.
        """
        if not self._rows_spread:
            return 0.0
        row = max(0.0, self._together / self._rows_spread)
        step = self._seconds + row * (rows - self._rows)
        return min(1.0, row * rows / step) if step > 0 else 1.0
