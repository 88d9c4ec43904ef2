"""Decides about every call of a model, before any key or any gas is used.

Everything may tighten and nothing may loosen: of `approval`, the limits and all rules of an action,
the worst one counts. What was counted before is handed in; what a call adds is in the verdict, and
becomes durable together with the decision, or the decision does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from jsonschema.exceptions import best_match
from pydantic import JsonValue
from referencing.exceptions import Unresolvable

from .facts import ActionCall, Decision
from .jsontext import read_exact, read_json
from .program import ProgramAction
from .rules import Arguments, Objection, Use, WindowRule

_PROBLEM_CHARACTERS_MAX = 300


@dataclass(frozen=True)
class Verdict:
    """A decision, and the rule that made it; `uses` are counted if it is kept."""

    decision: Decision
    rule: str
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What a decision needs to know besides the call: the time, and what `Use.key` was used for.

    What is not in `used` was not used; whoever keeps the decision finds out if that is wrong.
    """

    now: datetime
    used: Mapping[str, int] = field(default_factory=dict)


def decide(
    call: ActionCall,
    action: ProgramAction | None,
    *,
    allowed_count: int,
    dry_run: bool,
    facts: Facts | None = None,
) -> Verdict:
    """Judge a call of `action`, of which `allowed_count` calls were allowed before in this run.

    Without facts, what has rules is denied.
    """
    if action is None:
        return Verdict(Decision.DENY, "not an action of this agent")
    if action.approval == "deny":
        return Verdict(Decision.DENY, "approval: deny")
    if not has_calls_left(action, allowed_count):
        return Verdict(Decision.DENY, f"per_run limit of {action.limits.per_run}")
    try:
        read_arguments(call, action)
    except ValueError as error:
        return Verdict(Decision.DENY, f"arguments: {error}"[:_PROBLEM_CHARACTERS_MAX])
    objections, uses = _apply_rules(call, action, facts) if action.policy else ([], [])
    if denial := next((one for one in objections if one.decision is Decision.DENY), None):
        return Verdict(Decision.DENY, str(denial))
    question = str(objections[0]) if objections else ""
    if action.approval == "ask":
        question = "approval: ask"
    # Another agent does run, dry like this one, and describes its own writes; so does code. Nobody
    # is asked about what does not happen, and nothing is counted.
    writes = action.effect == "write" and not action.agent_bundle and not action.code
    if dry_run and (question or writes):
        return Verdict(Decision.DRY_RUN, f"dry run, else: {question}" if question else "dry run")
    counted = () if dry_run else tuple(uses)
    if question:
        return Verdict(Decision.ASK, question, counted)
    return Verdict(Decision.ALLOW, "approval: allow", counted)


def _apply_rules(
    call: ActionCall, action: ProgramAction, facts: Facts | None
) -> tuple[list[Objection], list[Use]]:
    """Return what the rules mind about a call, and what it takes of their windows."""
    if facts is None:
        return [Objection(Decision.DENY, action.policy[0].name, "nobody knows the time")], []
    arguments = read_exact(call.arguments)
    assert isinstance(arguments, dict), "arguments are valid under the schema"
    objections, uses = list[Objection](), list[Use]()
    for rule in action.policy:
        if isinstance(rule, WindowRule):
            objection, use = _take(rule, action.name, arguments, facts)
            uses += [use] if use else []
        else:
            objection = rule.judge(arguments, facts.now)
        objections += [objection] if objection else []
    return objections, uses


def _take(
    rule: WindowRule, action: str, arguments: Arguments, facts: Facts
) -> tuple[Objection | None, Use | None]:
    """Return what a window minds, and what a call takes of it.

    Where a person decides beyond the limit, that counts as well: else what was used would be less
    than what happened.
    """
    use = rule.use(action, arguments, facts.now)
    if isinstance(use, Objection):
        return use, None
    assert use.most is not None, "a rule has a limit"
    if facts.used.get(use.key, 0) + use.amount <= use.most:
        return None, use
    return rule.objection(), replace(use, most=None)


def has_calls_left(action: ProgramAction, allowed_count: int) -> bool:
    """Tell whether another call fits into the limit of a run."""
    return action.limits.per_run == 0 or allowed_count < action.limits.per_run


def read_arguments(call: ActionCall, action: ProgramAction) -> Mapping[str, JsonValue]:
    """Return the arguments of a call, or raise `ValueError` with what is wrong with them.

    Not every provider keeps a model to the schema, so nothing is taken on trust.
    """
    arguments = read_json(call.arguments, is_unique=True)
    try:
        problem = best_match(action.parameters.iter_errors(arguments))
    except (Unresolvable, RecursionError) as error:
        raise ValueError("the parameters_schema refers to nowhere, or to itself") from error
    if problem is not None:
        raise ValueError(f"{problem.json_path}: {problem.message}")
    if not isinstance(arguments, dict):
        raise ValueError("$: is not an object")  # noqa: TRY004  # a value from outside, not a bug
    return arguments


def decided_arguments(call: ActionCall) -> Mapping[str, JsonValue]:
    """Return the arguments of a call that was let through: they were checked then."""
    arguments = read_json(call.arguments)
    assert isinstance(arguments, dict), "what is no object is denied"
    return arguments
