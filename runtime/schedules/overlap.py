"""What becomes of firings that wait while runs of earlier ones are open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .schedule import Firing, OverlapPolicy, Rules


@dataclass(frozen=True)
class Verdict:
    """Which firings start, which are skipped for which reason, and whose runs are cancelled."""

    starts: tuple[Firing, ...] = ()
    skips: tuple[tuple[Firing, str, str], ...] = ()
    cancels: tuple[Firing, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Tell whether it changes no firing."""
        return not self.starts and not self.skips


def judge(rules: Rules, opened: Sequence[Firing], waiting: Sequence[Firing]) -> Verdict:
    """Decide about those that wait, which are in the order in which they came."""
    match rules.overlap:
        case OverlapPolicy.CANCEL:
            return _replace(opened, waiting)
        case OverlapPolicy.ALLOW:
            room, places, reason = rules.overlap_max - len(opened), 0, "OVERLAP"
            told = f"{rules.overlap_max} runs of the schedule were open"
        case OverlapPolicy.QUEUE:
            room, places, reason = 1 - len(opened), rules.overlap_max, "QUEUE_FULL"
            told = f"{rules.overlap_max} firings of the schedule waited"
        case OverlapPolicy.SKIP:
            room, places, reason = 1 - len(opened), 0, "OVERLAP"
            told = "a run of the schedule was open"
    room = max(room, 0)
    rest = waiting[room + places :]
    return Verdict(tuple(waiting[:room]), tuple((firing, reason, told) for firing in rest))


def _replace(opened: Sequence[Firing], waiting: Sequence[Firing]) -> Verdict:
    told = "a later firing came while it waited"
    skips = tuple((firing, "SUPERSEDED", told) for firing in waiting[:-1])
    if opened:
        return Verdict(skips=skips, cancels=tuple(opened))
    return Verdict(tuple(waiting[-1:]), skips)
