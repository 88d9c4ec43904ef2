"""Reads a policy that people write; whoever wrote it learns all that is wrong, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from chassis.canonical import Json
from chassis.draft import Draft, FieldPath
from chassis.glob import Glob
from chassis.problems import Flaw, describe, suggest
from chassis.source import read_draft

from ..errors import PolicyInvalid
from .fact_fields import read_conditions
from .fields import read_choice, read_items, read_mapping, read_one_or_more, read_text
from .limit_fields import read_hours, read_limits, read_moment
from .rule import DEFAULT, Policy, Rule, Selectors, Verdict
from .words import WORDS

BYTES_MAX = 256 * 1024
RULES_MAX = 1_000
FORMAT = "actionvm.policy/v1"
PACKAGED = Path(__file__).parent / "default.yaml"

# Part of a question -> the field that selects by it, and how what it names begins.
_SELECTORS = {
    "caller": ("callers", ()),
    "agent": ("agents", ("agents/",)),
    "secret": ("secrets", ("secrets/", "keys/")),
    "tenant": ("tenants", ("tenants/",)),
    "kind": ("kinds", ()),
    "operation": ("operations", ()),
    "purpose": ("purposes", ()),
}
# Who opens something says for whom and for what: what was forgotten must not mean everything.
_REQUIRED_TO_OPEN = ("callers", "secrets", "operations", "purposes")
_FIELDS = (
    "name",
    "verdict",
    *(field for field, _ in _SELECTORS.values()),
    "when",
    "limits",
    "hours",
    "until",
)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SELECTOR = re.compile(r"[a-z0-9*][a-z0-9*/._-]{0,127}")
Words: TypeAlias = Mapping[str, Sequence[str]]

_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def parse(text: str, *, is_stored: bool = False) -> Policy:
    """Return the policy that a text in YAML or JSON is; raise `PolicyInvalid`.

    One that is stored may select by words that nothing has: an earlier release took it.
    """
    content = text.encode("utf-8", "surrogatepass")
    if len(content) > BYTES_MAX:
        draft = Draft("policy")
        message = f"has {len(content)} bytes; at most {BYTES_MAX} are allowed"
        fix = "Join rules that differ in one list, and leave out those that are never used."
        draft.report((), Flaw.OUT_OF_RANGE, message, fix=fix)
    else:
        draft = read_draft("policy", content)
    words = {} if is_stored else WORDS
    rules = _read(draft, words) if draft.is_readable else []
    if draft.has_errors:
        raise PolicyInvalid(tuple(draft.problems))
    return Policy(rules)


def default_policy() -> Policy:
    """Return what holds as long as nobody has put another policy."""
    return parse(PACKAGED.read_text(encoding="utf-8"))


def _read(draft: Draft, words: Words) -> list[Rule]:
    value = read_mapping(draft, (), known=("format", "rules"), required=("format", "rules"))
    if "format" in value and draft.get(("format",)) != FORMAT:
        message = f"is {describe(draft.get(('format',)))}; it must be `{FORMAT}`"
        fix = f"Write `format: {FORMAT}`."
        draft.report(("format",), Flaw.INVALID_VALUE, message, fix=fix)
    if "rules" not in value:
        return []
    if draft.get(("rules",)) == []:
        return []
    rules, names = list[Rule](), set[str]()
    for path in read_items(draft, ("rules",), count_max=RULES_MAX):
        if rule := _read_rule(draft, path, words):
            if rule.name in names:
                fix = "Give each rule a name of its own: decisions and counts name it."
                message = f"the name `{rule.name}` comes twice"
                draft.report((*path, "name"), Flaw.DUPLICATE_ITEM, message, fix=fix)
            names.add(rule.name)
            rules.append(rule)
    return rules


def _read_rule(draft: Draft, path: FieldPath, words: Words) -> Rule | None:
    value = read_mapping(draft, path, known=_FIELDS, required=("name", "verdict"))
    name = read_text(draft, (*path, "name"), _NAME, example="posts") if "name" in value else None
    if name == DEFAULT:
        message = "is what decisions say if no rule decided"
        fix = "Choose another name."
        draft.report((*path, "name"), Flaw.INVALID_VALUE, message, fix=fix)
    word = read_choice(draft, (*path, "verdict"), _VERDICTS) if "verdict" in value else None
    verdict = _VERDICTS[word] if word else None
    for field in _REQUIRED_TO_OPEN if verdict in {Verdict.ALLOW, Verdict.ASK} else ():
        if field not in value:
            fix = f'Add `{field}`, or `{field}: "*"` if every one is meant.'
            message = f"is required of a rule with the verdict `{word}`"
            draft.report((*path, field), Flaw.MISSING_FIELD, message, fix=fix)
    if verdict is Verdict.DENY and "limits" in value:
        message = "a rule that denies has no limits"
        fix = "Move them to the rule that allows."
        draft.report((*path, "limits"), Flaw.CONTRADICTION, message, fix=fix)
    when, limits = (*path, "when"), (*path, "limits")
    hours, until = (*path, "hours"), (*path, "until")
    rule = Rule(
        name=name or "",
        verdict=verdict or Verdict.DENY,
        selectors=_read_selectors(draft, path, value, words),
        conditions=read_conditions(draft, when, verdict) if "when" in value else (),
        limits=read_limits(draft, limits) if "limits" in value else (),
        hours=read_hours(draft, hours) if "hours" in value else None,
        until=read_moment(draft, until) if "until" in value else None,
    )
    return rule if rule.name else None


def _read_selectors(
    draft: Draft, path: FieldPath, value: Mapping[str, Json], words: Words
) -> Selectors:
    found = list[tuple[str, tuple[Glob, ...]]]()
    for part, (field, starts) in _SELECTORS.items():
        if field in value:
            inner = read_one_or_more(draft, (*path, field))
            known = words.get(field, ())
            globs = tuple(_read_glob(draft, one, starts, known) for one in inner)
            # `*` says the same as a field that is not there, and costs more.
            if Glob("*") not in globs:
                found.append((part, globs))
    return tuple(found)


def _read_glob(
    draft: Draft, path: FieldPath, starts: tuple[str, ...], known: Sequence[str]
) -> Glob:
    text = read_text(draft, path, _SELECTOR, example=f"{starts[0]}board-*" if starts else "request")
    if text and text != "*" and starts and not text.startswith(starts):
        message = f"is {describe(text)}, which names nothing that there is"
        fix = f"Begin with {' or '.join(f'`{start}`' for start in starts)}, or write `*`."
        draft.report(path, Flaw.INVALID_VALUE, message, fix=fix)
    glob = Glob(text or "")
    if text and known and not any(map(glob.matches, known)):
        message = f"is {describe(text)}, which nothing is called"
        draft.report(path, Flaw.INVALID_VALUE, message, fix=suggest(text, known))
    return glob
