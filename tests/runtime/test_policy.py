"""The table of policy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.facts import ActionCall, Decision
from runtime.policy import decide
from runtime.program import ProgramAction
from tests.runtime.worlds import POST, SEARCH, program, with_actions

TEXT = '{"text": "Ether gained."}'


def _action(action: dict[str, Any], **change: object) -> ProgramAction:
    return program(with_actions({**action, "required": False, **change})).actions[0]


@pytest.mark.parametrize(
    ("action", "arguments", "allowed_count", "dry_run", "decision", "rule"),
    [
        (_action(POST), TEXT, 0, False, Decision.ALLOW, "approval: allow"),
        (_action(POST), TEXT, 1, False, Decision.DENY, "per_run limit of 1"),
        (_action(POST, limits={}), TEXT, 999, False, Decision.ALLOW, "approval: allow"),
        (_action(POST, limits={"per_run": 0}), TEXT, 999, False, Decision.ALLOW, "approval"),
        (_action(POST, approval="deny"), TEXT, 0, False, Decision.DENY, "approval: deny"),
        (_action(POST, approval="deny"), TEXT, 0, True, Decision.DENY, "approval: deny"),
        (_action(POST), TEXT, 0, True, Decision.DRY_RUN, "dry run"),
        (_action(POST), TEXT, 1, True, Decision.DENY, "per_run limit of 1"),
        (_action(POST), "{}", 0, True, Decision.DENY, "'text' is a required property"),
        (_action(SEARCH), '{"query": "a"}', 0, True, Decision.ALLOW, "approval: allow"),
        (_action(POST), "{", 0, False, Decision.DENY, "arguments: "),
        (_action(POST), "[]", 0, False, Decision.DENY, "arguments: "),
        (_action(POST), '{"text": ""}', 0, False, Decision.DENY, "arguments: $.text"),
        (_action(POST), '{"text": NaN}', 0, False, Decision.DENY, "contains NaN"),
        (_action(POST), r'{"text": "\ud800"}', 0, False, Decision.DENY, "surrogate"),
        (_action(POST), '{"text": "a", "to": "b"}', 0, False, Decision.DENY, "'to' was unexpected"),
        (_action(POST), "[" * 100_000, 0, False, Decision.DENY, "nested too deeply"),
        (_action(POST, parameters_schema={}), "1", 0, False, Decision.DENY, "not an object"),
        (None, TEXT, 0, False, Decision.DENY, "not an action of this agent"),
    ],
)
def test_policy_decides(
    action: ProgramAction | None,
    arguments: str,
    *,
    allowed_count: int,
    dry_run: bool,
    decision: Decision,
    rule: str,
) -> None:
    call = ActionCall("step-1-1", "board.post", arguments)
    verdict = decide(call, action, allowed_count=allowed_count, dry_run=dry_run)
    assert verdict.decision == decision
    assert rule in verdict.rule


@pytest.mark.parametrize("reference", ["http://127.0.0.1:1/schema", "#", "#/nowhere"])
def test_a_schema_that_refers_elsewhere_denies_and_fetches_nothing(reference: str) -> None:
    action = _action(POST, parameters_schema={"$ref": reference})
    call = ActionCall("step-1-1", "board.post", TEXT)
    verdict = decide(call, action, allowed_count=0, dry_run=False)
    assert verdict.decision == Decision.DENY


@given(st.text() | st.recursive(st.none() | st.text(), st.lists, max_leaves=3).map(json.dumps))
def test_nothing_that_a_model_writes_breaks_policy(arguments: str) -> None:
    call = ActionCall("step-1-1", "board.post", arguments)
    verdict = decide(call, _action(POST), allowed_count=0, dry_run=False)
    assert verdict.decision == Decision.DENY
