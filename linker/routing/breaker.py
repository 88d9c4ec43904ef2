"""Circuit breakers: a model that fails again and again is left alone for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

# After so many failures in a row nobody asks.
FAILURES_MAX = 5
# Then one may try again after so many seconds.
REST_SECONDS = 10.0
TARGETS_MAX = 10_000


@dataclass
class _State:
    failures: int = 0
    rest_until: float = 0.0
    is_failing: bool = False


class Breakers:
    """One breaker per target; times are seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._states: OrderedDict[Hashable, _State] = OrderedDict()

    def rest_seconds(self, target: Hashable, now: float) -> float:
        """Return how long a target is to be left alone; 0 lets the caller ask it.

        Of those who come after the rest, one asks; the others wait for what becomes of it.
        """
        state = self._states.get(target)
        if state is None or state.failures < FAILURES_MAX:
            return 0.0
        if now < state.rest_until:
            return state.rest_until - now
        state.rest_until = now + REST_SECONDS
        return 0.0

    def note_failure(self, target: Hashable, now: float) -> None:
        """Remember that a target did not answer."""
        state = self._state(target)
        state.is_failing = True
        state.failures += 1
        if state.failures >= FAILURES_MAX:
            state.rest_until = now + REST_SECONDS

    def note_answer(self, target: Hashable) -> None:
        """Remember that a target answered."""
        self._states.pop(target, None)

    def note_refusal(self, target: Hashable) -> None:
        """Remember that a target is not usable, which is told at once and needs no rest."""
        self._state(target).is_failing = True

    def is_failing(self, target: Hashable) -> bool:
        """Tell whether a target failed when it was last asked."""
        state = self._states.get(target)
        return state is not None and state.is_failing

    def _state(self, target: Hashable) -> _State:
        if len(self._states) >= TARGETS_MAX and target not in self._states:
            self._states.popitem(last=False)
        return self._states.setdefault(target, _State())
