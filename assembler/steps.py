"""Checks the steps of a workflow: what they call, what they need, and whether they ever happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jsonschema import Draft202012Validator
from referencing import Registry

from chassis.canonical import Json
from chassis.draft import Draft, FieldPath
from chassis.expressions import Expression, ExpressionInvalid, is_true, read_expression
from chassis.problems import Flaw, Severity, clip, suggest

from .flows import check_flows
from .outputs import check_output
from .part import seconds_of
from .ports import KnownAction
from .problems import Code
from .workflow import BACKOFF_SECONDS_MAX, is_reference

STEPS: FieldPath = ("spec", "workflow", "steps")
OUTPUT: FieldPath = ("spec", "workflow", "output")
_FROM = "from"
# Of `steps.ID.output`.
_OUTPUT_INDEX = 2


def check_steps(
    draft: Draft, actions: Mapping[str, KnownAction], allowed: frozenset[str] | None
) -> None:
    """Report what is wrong with the steps of a draft; `actions` by what they are called there.

    They may name those that are `allowed`; if it is None, nobody knows which.
    """
    paths = draft.items(STEPS)
    ids = [draft.text((*path, "id")) for path in paths]
    for index, path in enumerate(paths):
        if ids[index] and ids[index] in ids[:index]:
            message = f"`{clip(ids[index])}` is also spec.workflow.steps[{ids.index(ids[index])}]"
            draft.report((*path, "id"), Flaw.DUPLICATE_ITEM, message, fix="Take another name.")
        _check_kind(draft, path, allowed)
        _check_shape(draft, path, allowed)
        _check_backoff(draft, path)
        _check_needs(draft, path, ids, index)
        for call in (path, (*path, "undo")):
            action = actions.get(draft.text((*call, "action")))
            if action:
                _check_arguments(draft, call, action)
    _check_expression(draft, OUTPUT, ids, ids)
    _check_limit(draft, paths)
    check_flows(draft, paths, OUTPUT, actions)


def _check_kind(draft: Draft, path: FieldPath, allowed: frozenset[str] | None) -> None:
    name = draft.text((*path, "action"))
    if bool(name) == bool(draft.text((*path, "model"))):
        message = "is to do both or nothing" if name else "does nothing"
        fix = "Say either `action:` or `model:`."
        draft.report(path, Code.STEP_EMPTY, message, fix=fix)
    elif name and allowed is not None and name not in allowed:
        message = f"`{clip(name)}` is not in spec.actions"
        fix = suggest(name, sorted(allowed)) or "Add it there."
        draft.report((*path, "action"), Code.ACTION_UNKNOWN, message, fix=fix)


def _check_shape(draft: Draft, path: FieldPath, allowed: frozenset[str] | None) -> None:
    """Report what does not go together in a step."""
    undoing = draft.text((*path, "undo", "action"))
    if undoing and allowed is not None and undoing not in allowed:
        message = f"`{clip(undoing)}` is not in spec.actions"
        fix = suggest(undoing, sorted(allowed)) or "Add it there."
        draft.report((*path, "undo", "action"), Code.ACTION_UNKNOWN, message, fix=fix)
    if draft.text((*path, "model")) and not draft.text((*path, "action")):
        has_output = (*path, "output") in draft.spots
        for name, fix in _OF_ACTIONS.items():
            if (*path, name) in draft.spots and not (name == "on_failure" and has_output):
                message = f"a step of the model has no `{name}`"
                draft.report((*path, name), Flaw.CONTRADICTION, message, fix=fix)
        if draft.text((*path, "on_failure", "backoff")):
            message = "an answer that does not fit is asked for again at once"
            draft.report((*path, "on_failure", "backoff"), Flaw.CONTRADICTION, message, fix=_REMOVE)
    check_output(draft, path)
    if (*path, "each") in draft.spots and (*path, "undo") in draft.spots:
        message = "what is done for each item cannot be undone here"
        fix = "Call an agent for each item, whose own workflow undoes it."
        draft.report((*path, "undo"), Flaw.CONTRADICTION, message, fix=fix)


_REMOVE = "Remove it."
# What only steps with an action have, and what to do instead.
_OF_ACTIONS = {
    "on_failure": "Add `output:`; `spec.model.fallbacks` are for models that do not answer.",
    "each": "Call an agent for each item instead.",
    "repeat": "Call an agent instead, and repeat that.",
    "undo": "Remove it: an answer of the model changes nothing outside.",
}


def _check_backoff(draft: Draft, path: FieldPath) -> None:
    """Report a wait that never comes, or that is longer than the run."""
    backoff = (*path, "on_failure", "backoff")
    retries = draft.get((*path, "on_failure", "retry"))
    if not draft.text(backoff):
        return
    if not isinstance(retries, int) or not retries:
        message, fix = "says nothing: it is not tried again", "Add `retry:`, or remove it."
        draft.report(backoff, Flaw.CONTRADICTION, message, fix=fix)
        return
    first = seconds_of(draft.text(backoff))
    waits = sum(min(first * 2**retry, BACKOFF_SECONDS_MAX) for retry in range(retries))
    # The default is the one of the manifest.
    timeout = draft.text(("spec", "limits", "timeout")) or "2m"
    if waits >= seconds_of(timeout):
        message = f"waits {waits}s before its last retry, and the run ends after {timeout}"
        fix = "Raise spec.limits.timeout, or retry less often or sooner."
        warning = Severity.WARNING
        draft.report(backoff, Code.STEP_LATE, message, fix=fix, severity=warning)


def _check_needs(draft: Draft, path: FieldPath, ids: Sequence[str], index: int) -> None:
    for needed in draft.items((*path, "after")):
        _check_step(draft, needed, draft.text(needed), ids, ids[:index])
    before, own = ids[:index], ids[: index + 1]
    condition = _check_expression(draft, (*path, "when"), ids, before)
    _check_expression(draft, (*path, "each"), ids, before)
    items = ("item", "index") if draft.text((*path, "each")) else ()
    _check_expression(draft, (*path, "repeat", "until"), ids, own, items)
    if condition and not condition.paths and not is_true(condition.of(None)):
        message = "never holds, so that the step is never reached"
        fix = "Use `input` or an earlier step in it, or remove the step."
        draft.report((*path, "when"), Code.STEP_NEVER, message, fix=fix)
    for call, known in ((path, before), ((*path, "undo"), own)):
        arguments = draft.get((*call, "with"))
        for name, value in arguments.items() if isinstance(arguments, Mapping) else ():
            if is_reference(value):
                _check_expression(draft, (*call, "with", name, _FROM), ids, known, items)


def _check_expression(
    draft: Draft,
    path: FieldPath,
    ids: Sequence[str],
    known: Sequence[str],
    more: Sequence[str] = (),
) -> Expression | None:
    """Report one that is none, or that is about more than `input`, `known` steps and `more`."""
    text = draft.text(path)
    if not text:
        return None
    try:
        expression = read_expression(text)
    except ExpressionInvalid as error:
        fix = "Write it as `input.topic`, `steps.fetch.output.passages[0].text` or `input > `3``."
        draft.report(path, Code.EXPRESSION_INVALID, str(error), fix=fix)
        return None
    for fields in expression.paths:
        if fields[0] == "steps" and fields[_OUTPUT_INDEX : _OUTPUT_INDEX + 1] == ("output",):
            _check_step(draft, path, fields[1], ids, known)
        elif fields[0] not in ("input", *more):
            message = f"`{clip('.'.join(fields))}` is nothing that a step can use"
            fix = "Begin with `input`, or with `steps.ID.output`."
            draft.report(path, Code.EXPRESSION_INVALID, message, fix=fix)
    return expression


def _check_step(
    draft: Draft, path: FieldPath, name: str, ids: Sequence[str], known: Sequence[str]
) -> None:
    """Report a step that is not before this one; so no steps wait for each other."""
    if not name or name in known:
        return
    if name in ids:
        message = f"`{clip(name)}` is not before this step"
        fix = "Move it up; steps that need each other would wait forever."
        draft.report(path, Code.STEP_CYCLE, message, fix=fix)
        return
    message = f"there is no step `{clip(name)}`"
    draft.report(path, Code.STEP_NOT_FOUND, message, fix=suggest(name, [*known]))


def _check_arguments(draft: Draft, path: FieldPath, action: KnownAction) -> None:
    """Report inputs that the action does not take; what comes from other steps is checked later."""
    given = draft.get((*path, "with")) or {}
    properties = action.parameters_schema.get("properties")
    if not isinstance(given, Mapping) or not isinstance(properties, Mapping):
        return
    required = action.parameters_schema.get("required")
    for name in required if isinstance(required, Sequence) else ():
        if name not in given:
            message = f"`{action.name}` needs `{clip(str(name))}`"
            fix = "Add it: a value, or `from:` with an expression."
            draft.report((*path, "with", str(name)), Code.STEP_ARGUMENT, message, fix=fix)
    for name, value in given.items():
        place = (*path, "with", name)
        if name not in properties:
            message = f"`{action.name}` takes no `{clip(name)}`"
            fix = suggest(name, list(properties))
            key = draft.key_place(place)
            draft.report(place, Code.STEP_ARGUMENT, message, fix=fix, place=key)
        elif not is_reference(value):
            _check_value(draft, place, value, properties[name])


def _check_value(draft: Draft, path: FieldPath, value: Json, schema: Json) -> None:
    if not isinstance(schema, Mapping):
        return
    # An empty registry, so that no reference of a schema is looked up outside.
    violation = next(Draft202012Validator(schema, registry=Registry()).iter_errors(value), None)
    if violation is not None:
        draft.report(path, Code.STEP_ARGUMENT, clip(violation.message, length_max=200))


def _check_limit(draft: Draft, paths: Sequence[FieldPath]) -> None:
    path: FieldPath = ("spec", "limits", "steps")
    count = 0
    for step in paths:
        retries = draft.get((*step, "on_failure", "retry"))
        if draft.text((*step, "model")):
            count += 1 + (retries if isinstance(retries, int) else 0)
    limit = draft.get(path)
    # The default is the one of the manifest.
    most = limit if isinstance(limit, int) else 8
    if count > most:
        message = f"the workflow asks the model up to {count} times, and {most} are allowed"
        draft.report(path, Flaw.CONTRADICTION, message, fix=f"Raise it to {count}.")
