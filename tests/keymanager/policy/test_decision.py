"""Denied unless a rule says otherwise; what is not known opens nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keymanager.policy.conditions import Fact, Match
from keymanager.policy.decision import decide, evaluate
from keymanager.policy.document import parse
from keymanager.policy.rule import Decision, Verdict

from .questions import ALLOW, NOON, QUESTION, ListedCounts, asking, decided

ADDRESS = "0xAbCdef0123456789abcdef0123456789ABCDEF01"
EMPTY = "format: actionvm.policy/v1\nrules: []\n"
DENY_VALUE = ALLOW + "  - {name: big, verdict: deny, when: {value: {at_least: 100}}}\n"
ASK = (
    '  - {name: big, verdict: ask, callers: "*", secrets: "*", operations: "*", purposes: "*",'
    " when: {value: {at_least: 100}}}\n"
)
ROGUE = (
    '  - {name: rogue, verdict: deny, callers: "*", secrets: "*", operations: "*", purposes: "*",'
    " agents: agents/rogue}\n"
)


def test_without_a_rule_everything_is_denied_by_default() -> None:
    assert decided(EMPTY) == Decision(Verdict.DENY, "default", "no rule allows it")


def test_a_rule_that_matches_allows_and_is_named() -> None:
    assert decided(ALLOW) == Decision(Verdict.ALLOW, "posts", "")


def test_the_first_rule_that_allows_is_named() -> None:
    second = ALLOW.partition("rules:\n")[2].replace("posts", "others")

    assert decided(ALLOW + second).rule == "posts"


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("caller", "linker"),
        ("secret", "keys/bundles"),
        ("purpose", "generation"),
        ("operation", "release"),
        ("agent", "agents/other"),
        ("tenant", "tenants/other"),
        ("kind", "ed25519"),
    ],
)
def test_another_subject_is_denied(part: str, other: str) -> None:
    policy = ALLOW + "    agents: agents/poster\n    tenants: tenants/def*\n    kinds: api-key\n"
    policy = policy.replace('operations: "*"', "operations: [oauth1]")

    assert decided(policy).verdict is Verdict.ALLOW
    assert decided(policy, asking(**{part: other})).rule == "default"


@pytest.mark.parametrize(
    ("verdict", "agent", "secret", "expected"),
    [
        ("deny", "agents/rogue", "secrets/a", Verdict.DENY),
        ("deny", "agents/poster", "secrets/a", Verdict.ALLOW),
        ("deny", "", "secrets/a", Verdict.DENY),
        ("deny", "", "keys/bundles", Verdict.ALLOW),
        ("ask", "agents/rogue", "secrets/a", Verdict.ASK),
        ("ask", "agents/poster", "secrets/a", Verdict.ALLOW),
        ("ask", "", "secrets/a", Verdict.ASK),
        ("ask", "", "keys/bundles", Verdict.ALLOW),
    ],
)
def test_who_names_no_agent_could_be_acting_for_any(
    verdict: str, agent: str, secret: str, expected: Verdict
) -> None:
    policy = ALLOW.replace("secrets/*", "'*'") + ROGUE.replace("deny", verdict)

    assert decided(policy, asking(agent=agent, secret=secret)).verdict is expected


def test_a_rule_about_agents_opens_nothing_for_who_names_none() -> None:
    policy = ALLOW + "    agents: agents/poster\n"
    ask = ASK.replace("when: {value: {at_least: 100}}", "agents: agents/poster")

    assert decided(policy, asking(agent="")).rule == "default"
    assert decided(EMPTY.replace(" []", f"\n{ask}"), asking(agent="")).rule == "default"


def test_a_denial_beats_an_ask_and_an_allowance() -> None:
    decision = decided(DENY_VALUE + ASK.replace("big", "ask"), asking({"value": 100}))

    assert decision == Decision(Verdict.DENY, "big", "rule big denies it")


def test_an_ask_beats_an_allowance() -> None:
    decision = decided(ALLOW + ASK, asking({"value": 100}))

    assert decision == Decision(Verdict.ASK, "big", "rule big asks a person")


def test_a_rule_that_denies_takes_a_missing_fact_for_the_worst() -> None:
    assert decided(DENY_VALUE, asking({"value": 99})).verdict is Verdict.ALLOW
    assert decided(DENY_VALUE, asking({})).rule == "big"


def test_a_rule_that_asks_asks_for_a_missing_fact_what_is_allowed_otherwise() -> None:
    assert decided(ALLOW + ASK, asking({})).verdict is Verdict.ASK


def test_a_rule_that_asks_does_not_open_what_is_denied_without_it() -> None:
    policy = EMPTY.replace("rules: []", f"rules:\n{ASK}")

    assert decided(policy, asking({"value": 100})).verdict is Verdict.ASK
    assert decided(policy, asking({})).rule == "default"


@pytest.mark.parametrize("facts", [{}, {"to": ADDRESS}, {"to": None}])
def test_a_rule_that_asks_for_absence_denies_what_is_absent(facts: dict[str, Fact]) -> None:
    policy = ALLOW + "  - {name: creation, verdict: deny, when: {to: {absent: true}}}\n"
    has_fact = facts.get("to") is not None

    assert (decided(policy, asking(facts)).verdict is Verdict.ALLOW) == has_fact


@pytest.mark.parametrize(
    ("condition", "fact", "match"),
    [
        ("7", 7, Match.YES),
        ("7", 8, Match.NO),
        ("1", True, Match.UNKNOWN),
        ("7", "7", Match.UNKNOWN),
        ("[7, 8]", 8, Match.YES),
        ("{at_least: 5}", 5, Match.YES),
        ("{at_least: 5}", 4, Match.NO),
        ("{at_most: 5}", 5, Match.YES),
        ("{at_most: 5}", 6, Match.NO),
        ("{at_most: '10000000000000000000000000000000'}", 10**31, Match.YES),
        ("{at_most: '10000000000000000000000000000000'}", 10**31 + 1, Match.NO),
        ("{at_most: 5}", "4", Match.UNKNOWN),
        ("{at_most: 5}", True, Match.UNKNOWN),
        ("true", True, Match.YES),
        ("true", False, Match.NO),
        ("true", 1, Match.UNKNOWN),
        ("api.example.com", "api.example.com", Match.YES),
        ("api.example.com", "API.example.com", Match.UNKNOWN),
        ("api.example.com", "api.example.com.evil.net", Match.NO),
        ("'*.example.com'", "a.b.example.com", Match.YES),
        ("'*.example.com'", "example.com", Match.NO),
        ("'a*b*c'", "a-b-b-c", Match.YES),
        ("'ab*ba'", "aba", Match.NO),
        ("[GET, POST]", "POST", Match.YES),
        ("''", "", Match.YES),
        ("''", None, Match.UNKNOWN),
        (f"'{ADDRESS}'", ADDRESS.lower(), Match.YES),
        (f"'{ADDRESS.lower()}'", ADDRESS, Match.YES),
        ("'0xA9059CBB*'", "0xa9059cbb0000", Match.YES),
        ("{under: /v2/posts}", "/v2/posts", Match.YES),
        ("{under: /v2/posts}", "/v2/posts/7", Match.YES),
        ("{under: /v2/posts/}", "/v2/posts", Match.YES),
        ("{under: /}", "/", Match.YES),
        ("{under: /v2/posts}", "/v2/postscript", Match.NO),
        ("{under: /v2/posts}", "/V2/posts", Match.UNKNOWN),
        ("{under: /v2}", "/v2/../admin", Match.UNKNOWN),
        ("{under: /v2}", "/v2/%2e%2e/admin", Match.UNKNOWN),
        ("{under: /v2}", "/v2//x", Match.UNKNOWN),
        ("{under: /v2}", "/v2/a%20b", Match.YES),
        ("{under: /v2}", 2, Match.UNKNOWN),
        ("'/v2/*'", "/v2/../admin", Match.UNKNOWN),
        ("/admin", "/x/../admin", Match.UNKNOWN),
    ],
)
def test_a_condition_knows_three_answers(condition: str, fact: Fact | None, match: Match) -> None:
    policy = parse(ALLOW + f"    when: {{fact: {condition}}}\n")
    question = asking({} if fact is None else {"fact": fact})

    assert policy.rules[0].judge(question) is match


def test_a_glob_of_many_stars_takes_no_time() -> None:
    policy = ALLOW + f"    when: {{path: '{'*a' * 500}b'}}\n"

    assert decided(policy, asking({"path": "a" * 100_000})).verdict is Verdict.DENY


def test_removing_a_fact_never_opens_anything() -> None:
    """Of all facts, over rules of each verdict and each sort of condition."""
    order = [Verdict.ALLOW, Verdict.ASK, Verdict.DENY]
    conditions = ["{value: {at_most: 5}}", "{to: x}", "{path: {under: /a}}", "{dry: false}"]
    rules = [ALLOW, *(f"    when: {one}\n" for one in conditions[:1]), ASK]
    policy = "".join(rules) + "".join(
        f"  - {{name: deny-{number}, verdict: deny, when: {one}}}\n"
        for number, one in enumerate(conditions[1:])
    )
    for facts in ({"value": v, "to": "y", "path": "/b", "dry": True} for v in (1, 6, 100)):
        whole = decided(policy, asking(facts)).verdict
        for name in facts:
            rest = {key: fact for key, fact in facts.items() if key != name}
            assert order.index(decided(policy, asking(rest)).verdict) >= order.index(whole)


# --- How often -----------------------------------------------------------------------------------


def _use(policy: str, counts: ListedCounts, *, at: int = 0, **facts: Fact) -> Decision:
    question = replace(QUESTION, facts=facts, time=NOON + timedelta(seconds=at))
    decision = decide(parse(policy), question, counts)
    counts.add(decision, question.time)
    return decision


def test_a_rule_that_is_used_up_does_not_allow_and_says_so() -> None:
    counts, policy = ListedCounts(), ALLOW + "    limits: [{uses: 2, per: day}]\n"
    for _ in range(2):
        assert _use(policy, counts).verdict is Verdict.ALLOW

    problem = "rule posts: 2 per day are used up"
    assert _use(policy, counts) == Decision(Verdict.DENY, "posts", problem)


@pytest.mark.parametrize(("seconds", "verdict"), [(59, Verdict.DENY), (60, Verdict.ALLOW)])
def test_a_window_slides(seconds: int, verdict: Verdict) -> None:
    counts, policy = ListedCounts(), ALLOW + "    limits: [{uses: 1, per: minute}]\n"
    _use(policy, counts)

    assert _use(policy, counts, at=seconds).verdict is verdict


def test_what_was_not_counted_uses_nothing_up() -> None:
    counts, policy = ListedCounts(), parse(ALLOW + "    limits: [{uses: 1, per: day}]\n")

    for _ in range(3):
        assert decide(policy, QUESTION, counts).verdict is Verdict.ALLOW


def test_another_rule_allows_what_one_has_used_up() -> None:
    counts = ListedCounts()
    second = ALLOW.partition("rules:\n")[2].replace("posts", "others")
    policy = ALLOW + "    limits: [{uses: 1, per: day}]\n" + second

    assert [_use(policy, counts).rule for _ in range(2)] == ["posts", "others"]


@pytest.mark.parametrize("each", ["agent", "secret"])
def test_a_limit_for_each_counts_each_by_itself(each: str) -> None:
    counts = ListedCounts()
    policy = parse(ALLOW + f"    limits: [{{uses: 1, per: day, each: {each}}}]\n")
    for name in ("agents/a", "agents/b") if each == "agent" else ("secrets/a", "secrets/b"):
        question = asking(**{each: name})
        decision = decide(policy, question, counts)
        counts.add(decision, question.time)
        assert decision.verdict is Verdict.ALLOW
        used_up = decide(policy, question, counts)
        assert used_up.problem == f"rule posts: 1 per day for each {each} are used up"


def test_a_sum_counts_amounts_without_bound() -> None:
    counts = ListedCounts()
    policy = ALLOW + f"    limits: [{{sum: value, at_most: '{10**30}', per: day}}]\n"

    assert _use(policy, counts, value=10**30 - 1).verdict is Verdict.ALLOW
    assert _use(policy, counts, value=2).problem == (
        f"rule posts: {10**30} of value per day are used up"
    )
    assert _use(policy, counts, value=1).verdict is Verdict.ALLOW


@pytest.mark.parametrize("facts", [{}, {"value": -5}, {"value": "5"}, {"value": True}])
def test_an_amount_that_cannot_be_summed_is_not_allowed(facts: dict[str, Fact]) -> None:
    policy = ALLOW + "    limits: [{sum: value, at_most: 10, per: day}]\n"
    decision = decided(policy, asking(facts))

    assert decision.verdict is Verdict.DENY
    assert "value is no number from 0 on" in decision.problem


def test_two_limits_on_the_same_count_it_once() -> None:
    policy = ALLOW + "    limits: [{uses: 2, per: minute}, {uses: 5, per: day}]\n"

    assert len(decided(policy).counts) == 1


def test_an_ask_that_is_used_up_denies_what_would_be_allowed() -> None:
    counts = ListedCounts()
    policy = ALLOW + ASK.replace("when:", "limits: [{uses: 1, per: day}], when:")

    assert _use(policy, counts, value=100).verdict is Verdict.ASK
    assert _use(policy, counts, value=100).problem == "rule big: 1 per day are used up"
    assert _use(policy, counts, value=1).verdict is Verdict.ALLOW


# --- The dry run ---------------------------------------------------------------------------------


def test_an_evaluation_explains_every_rule() -> None:
    policy = parse(
        DENY_VALUE
        + ASK.replace("big", "ask")
        + "  - {name: old, verdict: deny, until: '2020-01-01T00:00:00Z'}\n"
        + "  - {name: linker, verdict: deny, callers: linker}\n"
        + "  - {name: agents, verdict: deny, agents: agents/x}\n"
    )
    found = evaluate(policy, asking({"value": 7}), ListedCounts())

    assert found.decision == Decision(Verdict.ALLOW, "posts", "")
    assert [(one.rule, one.match, one.problem) for one in found.explanations] == [
        ("posts", Match.YES, ""),
        ("big", Match.NO, "value is 7; it must be at least 100"),
        ("ask", Match.NO, "value is 7; it must be at least 100"),
        ("old", Match.NO, "it is not in force at this time"),
        ("linker", Match.NO, "it is not about the caller runtime"),
        ("agents", Match.NO, "it is not about the agent agents/poster"),
    ]


def test_an_explanation_says_that_no_agent_is_named() -> None:
    found = evaluate(parse(ALLOW + ROGUE), asking(agent=""), ListedCounts())

    assert found.explanations[1].match is Match.UNKNOWN
    assert found.explanations[1].problem == "no agent is named, and it could be one of these"


def test_an_explanation_says_what_is_missing() -> None:
    found = evaluate(parse(DENY_VALUE), QUESTION, ListedCounts())

    assert found.decision.rule == "big"
    assert found.explanations[1].match is Match.UNKNOWN
    assert found.explanations[1].problem == "value is missing; it cannot be told to be at least 100"


def test_an_explanation_says_what_is_used_up() -> None:
    counts, policy = ListedCounts(), ALLOW + "    limits: [{uses: 1, per: 90}]\n"
    _use(policy, counts)
    found = evaluate(parse(policy), QUESTION, counts)

    assert found.explanations[0].match is Match.YES
    assert found.explanations[0].problem == "1 per 90 seconds are used up"


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("[1, 2]", "1 or 2"),
        ("{at_least: 1, at_most: 2}", "at least 1 and at most 2"),
        ("true", "true"),
        ("[a, b*]", "a or b*"),
        ("{under: [/a, /b]}", "a path under /a or /b"),
    ],
)
def test_a_condition_is_explained_as_it_was_written(condition: str, text: str) -> None:
    policy = parse(ALLOW + f"    when: {{fact: {condition}}}\n")
    found = evaluate(policy, QUESTION, ListedCounts())

    assert found.explanations[0].problem == f"fact is missing; it cannot be told to be {text}"
