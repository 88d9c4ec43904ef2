"""Random policies and questions that often have to do with each other."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from keymanager.policy.conditions import Fact
from keymanager.policy.rule import Question

from .oracle import Document

_NAMES = {
    "caller": ["runtime", "linker", "knowledge"],
    "agent": ["agents/a", "agents/b", ""],
    "secret": ["secrets/x", "secrets/xy", "keys/bundles"],
    "tenant": ["tenants/default", "tenants/t"],
    "kind": ["secp256k1", "api-key"],
    "operation": ["sign-transaction", "sign-message", "release"],
    "purpose": ["request", "generation"],
}
_GLOBS = {
    "caller": ["*", "runtime", "link*"],
    "agent": ["*", "agents/*", "agents/a"],
    "secret": ["*", "secrets/*", "secrets/x", "secrets/*y", "keys/*"],
    "tenant": ["*", "tenants/default"],
    "kind": ["*", "secp*"],
    "operation": ["*", "sign-*", "*-message", "release"],
    "purpose": ["*", "request"],
}
_HOSTS = ["api.example.com", "API.example.com", "example.com", "evil.net"]
_PATHS = ["/v2/posts", "/v2/posts/7", "/v2/postscript", "/v2", "/v2/../admin", "/V2/posts", "//v2"]
_ADDRESSES = ["0xABcd", "0xabcd", "0xabce", ""]
_NUMBERS = [0, 1, 7, 8453, 10**16, 10**40, -3]
# The night of 25 October 2026, in which Berlin has an hour twice, and the days around it.
_START = datetime(2026, 10, 23, 20, tzinfo=UTC)


def random_policy(dice: random.Random) -> Document:
    """Return a policy of up to 8 rules."""
    count = dice.randint(1, 8)
    rules = [_rule(dice, f"rule-{number}") for number in range(count)]
    return {"format": "actionvm.policy/v1", "rules": rules}


def random_question(dice: random.Random, earlier: datetime | None = None) -> Question:
    """Return a question, some time after an earlier one."""
    choices: dict[str, list[Fact]] = {
        "host": [*_HOSTS, 5],
        "path": [*_PATHS, "posts"],
        "to": [*_ADDRESSES],
        "value": [*_NUMBERS, "7", True],
        "chain_id": [1, 8453],
        "dry": [True, False, 1],
    }
    facts = {name: dice.choice(values) for name, values in choices.items() if dice.random() < 0.7}
    parts = {part: dice.choice(names) for part, names in _NAMES.items()}
    seconds = dice.choice([0, 1, 30, 600, 3_600, 30_000])
    return Question(**parts, facts=facts, time=(earlier or _START) + timedelta(seconds=seconds))


def _rule(dice: random.Random, name: str) -> Document:
    verdict = dice.choice(["allow", "allow", "allow", "ask", "deny"])
    rule: Document = {"name": name, "verdict": verdict}
    required = ("caller", "secret", "operation", "purpose") if verdict != "deny" else ()
    for part, globs in _GLOBS.items():
        if part in required or dice.random() < 0.3:
            rule[f"{part}s"] = _one_or_more(dice, globs)
    conditions = {
        fact: _condition(dice, fact, verdict)
        for fact in ("host", "path", "to", "value", "chain_id", "dry")
        if dice.random() < 0.25
    }
    if conditions:
        rule["when"] = conditions
    if verdict != "deny" and dice.random() < 0.5:
        rule["limits"] = [_limit(dice) for _ in range(dice.randint(1, 2))]
    if dice.random() < 0.25:
        rule["hours"] = _hours(dice)
    if dice.random() < 0.15:
        rule["until"] = dice.choice(["2026-10-25T02:30:00+02:00", "2026-10-28T00:00:00Z"])
    return rule


def _condition(dice: random.Random, fact: str, verdict: str) -> Any:  # noqa: ANN401  # as JSON
    if verdict == "deny" and dice.random() < 0.2:
        return {"absent": True}
    if fact == "path" and dice.random() < 0.6:
        return {"under": _one_or_more(dice, ["/v2/posts", "/v2/", "/"])}
    if fact == "value" and dice.random() < 0.7:
        bounds = {"at_least": dice.choice([0, 7, "8"]), "at_most": dice.choice([8, str(10**20)])}
        kept = dice.choice([["at_least"], ["at_most"], ["at_least", "at_most"]])
        return {name: bounds[name] for name in kept}
    choices: dict[str, list[Any]] = {
        "host": ["*.example.com", "api.example.com", "*", "Example.*m", "evil.net"],
        "path": ["/v2/*", "*/posts", "/v2/posts", "/v2/../admin"],
        "to": ["0xabCD", "0xAB*", "", "*cd"],
        "value": _NUMBERS[:4],
        "chain_id": [1, 8453],
        "dry": [True, False],
    }
    return dice.choice(choices[fact]) if fact == "dry" else _one_or_more(dice, choices[fact])


def _limit(dice: random.Random) -> Document:
    limit: Document = {"per": dice.choice(["second", "minute", "hour", "day", 90])}
    if dice.random() < 0.6:
        limit["uses"] = dice.choice([1, 2, 5])
    else:
        limit |= {"sum": "value", "at_most": dice.choice([8, 9000, "20000000000000000"])}
    if dice.random() < 0.4:
        limit["each"] = dice.choice(["agent", "secret", {"fact": "to"}, {"fact": "value"}])
    return limit


def _hours(dice: random.Random) -> Document:
    hours: Document = {"zone": dice.choice(["Europe/Berlin", "UTC", "America/St_Johns"])}
    if dice.random() < 0.6:
        days = ["monday", "friday", "saturday", "sunday"]
        hours["days"] = _one_or_more(dice, days)
    if dice.random() < 0.8:
        hours["from"], hours["until"] = dice.choice(
            [("08:00", "18:30"), ("22:00", "06:00"), ("02:30", "24:00"), ("00:00", "02:15")]
        )
    return hours


def _one_or_more(dice: random.Random, choices: list[Any]) -> Any:  # noqa: ANN401  # as JSON has it
    if dice.random() < 0.5:
        return dice.choice(choices)
    return dice.sample(choices, dice.randint(1, min(2, len(choices))))
