"""Decides about a use of a secret: denied unless a rule says otherwise, and the worst rule counts.

What is not known never opens anything. A use that lacks a fact gets the worst decision that any
value of the fact could bring: a rule that allows does not match, a rule that denies does, and a
rule that asks asks only about what would be allowed otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chassis.problems import clip

from .conditions import Match
from .rule import DEFAULT, CountKey, Counts, Decision, Policy, Question, Rule, Verdict, subject_of

_TEXT_CHARACTERS_MAX = 200


@dataclass(frozen=True)
class Explanation:
    """What one rule has to do with a use; `problem` says why it does not match, or cannot tell."""

    rule: str
    verdict: Verdict
    match: Match
    problem: str


@dataclass(frozen=True)
class Evaluation:
    """The decision that a use would get, and what every rule has to do with it."""

    decision: Decision
    explanations: tuple[Explanation, ...]


def decide(policy: Policy, question: Question, counts: Counts) -> Decision:
    """Return what becomes of a use; nothing is counted by that."""
    assert question.time.tzinfo is not None, "a time is one only with its time zone"
    relevant = policy.relevant(subject_of(question))
    for rule in relevant.denies:
        if rule.judge(question) is not Match.NO:
            return Decision(Verdict.DENY, rule.name, f"rule {rule.name} denies it")
    found = [(rule, rule.judge(question)) for rule in relevant.asks]
    asks = [rule for rule, match in found if match is Match.YES]
    if not asks:
        allowed = _first_with_room(
            [rule for rule in relevant.allows if rule.judge(question) is Match.YES],
            question,
            counts,
        )
        if allowed is None:
            return Decision(Verdict.DENY, DEFAULT, "no rule allows it")
        asks = [rule for rule, match in found if match is Match.UNKNOWN]
        if allowed.verdict is Verdict.DENY or not asks:
            return allowed
    asked = _first_with_room(asks, question, counts)
    assert asked is not None, "a rule asks"
    return asked


def evaluate(policy: Policy, question: Question, counts: Counts) -> Evaluation:
    """Return what `decide` returns, with reasons; nothing is counted."""
    return Evaluation(
        decide(policy, question, counts),
        tuple(_explain(rule, question, counts) for rule in policy.rules),
    )


def _first_with_room(rules: list[Rule], question: Question, counts: Counts) -> Decision | None:
    """Return the decision of the first rule with room, else how the first one is used up."""
    refusal = None
    for rule in rules:
        problem, keys = _room(rule, question, counts)
        if not problem:
            is_ask = rule.verdict is Verdict.ASK
            problem = f"rule {rule.name} asks a person" if is_ask else ""
            return Decision(rule.verdict, rule.name, problem, tuple(keys))
        refusal = refusal or Decision(Verdict.DENY, rule.name, f"rule {rule.name}: {problem}")
    return refusal


def _room(rule: Rule, question: Question, counts: Counts) -> tuple[str, list[CountKey]]:
    """Return which limit has no room; if that is empty, also what is to be counted."""
    keys = list[CountKey]()
    for limit in rule.limits:
        key = limit.key(rule.name, question)
        if isinstance(key, str):
            return f"{limit} are allowed, but {key}", []
        if not limit.has_room(key, question, counts):
            return f"{limit} are used up", []
        # Two limits may count the same.
        if key not in keys:
            keys.append(key)
    return "", keys


def _explain(rule: Rule, question: Question, counts: Counts) -> Explanation:
    subject = subject_of(question)
    stranger = rule.stranger(subject)
    match = Match.NO if stranger else rule.judge(question)
    if stranger:
        problem = f"it is not about the {stranger} {clip(getattr(subject, stranger)) or '(none)'}"
    elif not rule.is_in_time(question.time):
        problem = "it is not in force at this time"
    elif match is Match.YES:
        problem, _ = _room(rule, question, counts)
    else:
        unnamed = "no agent is named, and it could be one of these"
        problem = next(_condition_problems(rule, question, match), unnamed)
    return Explanation(rule.name, rule.verdict, match, problem)


def _condition_problems(rule: Rule, question: Question, match: Match) -> Iterator[str]:
    """Yield each fact because of which a rule does not match, or cannot tell."""
    for name, condition in rule.conditions:
        fact = question.facts.get(name)
        if condition.judge(fact) is match:
            text = "missing" if fact is None else clip(str(fact))
            must = clip(f"{condition}", length_max=_TEXT_CHARACTERS_MAX)
            verb = "must be" if match is Match.NO else "cannot be told to be"
            yield f"{name} is {text}; it {verb} {must}"
