"""Decides about every call of a model, before any key or any gas is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jsonschema.exceptions import best_match
from pydantic import JsonValue
from referencing.exceptions import Unresolvable

from .facts import ActionCall, Decision
from .jsontext import read_json
from .program import ProgramAction

_PROBLEM_CHARACTERS_MAX = 300


@dataclass(frozen=True)
class Verdict:
    """A decision, and the rule that made it."""

    decision: Decision
    rule: str


def decide(
    call: ActionCall, action: ProgramAction | None, *, allowed_count: int, dry_run: bool
) -> Verdict:
    """Judge a call of `action`, of which `allowed_count` calls were allowed before in this run."""
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
    # Another agent does run, dry like this one, and describes its own writes.
    if dry_run and action.effect == "write" and not action.agent_bundle:
        return Verdict(Decision.DRY_RUN, "dry run")
    decision = Decision.ASK if action.approval == "ask" else Decision.ALLOW
    return Verdict(decision, f"approval: {action.approval}")


def has_calls_left(action: ProgramAction, allowed_count: int) -> bool:
    """Tell whether another call fits into the limit of a run."""
    return action.limits.per_run == 0 or allowed_count < action.limits.per_run


def read_arguments(call: ActionCall, action: ProgramAction) -> Mapping[str, JsonValue]:
    """Return the arguments of a call, or raise `ValueError` with what is wrong with them.

    Not every provider keeps a model to the schema, so nothing is taken on trust.
    """
    arguments = read_json(call.arguments)
    try:
        problem = best_match(action.parameters.iter_errors(arguments))
    except (Unresolvable, RecursionError) as error:
        raise ValueError("the parameters_schema refers to nowhere, or to itself") from error
    if problem is not None:
        raise ValueError(f"{problem.json_path}: {problem.message}")
    if not isinstance(arguments, dict):
        raise ValueError("$: is not an object")  # noqa: TRY004  # a value from outside, not a bug
    return arguments
