"""A policy is read to its end, and all that is wrong is told with its place and a way out."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.hours import Hours
from chassis.identity import PEOPLE
from chassis.problems import Flaw, Problem
from chassis.source import read_draft
from keymanager.errors import PolicyInvalid
from keymanager.identity.service import SERVICES
from keymanager.policy.document import BYTES_MAX, PACKAGED, RULES_MAX, default_policy, parse
from keymanager.policy.rule import Limit, Policy, Verdict
from keymanager.policy.words import WORDS
from keymanager.secret import Kind
from keymanager.using import kind_text
from tests.keymanager.uses.samples import OPERATIONS

from .broken import BROKEN
from .questions import ALLOW

FULL = """\
format: actionvm.policy/v1
rules:
  - name: transfers
    verdict: allow
    callers: [runtime]
    agents: [agents/trader, agents/market-*]
    secrets: secrets/wallet
    tenants: tenants/default
    kinds: secp256k1
    operations: [sign-transaction]
    purposes: request
    when:
      chain_id: 8453
      to: ["0xaa", "0xbb"]
      value: {at_most: "1000000000000000000"}
      path: {under: [/v2, /v3]}
      dry: false
    limits:
      - {uses: 20, per: day, each: agent}
      - {sum: value, at_most: "10000000000000000", per: 3600, each: {fact: to}}
    hours: {zone: Europe/Berlin, days: [monday, friday], from: "08:00", until: "18:00"}
    until: 2026-12-31T18:00:00+01:00
  - name: creation
    verdict: deny
    when: {to: {absent: true}}
