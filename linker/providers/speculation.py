"""Guesses what comes next: text that is being copied goes on as it did where it stood before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

# A guess begins after so many tokens that were seen in this order before.
PAIR = 2
# The first guess of a copy is short, the next as long as the last was right, twice over.
FIRST = 4
# After a guess that was wrong from its start on, so many tokens pass before the next.
PAUSE_MAX = 32


class Lookup:
    """Where every few tokens of a sequence stood last, and how good the guesses were."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)
        # The last pair is the one to look for: where it stands now is no answer.
        pairs = itertools.pairwise(tokens[:-1])
        self._places = {pair: place for place, pair in enumerate(pairs, PAIR)}
        self._length = FIRST
        self._pause = self._wait = 0

    def add(self, token: int) -> None:
        """Take a token that was written."""
        tokens = self._tokens
        if len(tokens) >= PAIR:
            self._places[tokens[-2], tokens[-1]] = len(tokens)
        tokens.append(token)
        self._wait = max(0, self._wait - 1)

    def guess(self, length_max: int) -> list[int]:
        """Return what may follow; nothing if there is no ground for it."""
        tokens = self._tokens
        if self._wait or length_max < 1 or len(tokens) < PAIR:
            return []
        place = self._places.get((tokens[-2], tokens[-1]))
        if place is None:
            return []
        return tokens[place : place + min(self._length, length_max)]

    def learn(self, *, guessed: int, right: int) -> None:
        """Guess more, or less, now that it is known how much of a guess was right."""
        if right == guessed:
            self._length, self._pause = self._length * 2, 0
        elif right:
            self._length, self._pause = max(FIRST, right), 0
        else:
            self._length = FIRST
            self._pause = min(PAUSE_MAX, 2 * self._pause + 1)
            self._wait = self._pause
