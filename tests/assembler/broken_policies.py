"""Manifests with a rule of a policy that is wrong: the rules, and what comes of them."""

from __future__ import annotations

from assembler.problems import Code
from chassis.problems import Flaw

from .broken import Broken
from .workbench import changed

# Stands before what the problem is at.
_MARK = "⟦"
_BEFORE = "    - {use: wallet.pay, "


def _broken(name: str, text: str, code: str, field: str) -> Broken:
    """Return a manifest with an action of which `text` is the rest."""
    line = f"{_BEFORE}{text}}}"
    column = line.index(_MARK) + 1
    old = "    - use: board.post"
    content = changed(old, f"{line.replace(_MARK, '')}\n{old}")
    return Broken(name, content, code, 14, column, f"spec.actions[1].{field}")


def _rule(name: str, rule: str, code: str, field: str = "") -> Broken:
    """Return a manifest with one rule that is wrong."""
    path = f"policy[0].{field}" if field else "policy[0]"
    return _broken(name, f"policy: [{rule}]", code, path)


_UNREACHABLE = Code.POLICY_UNREACHABLE
POLICIES = [
    _broken(
        "rules that deny decides",
        "approval: deny, policy: ⟦[{name: a, most: 1, per: day}]",
        _UNREACHABLE,
        "policy",
    ),
    _broken(
        "a rule twice",
        "policy: [{name: a, most: 1, per: day}, {name: ⟦a, most: 2, per: 24h}]",
        Flaw.DUPLICATE_ITEM,
        "policy[1].name",
    ),
    _broken("a policy that is none", "policy: ⟦allow", Flaw.WRONG_TYPE, "policy"),
    _rule("a rule without a name", "⟦{most: 1, per: day}", Flaw.MISSING_FIELD, "name"),
    _rule("a rule about nothing", "⟦{name: a, field: to}", Flaw.MISSING_FIELD),
    _rule("a rule with another name", "{name: ⟦A, most: 1, per: day}", Flaw.INVALID_VALUE, "name"),
    _rule("a field of no rule", "{name: a, ⟦mots: 1, per: day}", Flaw.UNKNOWN_FIELD, "mots"),
    _rule(
        "two kinds in one",
        "{name: a, most: 1, per: day, ⟦deny_above: 1}",
        Flaw.CONTRADICTION,
        "deny_above",
    ),
    _rule(
        "a bound that says what happens otherwise",
        "{name: a, field: amount, deny_above: 5, ⟦otherwise: ask}",
        Flaw.CONTRADICTION,
        "otherwise",
    ),
    _rule(
        "another outcome",
        "{name: a, most: 1, per: day, otherwise: ⟦allow}",
        Flaw.INVALID_VALUE,
        "otherwise",
    ),
    # Bounds.
    _rule("a bound of nothing", "⟦{name: a, deny_above: 5}", Flaw.MISSING_FIELD, "field"),
    _rule(
        "a bound of two",
        "{name: a, field: ⟦to, length_of: to, deny_above: 5}",
        Flaw.CONTRADICTION,
        "field",
    ),
    _rule(
        "a bound of an unknown field",
        "{name: a, field: ⟦amuont, deny_above: 5}",
        Code.POLICY_FIELD_UNKNOWN,
        "field",
    ),
    _rule(
        "a bound of an unknown part",
        "{name: a, length_of: ⟦order.text, deny_above: 9}",
        Code.POLICY_FIELD_UNKNOWN,
        "length_of",
    ),
    _rule(
        "a bound of a list",
        "{name: a, field: ⟦tags, deny_above: 5}",
        Code.POLICY_FIELD_UNFIT,
        "field",
    ),
    _rule(
        "the length of a number",
        "{name: a, length_of: ⟦amount, deny_above: 5}",
        Code.POLICY_FIELD_UNFIT,
        "length_of",
    ),
    _rule(
        "a field with a bad name",
        "{name: a, field: ⟦to/whom, deny_above: 5}",
        Flaw.INVALID_VALUE,
        "field",
    ),
    _rule(
        "a bound that is no number",
        "{name: a, field: amount, deny_above: ⟦much}",
        Flaw.INVALID_VALUE,
        "deny_above",
    ),
    _rule(
        "a bound with an exponent",
        '{name: a, field: wei, deny_above: ⟦"1e9"}',
        Flaw.INVALID_VALUE,
        "deny_above",
    ),
    _rule(
        "a bound of true",
        "{name: a, field: amount, deny_above: ⟦true}",
        Flaw.WRONG_TYPE,
        "deny_above",
    ),
    _rule(
        "asking above what is denied",
        "{name: a, field: wei, ask_above: ⟦10, deny_above: 9}",
        Flaw.CONTRADICTION,
        "ask_above",
    ),
    _rule(
        "asking above the same",
        "{name: a, field: amount, ask_above: ⟦10, deny_above: 10}",
        Flaw.CONTRADICTION,
        "ask_above",
    ),
    _rule(
        "asking below what is denied",
        "{name: a, field: wei, ask_below: ⟦1, deny_below: 2}",
        Flaw.CONTRADICTION,
        "ask_below",
    ),
    _rule(
        "asking above long numbers",
        f'{{name: a, field: wei, ask_above: ⟦"{10**30 + 1}", deny_above: "{10**30}"}}',
        Flaw.CONTRADICTION,
        "ask_above",
    ),
    _rule(
        "nothing between",
        "{name: a, field: wei, deny_below: ⟦10, deny_above: 9}",
        Flaw.CONTRADICTION,
        "deny_below",
    ),
    _rule(
        "a bound beyond the schema",
        "{name: a, field: amount, deny_above: ⟦1000}",
        _UNREACHABLE,
        "deny_above",
    ),
    _rule(
        "a length beyond the schema",
        "{name: a, length_of: to, ask_above: ⟦64}",
        _UNREACHABLE,
        "ask_above",
    ),
    _rule(
        "more items than the schema",
        "{name: a, length_of: tags, ask_above: ⟦4}",
        _UNREACHABLE,
        "ask_above",
    ),
    _rule("below the schema", "{name: a, field: amount, ask_below: ⟦1}", _UNREACHABLE, "ask_below"),
    _rule(
        "a bound that all are above",
        "{name: a, field: amount, deny_above: ⟦0.5}",
        Flaw.CONTRADICTION,
        "deny_above",
    ),
    _rule(
        "a length that all are above",
        "{name: a, length_of: order.note, deny_above: ⟦4}",
        Flaw.CONTRADICTION,
        "deny_above",
    ),
    _broken(
        "a bound that asks where all is asked",
        "approval: ask, policy: [⟦{name: a, field: wei, ask_above: 5}]",
        _UNREACHABLE,
        "policy[0]",
    ),
    _broken(
        "a window that asks where all is asked",
        "approval: ask, policy: [⟦{name: a, most: 5, per: day, otherwise: ask}]",
        _UNREACHABLE,
        "policy[0]",
    ),
    _rule(
        "a bound of what may be missing",
        "{name: a, length_of: ⟦memo, deny_above: 5}",
        Code.POLICY_FIELD_OPTIONAL,
        "length_of",
    ),
    # Lists.
    _rule("a list of nothing", "⟦{name: a, only: [x]}", Flaw.MISSING_FIELD, "field"),
    _rule("an empty list", "{name: a, field: to, only: ⟦[]}", Flaw.OUT_OF_RANGE, "only"),
    _rule("two lists", "{name: a, field: to, only: [x], never: ⟦[y]}", Flaw.CONTRADICTION, "never"),
    _rule(
        "a list of a list", "{name: a, field: ⟦tags, only: [x]}", Code.POLICY_FIELD_UNFIT, "field"
    ),
    _rule("a value twice", "{name: a, field: to, only: [x, ⟦x]}", Flaw.DUPLICATE_ITEM, "only[1]"),
    _rule(
        "a fraction in a list", "{name: a, field: to, never: [⟦1.5]}", Flaw.WRONG_TYPE, "never[0]"
    ),
    _rule("a mapping in a list", "{name: a, field: to, only: [⟦{}]}", Flaw.WRONG_TYPE, "only[0]"),
    _rule(
        "a long value", f"{{name: a, field: wei, only: [⟦{'x' * 257}]}}", Flaw.WRONG_TYPE, "only[0]"
    ),
    _rule(
        "a value of another type", "{name: a, field: amount, only: [⟦x]}", _UNREACHABLE, "only[0]"
    ),
    _rule(
        "a value that the schema lacks",
        "{name: a, field: currency, only: [EUR, ⟦GBP]}",
        _UNREACHABLE,
        "only[1]",
    ),
    _rule(
        "a pattern of what the schema lacks",
        '{name: a, field: currency, never: [⟦"G*"]}',
        _UNREACHABLE,
        "never[0]",
    ),
    _rule("all that there is", '{name: a, field: to, only: [⟦"*"]}', _UNREACHABLE, "only[0]"),
    # Windows.
    _rule("a window without an end", "⟦{name: a, most: 1}", Flaw.MISSING_FIELD, "per"),
    _rule("a window without a limit", "⟦{name: a, per: day}", Flaw.MISSING_FIELD, "most"),
    _rule("a window of nothing", "{name: a, most: ⟦0, per: day}", Flaw.OUT_OF_RANGE, "most"),
    _rule("half a call", "{name: a, most: ⟦1.5, per: day}", Flaw.INVALID_VALUE, "most"),
    _rule(
        "a long number of calls and a half",
        f'{{name: a, most: ⟦"{10**40}.5", per: day}}',
        Flaw.INVALID_VALUE,
        "most",
    ),
    _rule("a window of a week", "{name: a, most: 1, per: ⟦week}", Flaw.INVALID_VALUE, "per"),
    _rule("a long window", "{name: a, most: 1, per: ⟦32d}", Flaw.OUT_OF_RANGE, "per"),
    _rule(
        "a zone of Mars",
        "{name: a, most: 1, per: day, timezone: ⟦Mars/Base}",
        Flaw.INVALID_VALUE,
        "timezone",
    ),
    _rule(
        "a zone of what slides",
        "{name: a, most: 1, per: 24h, ⟦timezone: Europe/Berlin}",
        Flaw.CONTRADICTION,
        "timezone",
    ),
    _rule(
        "the sum of a list",
        "{name: a, most: 1, per: day, sum_of: ⟦tags}",
        Code.POLICY_FIELD_UNFIT,
        "sum_of",
    ),
    _rule(
        "each of an unknown field",
        "{name: a, most: 1, per: day, each: ⟦too}",
        Code.POLICY_FIELD_UNKNOWN,
        "each",
    ),
    # Hours.
    _rule(
        "never open",
        '{name: a, hours: ⟦{timezone: UTC, from: "08:00", until: "08:00"}}',
        Flaw.CONTRADICTION,
        "hours",
    ),
    _rule("always open", "{name: a, hours: ⟦{timezone: UTC}}", _UNREACHABLE, "hours"),
    _rule(
        "no days", "{name: a, hours: {timezone: UTC, days: ⟦[]}}", Flaw.OUT_OF_RANGE, "hours.days"
    ),
    _rule(
        "an unknown day",
        "{name: a, hours: {timezone: UTC, days: [⟦someday]}}",
        Flaw.INVALID_VALUE,
        "hours.days[0]",
    ),
    _rule(
        "an unknown hour",
        '{name: a, hours: {timezone: UTC, from: ⟦"25:00"}}',
        Flaw.INVALID_VALUE,
        "hours.from",
    ),
    _rule(
        "hours without a zone",
        '{name: a, ⟦hours: {from: "08:00"}}',
        Flaw.MISSING_FIELD,
        "hours.timezone",
    ),
]