"""


def _problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(PolicyInvalid) as raised:
        parse(text)
    return raised.value.problems


@pytest.mark.parametrize("broken", BROKEN, ids=[broken[0] for broken in BROKEN])
def test_a_broken_policy_has_exactly_its_problem(
    broken: tuple[str, str, Flaw, int, int, str],
) -> None:
    _, text, *expected = broken
    problems = _problems(text[1:] if text.startswith("=") else f"{ALLOW}{text}\n")

    assert [[one.code, one.line, one.column, one.field] for one in problems] == [expected]
    assert all(one.fix for one in problems)


@pytest.mark.parametrize("field", ["callers", "secrets", "operations", "purposes"])
@pytest.mark.parametrize("verdict", ["allow", "ask"])
def test_who_opens_something_says_for_whom_and_for_what(field: str, verdict: str) -> None:
    lines = ALLOW.replace("verdict: allow", f"verdict: {verdict}").splitlines()
    text = "\n".join(line for line in lines if f" {field}:" not in line)

    assert [(one.code, one.field, one.fix) for one in _problems(text)] == [
        (
            Flaw.MISSING_FIELD,
            f"rules[0].{field}",
            f'Add `{field}`, or `{field}: "*"` if every one is meant.',
        )
    ]


def test_all_problems_come_at_once_in_the_order_of_the_text() -> None:
    text = FULL.replace("20", "0").replace("8453", "1.5").replace("deny", "never")

    assert [(one.line, one.field) for one in _problems(text)] == [
        (13, "rules[0].when.chain_id"),
        (19, "rules[0].limits[0].uses"),
        (22, "rules[0].until"),
        (24, "rules[1].verdict"),
    ]


def test_the_error_names_the_first_problem_and_how_many_there_are() -> None:
    with pytest.raises(PolicyInvalid) as raised:
        parse(ALLOW + "    agent: a\n    secret: b\n")

    assert str(raised.value) == (
        "the policy has problems: 2; the first: policy:9:5: rules[0].agent: "
        "there is no field `agent` here"
    )


def test_a_mistyped_word_is_suggested() -> None:
    (problem,) = _problems(ALLOW + "  - {name: a, verdict: deny, operations: sign-digests}\n")

    assert problem.message == "is the text `sign-digests`, which nothing is called"
    assert problem.fix == "Did you mean `sign-digest`?"


def test_the_words_of_rules_are_those_that_there_are() -> None:
    assert set(WORDS["kinds"]) == set(map(kind_text, Kind))
    assert set(WORDS["operations"]) == {operation.name for operation in OPERATIONS}
    assert set(WORDS["callers"]) == SERVICES | PEOPLE


def test_a_mistyped_field_is_suggested() -> None:
    (problem,) = _problems(ALLOW + "    agent: agents/a\n")

    assert problem.fix == "Did you mean `agents`?"


def test_every_field_is_read() -> None:
    transfers, creation = parse(FULL).rules

    assert (transfers.name, transfers.verdict) == ("transfers", Verdict.ALLOW)
    assert [part for part, _ in transfers.selectors] == [
        "caller",
        "agent",
        "secret",
        "tenant",
        "kind",
        "operation",
        "purpose",
    ]
    assert [(name, str(condition)) for name, condition in transfers.conditions] == [
        ("chain_id", "8453"),
        ("to", "0xaa or 0xbb"),
        ("value", "at most 1000000000000000000"),
        ("path", "a path under /v2 or /v3"),
        ("dry", "false"),
    ]
    assert transfers.limits == (
        Limit(most=20, seconds=86_400, each="agent"),
        Limit(most=10**16, seconds=3_600, fact="value", each_fact="to"),
    )
    assert transfers.hours == Hours("Europe/Berlin", frozenset({0, 4}), 8 * 60, 18 * 60)
    assert transfers.until == datetime(2026, 12, 31, 17, tzinfo=UTC)
    assert [str(condition) for _, condition in creation.conditions] == ["absent"]


def test_json_is_the_same_policy() -> None:
    text = json.dumps(read_draft("policy", FULL.encode()).value)

    assert parse(text).rules == parse(FULL).rules


def test_a_policy_without_rules_is_one() -> None:
    assert parse("format: actionvm.policy/v1\nrules: []\n").rules == ()


def test_a_policy_over_its_limit_is_not_read() -> None:
    text = ALLOW + "#" * (BYTES_MAX - len(ALLOW))

    assert parse(text).rules
    assert [one.code for one in _problems(text + "#")] == [Flaw.OUT_OF_RANGE]


def test_more_rules_than_allowed_are_refused() -> None:
    rules = [{"name": f"r{number}", "verdict": "deny"} for number in range(RULES_MAX + 1)]
    text = json.dumps({"format": "actionvm.policy/v1", "rules": rules})

    assert [(one.code, one.field) for one in _problems(text)] == [(Flaw.OUT_OF_RANGE, "rules")]


def _parse_or_refuse(text: str) -> Policy | None:
    try:
        return parse(text)
    except PolicyInvalid as refusal:
        assert refusal.problems
        return None


_TOKENS = st.sampled_from(
    [
        "{}",
        "[]",
        "~",
        "*a",
        "&a",
        "!!x",
        "- ",
        ": ",
        "\n",
        "9" * 90,
        "1.5",
        "true",
        "'",
        "*",
        "24:00",
    ]
)


@settings(max_examples=300, derandomize=True)
@given(st.data())
def test_a_mutated_policy_is_one_or_has_problems(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([FULL, PACKAGED.read_text(encoding="utf-8")]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        text = text[:start] + data.draw(_TOKENS | st.text(max_size=4)) + text[end:]

    _parse_or_refuse(text)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["at_most", "at_least", "under", "absent", "uses", "sum", "per", "zone"]
            )
            | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
_FIELDS = ["name", "verdict", "callers", "secrets", "when", "limits", "hours", "until", "x"]


@settings(max_examples=300, derandomize=True)
@given(st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=5), st.sampled_from(Verdict))
def test_a_rule_of_anything_is_one_or_has_problems(
    rule: dict[str, object], verdict: Verdict
) -> None:
    whole = {"name": "a", "verdict": verdict.value, "when": {"a": 1}, **rule}

    _parse_or_refuse(json.dumps({"format": "actionvm.policy/v1", "rules": [whole]}))


def test_the_packaged_policy_is_valid() -> None:
    assert len(default_policy().rules) == 8
