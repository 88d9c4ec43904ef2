"""How long to wait before the next try."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Waits that double, of which each takes a random part, so that callers do not come together.

    A try that failed is repeated until there were `tries_max`.
    """

    tries_max: int = 3
    seconds_first: float = 0.5
    seconds_max: float = 20.0

    def seconds(self, tries: int, dice: random.Random, *, asked: float = 0.0) -> float:
        """Return the wait after so many tries; `asked` is what the provider wants at least."""
        assert tries >= 1, "before the first try nobody waits"
        most = min(self.seconds_first * 2.0 ** (tries - 1), self.seconds_max)
        return max(asked, 0.0) + most * (0.5 + 0.5 * dice.random())


def to_tell(seconds: float) -> float:
    """Return a wait as it is told: who comes back after it has waited long enough."""
    return math.ceil(seconds * 1_000) / 1_000
