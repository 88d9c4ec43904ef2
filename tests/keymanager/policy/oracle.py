"""The policy language once more, slowly and plainly, over documents as they are written."""

from __future__ import annotations

import json
import re
import zoneinfo
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeAlias

from keymanager.policy.rule import Question

Document: TypeAlias = dict[str, Any]
# Of a use in the past: rule, time, caller's question.
Use: TypeAlias = tuple[str, datetime, Question]

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def verdict_and_rule(
    document: Document, question: Question, uses: Sequence[Use]
) -> tuple[str, str]:
    """Return the verdict and the name of the rule that decides."""
    rules = [rule for rule in document["rules"] if _is_about(rule, question)]
    state = {rule["name"]: _facts_match(rule, question) for rule in rules}

    def named(verdict: str, *states: str) -> list[Document]:
        return [r for r in rules if r["verdict"] == verdict and state[r["name"]] in states]

    for rule in named("deny", "yes", "unknown"):
        return "deny", rule["name"]
    sure, unsure, allows = named("ask", "yes"), named("ask", "unknown"), named("allow", "yes")
    if not sure:
        free = [rule for rule in allows if _has_room(rule, question, uses)]
        if not free:
            return "deny", allows[0]["name"] if allows else "default"
        if not unsure:
            return "allow", free[0]["name"]
    asks = sure or unsure
    free = [rule for rule in asks if _has_room(rule, question, uses)]
    return ("ask", free[0]["name"]) if free else ("deny", asks[0]["name"])


def _is_about(rule: Document, question: Question) -> bool:
    for part in ("caller", "agent", "secret", "tenant", "kind", "operation", "purpose"):
        if part == "agent" and _may_be_any(rule, question):
            continue
        patterns = _listed(rule.get(part + "s", "*"))
        if not any(_glob(pattern, getattr(question, part)) for pattern in patterns):
            return False
    if "until" in rule and question.time >= datetime.fromisoformat(rule["until"]):
        return False
    return "hours" not in rule or _is_open(rule["hours"], question.time)


def _is_open(hours: Document, time: datetime) -> bool:
    """Look at the clock, and at the clock of the day before for a night that began then."""
    local = time.astimezone(zoneinfo.ZoneInfo(hours["zone"]))
    clock = f"{local.hour:02}:{local.minute:02}"
    today, yesterday = _DAYS[local.weekday()], _DAYS[local.weekday() - 1]
    days = _listed(hours.get("days", _DAYS))
    start, end = hours.get("from", "00:00"), hours.get("until", "24:00")
    if start < end:
        return today in days and start <= clock < end
    return (today in days and clock >= start) or (yesterday in days and clock < end)


def _facts_match(rule: Document, question: Question) -> str:
    found = [
        _fact_matches(condition, question.facts.get(name))
        for name, condition in rule.get("when", {}).items()
    ]
    if "no" in found:
        return "no"
    if "agents" in rule and _may_be_any(rule, question) and "*" not in _listed(rule["agents"]):
        return "unknown"
    return "unknown" if "unknown" in found else "yes"


def _may_be_any(rule: Document, question: Question) -> bool:
    """Return whether a rule that opens nothing has to think of the worst agent."""
    is_of_service = question.secret.startswith("keys/")
    return question.agent == "" and rule["verdict"] != "allow" and not is_of_service


def _fact_matches(condition: Any, fact: Any) -> str:  # noqa: ANN401  # as JSON has it
    if isinstance(condition, dict) and "absent" in condition:
        return "yes" if fact is None else "no"
    if isinstance(condition, dict) and "under" in condition:
        return _path_matches(_listed(condition["under"]), fact)
    if isinstance(condition, dict):
        if not isinstance(fact, int) or isinstance(fact, bool):
            return "unknown"
        least = int(condition.get("at_least", fact))
        most = int(condition.get("at_most", fact))
        return "yes" if least <= fact <= most else "no"
    wanted = _listed(condition)
    if type(wanted[0]) is not type(fact):
        return "unknown"
    if not isinstance(fact, str):
        return "yes" if fact in wanted else "no"
    return _text_matches(wanted, fact)


def _text_matches(patterns: list[str], text: str) -> str:
    if text in [pattern for pattern in patterns if "*" not in pattern]:
        return "yes"
    if _is_strange_path(text):
        return "unknown"
    for pattern in patterns:
        is_hex = re.fullmatch("0x[0-9a-f*]*", pattern.lower())
        if _glob(pattern, text) or (is_hex and _glob(pattern.lower(), text.lower())):
            return "yes"
    loose = [_glob(pattern.lower(), text.lower()) for pattern in patterns]
    return "unknown" if any(loose) else "no"


def _path_matches(folders: list[str], fact: object) -> str:
    if not isinstance(fact, str) or not fact.startswith("/") or _is_strange_path(fact):
        return "unknown"

    def is_in(folder: str, path: str) -> bool:
        folder = folder.removesuffix("/")
        return path == folder or path.startswith(folder + "/")

    if any(is_in(folder, fact) for folder in folders):
        return "yes"
    return "unknown" if any(is_in(f.lower(), fact.lower()) for f in folders) else "no"


def _is_strange_path(text: str) -> bool:
    """Return whether a server may take it for another path."""
    segments = text.split("/")
    odd = ["%2e", "%2f", "%5c", "%25", "%3b", "%0", "%1", "\\", "?", "#", ";", " "]
    return text.startswith("/") and (
        "." in segments
        or ".." in segments
        or "//" in text
        or any(part in text.lower() for part in odd)
    )


def _has_room(rule: Document, question: Question, uses: Sequence[Use]) -> bool:
    for limit in rule.get("limits", []):
        seconds = _SECONDS.get(limit["per"], limit["per"])
        since = question.time - timedelta(seconds=seconds)
        owner = _owner(limit, question)
        if owner == "":
            return False
        used = [
            then
            for name, time, then in uses
            if name == rule["name"] and time > since and _owner(limit, then) == owner
        ]
        if "uses" in limit:
            if len(used) + 1 > limit["uses"]:
                return False
            continue
        amount = question.facts.get(limit["sum"])
        if not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
            return False
        total = amount + sum(int(then.facts[limit["sum"]]) for then in used)
        if total > int(limit["at_most"]):
            return False
    return True


def _owner(limit: Document, question: Question) -> str | None:
    """Return whose limit it is, None for that of all; empty if the use does not say."""
    each = limit.get("each")
    if isinstance(each, dict):
        name = str(question.facts.get(each["fact"], ""))
        return name if len(name) <= 256 else ""
    # An agent may have no name, and is one all the same.
    return None if each is None else f"{each} {getattr(question, each)}"


def _listed(value: Any) -> list[Any]:  # noqa: ANN401  # as JSON has it
    return value if isinstance(value, list) else [value]


@cache
def _glob(pattern: str, text: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL))


def written(document: Document) -> str:
    """Return the document as a policy."""
    return json.dumps(document)
