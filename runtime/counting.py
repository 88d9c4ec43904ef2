"""Decides about calls with what was counted before, which the machine of a run alone cannot know.

A machine decides as if no window had been used. Here the decision is made again with what this
entry takes, and with what the journal said when it refused one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from .errors import LimitReached
from .facts import ActionDecided, Decision, Event
from .machines.calls import Calls
from .policy import Facts, decide
from .program import Program
from .rules import Use, WindowRule


def is_full(program: Program, made: Event, kept: Event) -> bool:
    """Tell whether a decision that was kept differs from one of the machine for a full window."""
    if not isinstance(made, ActionDecided) or not isinstance(kept, ActionDecided):
        return False
    action = program.action(made.call.action)
    if made.call != kept.call or action is None or made.decision is Decision.DENY:
        return False
    windows = (rule.objection() for rule in action.policy if isinstance(rule, WindowRule))
    return any((kept.decision, kept.rule) == (one.decision, str(one)) for one in windows)


class Counting:
    """The decisions of one entry; `known` is what the journal said was used, by `Use.key`."""

    def __init__(self, program: Program, now: datetime, known: Mapping[str, int]) -> None:
        self._program = program
        self._now = now
        self._used = dict(known)
        self.uses: list[Use] = []

    def decided(self, fact: Event, calls: Calls, *, dry_run: bool) -> Event:
        """Return a fact; one that lets a call through, as it is with what was counted."""
        if not isinstance(fact, ActionDecided) or fact.decision is Decision.DENY:
            return fact
        action = self._program.action(fact.call.action)
        if action is None or not any(isinstance(rule, WindowRule) for rule in action.policy):
            return fact
        verdict = decide(
            fact.call,
            action,
            allowed_count=calls.allowed.get(fact.call.action, 0),
            dry_run=dry_run,
            facts=Facts(self._now, self._used),
        )
        for use in verdict.uses:
            self._used[use.key] = self._used.get(use.key, 0) + use.amount
            self.uses.append(use)
        return ActionDecided(fact.call, verdict.decision, verdict.rule)


def learn(known: dict[str, int], reached: LimitReached) -> None:
    """Add to what the journal has said what it says now."""
    # More each time, so that deciding again comes to an end.
    assert reached.used > known.get(reached.key, 0), "a full window decides otherwise"
    known[reached.key] = reached.used
