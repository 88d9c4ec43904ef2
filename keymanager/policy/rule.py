"""What a policy consists of, and what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol, TypeAlias

from chassis.glob import Glob
from chassis.hours import Hours

from .conditions import Condition, Fact, Match

# What was counted longer ago counts nowhere.
WINDOW_SECONDS_MAX = 31 * 86_400
# The decision of a policy of which no rule says anything.
DEFAULT = "default"
PERIODS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
SERVICE_KEYS_START = "keys/"
_SUBJECTS_MAX = 4_096
# Of a fact whose values have a count each, which is kept as long as its window.
_NAME_CHARACTERS_MAX = 256


class Verdict(Enum):
    """What becomes of a use; the worst one of all rules counts."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


@dataclass(frozen=True)
class Question:
    """A use that somebody wants; `agent` is empty if there is none. `time` has a time zone."""

    caller: str
    agent: str
    secret: str
    tenant: str
    kind: str
    operation: str
    purpose: str
    facts: Mapping[str, Fact]
    time: datetime


@dataclass(frozen=True)
class CountKey:
    """What is counted: uses that a rule decided, or the sum of a `fact` of theirs.

    `each` is `agent`, `secret` or a fact if every `name` of one has a count of its own, else both
    are empty. `amount` is what this use adds; it has no bound, and is no part of what is counted.
    """

    rule: str
    fact: str = ""
    each: str = ""
    name: str = ""
    amount: int = field(default=1, compare=False)


class Counts(Protocol):
    """What was used so far."""

    def used(self, key: CountKey, since: datetime) -> int:
        """Return the sum of all amounts that were added after a time."""
        ...


@dataclass(frozen=True)
class Decision:
    """What becomes of a use, and the rule that decided; `problem` is empty if it is allowed.

    When the use has succeeded, the amount of each of `counts` is to be added.
    """

    verdict: Verdict
    rule: str
    problem: str
    counts: tuple[CountKey, ...] = ()


@dataclass(frozen=True)
class Limit:
    """At most so many uses, or so much of a `fact`, in any window of so many seconds.

    Either for all together, or for each agent or secret, or for each value of `each_fact`.
    """

    most: int
    seconds: int
    fact: str = ""
    each: str = ""
    each_fact: str = ""

    def key(self, rule: str, question: Question) -> CountKey | str:
        """Return what a use adds to, or what the use does not say for that."""
        amount: Fact | None = question.facts.get(self.fact) if self.fact else 1
        if type(amount) is not int or amount < 0:
            return f"{self.fact} is no number from 0 on"
        name: str = getattr(question, self.each) if self.each else ""
        if self.each_fact:
            name = str(question.facts.get(self.each_fact, ""))
            if not 0 < len(name) <= _NAME_CHARACTERS_MAX:
                return f"{self.each_fact} is missing, empty or too long to be counted by"
        each = self.each or self.each_fact
        return CountKey(rule=rule, fact=self.fact, each=each, name=name, amount=amount)

    def has_room(self, key: CountKey, question: Question, counts: Counts) -> bool:
        """Return whether the use still fits in."""
        return counts.used(key, question.time - self._window) + key.amount <= self.most

    @cached_property
    def _window(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        what = f" of {self.fact}" if self.fact else ""
        per = next((name for name, length in PERIODS.items() if length == self.seconds), "")
        owner = self.each or self.each_fact
        each = f" for each {owner}" if owner else ""
        return f"{self.most}{what} per {per or f'{self.seconds} seconds'}{each}"


class Subject(NamedTuple):
    """What a rule selects by, whatever the facts and the time are."""

    caller: str
    agent: str
    secret: str
    tenant: str
    kind: str
    operation: str
    purpose: str


Selectors: TypeAlias = tuple[tuple[str, tuple[Glob, ...]], ...]


@dataclass(frozen=True)
class Rule:
    """One rule; what it does not mention, it does not care about."""

    name: str
    verdict: Verdict
    selectors: Selectors = ()
    conditions: tuple[tuple[str, Condition], ...] = ()
    limits: tuple[Limit, ...] = ()
    hours: Hours | None = None
    until: datetime | None = None

    def stranger(self, subject: Subject) -> str:
        """Return the first part of a subject that the rule is not about, or nothing.

        A caller that leaves the agent out could be acting for any. Only what opens nothing is also
        about that, and nothing is that is about keys of services, which no agent uses.
        """
        for part, globs in self.selectors:
            text: str = getattr(subject, part)
            if not any(glob.matches(text) for glob in globs):
                is_unnamed = part == "agent" and not text
                is_service = subject.secret.startswith(SERVICE_KEYS_START)
                if self.verdict is Verdict.ALLOW or is_service or not is_unnamed:
                    return part
        return ""

    def is_in_time(self, time: datetime) -> bool:
        """Return whether the rule is in force."""
        if self.until is not None and time >= self.until:
            return False
        return self.hours is None or self.hours.include(time)

    def judge(self, question: Question) -> Match:
        """Return whether the rule, which is about the subject, is about the use."""
        found = Match.YES if question.agent or not self._names_agents else Match.UNKNOWN
        for fact, condition in self.conditions:
            match = condition.judge(question.facts.get(fact))
            if match is Match.NO:
                return Match.NO
            if match is Match.UNKNOWN:
                found = Match.UNKNOWN
        # Last, because a look at a clock costs more than a comparison.
        return found if self.is_in_time(question.time) else Match.NO

    @cached_property
    def _names_agents(self) -> bool:
        return any(part == "agent" for part, _ in self.selectors)


class Relevant(NamedTuple):
    """The rules that are about one subject, in their order."""

    denies: tuple[Rule, ...]
    asks: tuple[Rule, ...]
    allows: tuple[Rule, ...]


class Policy:
    """Rules, found by what they are about: few subjects ask again and again."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._windows = {
            rule.name: max(limit.seconds for limit in rule.limits)
            for rule in self.rules
            if rule.limits
        }
        self.relevant: Callable[[Subject], Relevant] = lru_cache(_SUBJECTS_MAX)(self._relevant)

    def window(self, rule: str) -> int:
        """Return for how many seconds a use counts; of an unknown rule, as long as of any."""
        return self._windows.get(rule, WINDOW_SECONDS_MAX)

    def _relevant(self, subject: Subject) -> Relevant:
        found = [rule for rule in self.rules if not rule.stranger(subject)]
        order = (Verdict.DENY, Verdict.ASK, Verdict.ALLOW)
        return Relevant(*(tuple(r for r in found if r.verdict is verdict) for verdict in order))


def subject_of(question: Question) -> Subject:
    """Return the part of a question by which rules are found."""
    return Subject(
        question.caller,
        question.agent,
        question.secret,
        question.tenant,
        question.kind,
        question.operation,
        question.purpose,
    )
