"""Questions and counts that tests of policies start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from keymanager.policy.conditions import Fact
from keymanager.policy.decision import decide
from keymanager.policy.document import parse
from keymanager.policy.rule import CountKey, Decision, Question

NOON = datetime(2026, 6, 3, 12, tzinfo=UTC)  # a Wednesday
QUESTION = Question(
    caller="runtime",
    agent="agents/poster",
    secret="secrets/board-key",
    tenant="tenants/default",
    kind="api-key",
    operation="oauth1",
    purpose="request",
    facts={},
    time=NOON,
)
# A rule that allows, to be continued with more fields.
ALLOW = """\
format: actionvm.policy/v1
rules:
  - name: posts
    verdict: allow
    callers: runtime
    secrets: secrets/*
    operations: "*"
    purposes: request
"""


@dataclass
class ListedCounts:
    """Remembers every amount with its time, and adds them up when it is asked."""

    entries: list[tuple[CountKey, datetime]] = field(default_factory=list)

    def used(self, key: CountKey, since: datetime) -> int:
        return sum(known.amount for known, time in self.entries if known == key and time > since)

    def add(self, decision: Decision, time: datetime) -> None:
        """Count what a use that succeeded adds."""
        self.entries += [(key, time) for key in decision.counts]


def asking(facts: Mapping[str, Fact] | None = None, /, **changes: str) -> Question:
    """Return the question with other facts and parts."""
    return replace(QUESTION, facts=facts or {}, **changes)  # type: ignore[arg-type]  # no time


def decided(
    policy: str, question: Question = QUESTION, counts: ListedCounts | None = None
) -> Decision:
    """Return what a policy says."""
    return decide(parse(policy), question, counts or ListedCounts())
