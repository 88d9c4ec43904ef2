"""Checks the policies of actions: that each rule can be kept and broken, and fits the arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from operator import ge, le

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from chassis.canonical import Json
from chassis.draft import Draft, FieldPath
from chassis.glob import Glob
from chassis.hours import DAYS
from chassis.problems import Flaw, Severity, clip, describe, suggest

from .ports import KnownAction
from .problems import Code
from .rules import BOUNDS, PERIODS

# What tells the kinds of rules apart, and what else belongs to each.
_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hours": (("hours",), ("otherwise",)),
    "list": (("only", "never"), ("field", "otherwise")),
    "window": (("most", "per"), ("timezone", "sum_of", "each", "otherwise")),
    "bound": (BOUNDS, ("field", "length_of")),
}
_SCALARS = frozenset({"string", "integer", "boolean"})
_NUMBERS = frozenset({"number", "integer", "string"})
_LENGTHS = {"string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")}
_CHOICE_CHARACTERS_MAX = 256


def check_policy(draft: Draft, action_path: FieldPath, action: KnownAction) -> None:
    """Report every rule of an action that says nothing, or not what its author means."""
    policy, approval = (*action_path, "policy"), draft.text((*action_path, "approval"))
    rules = draft.items(policy)
    if rules and approval == "deny":
        message = "never decides: the action is denied anyway"
        fix = "Remove it, or `approval: deny`."
        draft.report(policy, Code.POLICY_UNREACHABLE, message, fix=fix)
        return
    seen: set[str] = set()
    for path in rules:
        name = draft.text((*path, "name"))
        if name in seen:
            message = f"the name `{name}` comes twice"
            fix = "Give each rule a name of its own: decisions and counts name it."
            draft.report((*path, "name"), Flaw.DUPLICATE_ITEM, message, fix=fix)
        seen.add(name)
        if isinstance(draft.get(path), Mapping):
            _check_rule(draft, path, action, asks_anyway=approval == "ask")


def _check_rule(draft: Draft, path: FieldPath, action: KnownAction, *, asks_anyway: bool) -> None:
    present = [str(spot[-1]) for spot in draft.spots if spot[:-1] == path and spot != path]
    if not {*present} <= {"name", *(name for one, two in _FIELDS for name in one + two)}:
        return  # reported with the structure of the manifest
    kind = next((kind for kind, (own, _) in _KINDS.items() if {*own} & {*present}), "")
    if not kind:
        message = "says nothing that a call could break"
        fix = "Add bounds such as `deny_above`, a list `only`, a window `most` … `per`, or `hours`."
        draft.report(path, Flaw.MISSING_FIELD, message, fix=fix)
        return
    own, others = _KINDS[kind]
    for name in present:
        if name not in {"name", *own, *others}:
            message = f"does not belong to a rule with `{next(n for n in own if n in present)}`"
            fix = "Make it a rule of its own, or remove it."
            where = (*path, name)
            place = draft.key_place(where)
            draft.report(where, Flaw.CONTRADICTION, message, fix=fix, place=place)
    _CHECKS[kind](draft, path, action)
    can_only_ask = draft.text((*path, "otherwise")) == "ask" or (
        kind == "bound" and not {"deny_above", "deny_below"} & {*present}
    )
    if asks_anyway and can_only_ask:
        message = "changes nothing: a person is asked anyway"
        fix = "Remove it, or `approval: ask`."
        draft.report(path, Code.POLICY_UNREACHABLE, message, fix=fix)

    for name in ("field", "length_of", "sum_of", "each"):
        field = draft.text((*path, name))
        if field and _is_optional(field, action):
            message = f"`{field}` may be missing; a call without it has broken the rule"
            fix = "Tell the agent to say it always."
            where = (*path, name)
            warning = Severity.WARNING
            draft.report(where, Code.POLICY_FIELD_OPTIONAL, message, fix=fix, severity=warning)


_FIELDS = tuple(_KINDS.values())


def _check_bound(draft: Draft, path: FieldPath, action: KnownAction) -> None:
    is_length = (*path, "length_of") in draft.spots
    if is_length and (*path, "field") in draft.spots:
        message, fix = "a rule has one of `field` and `length_of`", "Make two rules of it."
        draft.report((*path, "field"), Flaw.CONTRADICTION, message, fix=fix)
        return
    where = (*path, "length_of" if is_length else "field")
    schema = _field_schema(draft, where, action, _LENGTHS.keys() if is_length else _NUMBERS)
    least, most = _range(schema, is_length=is_length)
    bounds = {name: _number(draft, (*path, name)) for name in BOUNDS}
    for side, goes_beyond, near, far in (("above", ge, least, most), ("below", le, most, least)):
        ask, deny = bounds[f"ask_{side}"], bounds[f"deny_{side}"]
        ask_path, deny_path = (*path, f"ask_{side}"), (*path, f"deny_{side}")
        if ask is not None and deny is not None and goes_beyond(ask, deny):
            message = f"nobody is ever asked: {side} {deny} it is denied"
            fix = f"Ask {side} a number that is {'less' if side == 'above' else 'more'} than that."
            draft.report(ask_path, Flaw.CONTRADICTION, message, fix=fix)
        for bound, bound_path in ((ask, ask_path), (deny, deny_path)):
            if bound is not None and far is not None and goes_beyond(bound, far):
                message = f"is never reached: `{draft.text(where)}` goes to {far}"
                fix = "Remove it, or write a bound within."
                draft.report(bound_path, Code.POLICY_UNREACHABLE, message, fix=fix)
        if deny is not None and near is not None and not goes_beyond(deny, near):
            message = f"denies every call: `{draft.text(where)}` begins at {near}"
            draft.report(deny_path, Flaw.CONTRADICTION, message, fix="Write `approval: deny`.")
    low, high = bounds["deny_below"], bounds["deny_above"]
    if low is not None and high is not None and low > high:
        message, fix = f"denies every call, with `deny_above: {high}`", "Swap them."
        draft.report((*path, "deny_below"), Flaw.CONTRADICTION, message, fix=fix)


def _check_list(draft: Draft, path: FieldPath, action: KnownAction) -> None:
    if all((*path, name) in draft.spots for name in ("only", "never")):
        message, fix = "a rule has one of `only` and `never`", "Make two rules of it."
        draft.report((*path, "never"), Flaw.CONTRADICTION, message, fix=fix)
        return
    schema = _field_schema(draft, (*path, "field"), action, _SCALARS)
    for name in ("only", "never"):
        seen = list[Json]()
        for item in draft.items((*path, name)):
            value = draft.get(item)
            if any(type(one) is type(value) and one == value for one in seen):
                draft.report(item, Flaw.DUPLICATE_ITEM, "comes twice", fix="Remove one of them.")
            elif problem := _unlistable(value):
                draft.report(item, Flaw.WRONG_TYPE, problem, fix="Write a text or whole number.")
            elif schema is not None and not _can_be(value, schema, is_exact=name == "only"):
                message = f"`{draft.text((*path, 'field'))}` is never {describe(value)}"
                fix = "Remove it, or write a value that the schema of the action allows."
                draft.report(item, Code.POLICY_UNREACHABLE, message, fix=fix)
            elif value == "*":
                message = "stands for every text"
                fix = "Remove the rule." if name == "only" else "Write `approval: deny`."
                draft.report(item, Code.POLICY_UNREACHABLE, message, fix=fix)
            seen.append(value)


def _check_window(draft: Draft, path: FieldPath, action: KnownAction) -> None:
    for name, example in (("most", "10"), ("per", "day")):
        where = (*path, name)
        if where not in draft.spots:
            fix = f"Add it, such as `{name}: {example}`."
            draft.report(where, Flaw.MISSING_FIELD, f"a window needs `{name}`", fix=fix)
    sum_of, each, most = (*path, "sum_of"), (*path, "each"), (*path, "most")
    if sum_of in draft.spots:
        _field_schema(draft, sum_of, action, _NUMBERS)
    if each in draft.spots:
        _field_schema(draft, each, action, _SCALARS)
    number = _number(draft, most)
    if number is not None and number <= 0:
        message, fix = f"is {number}, which allows nothing", "Write `approval: deny` instead."
        draft.report(most, Flaw.OUT_OF_RANGE, message, fix=fix)
    elif number is not None and sum_of not in draft.spots and number != number.to_integral_value():
        message = f"is {number}; calls are counted in whole numbers"
        fix = "Round it, or add `sum_of`."
        draft.report(most, Flaw.INVALID_VALUE, message, fix=fix)
    per, zone = draft.text((*path, "per")), (*path, "timezone")
    if per and per not in PERIODS and zone in draft.spots:
        message = f"says nothing: the last {per} are the same everywhere"
        fix = "Remove it, or write `per: day`, which begins at midnight."
        place = draft.key_place(zone)
        draft.report(zone, Flaw.CONTRADICTION, message, fix=fix, place=place)


def _check_hours(draft: Draft, path: FieldPath, _action: KnownAction) -> None:
    where = (*path, "hours")
    hours = draft.get(where)
    if not isinstance(hours, Mapping):
        return
    start, end = hours.get("from", "00:00"), hours.get("until", "24:00")
    days = hours.get("days", DAYS)
    if start == end:
        fix = "Leave out `from` and `until` for the whole day."
        draft.report(where, Flaw.CONTRADICTION, "is never open: it ends as it begins", fix=fix)
    elif (
        (start, end) == ("00:00", "24:00")
        and isinstance(days, list | tuple)
        and {*DAYS} <= {day for day in days if isinstance(day, str)}
    ):
        message, fix = "is always open", "Remove the rule, or write `days`, or `from` and `until`."
        draft.report(where, Code.POLICY_UNREACHABLE, message, fix=fix)


_CHECKS = {
    "hours": _check_hours,
    "list": _check_list,
    "window": _check_window,
    "bound": _check_bound,
}


def _field_schema(
    draft: Draft, where: FieldPath, action: KnownAction, fitting: Collection[str]
) -> Mapping[str, Json] | None:
    """Return the schema of a field of the arguments; report why a rule cannot be about it."""
    field = draft.text(where)
    if where not in draft.spots:
        message, fix = f"the rule needs `{where[-1]}`", "Name a field of the arguments."
        draft.report(where, Flaw.MISSING_FIELD, message, fix=fix)
    if not field:
        return None
    found: Mapping[str, Json] = action.parameters_schema
    for part in field.split("."):
        known = _mapping(found.get("properties"))
        if part not in known:
            message = f"`{action.name}` takes no `{clip(field)}`"
            fix = suggest(part, known) or "Its arguments have no fields that a rule could name."
            draft.report(where, Code.POLICY_FIELD_UNKNOWN, message, fix=fix)
            return None
        found = _mapping(known[part])
    types = _types(found)
    if types and not types & {*fitting}:
        message = f"`{clip(field)}` of `{action.name}` is {' or '.join(sorted(types))}"
        fix = f"Name a field that is {' or '.join(sorted(fitting))}."
        draft.report(where, Code.POLICY_FIELD_UNFIT, message, fix=fix)
        return None
    return found


def _is_optional(field: str, action: KnownAction) -> bool:
    """Tell whether arguments may lack a field that a schema has."""
    schema: Mapping[str, Json] = action.parameters_schema
    for part in field.split("."):
        required = schema.get("required")
        if not isinstance(required, list | tuple) or part not in required:
            return True
        schema = _mapping(_mapping(schema.get("properties")).get(part))
    return False


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _types(schema: Mapping[str, Json]) -> frozenset[str]:
    """Return the types that a schema names; none if it leaves them open."""
    named = schema.get("type")
    names = [named] if isinstance(named, str) else named if isinstance(named, list | tuple) else []
    return frozenset(str(name) for name in names)


def _range(
    schema: Mapping[str, Json] | None, *, is_length: bool
) -> tuple[Decimal | None, Decimal | None]:
    """Return the least and the greatest number that a schema lets through, as far as it says."""
    if schema is None:
        return None, None
    names: tuple[str, str] | None = ("minimum", "maximum")
    types = _types(schema)
    if is_length:
        names = next((names for name, names in _LENGTHS.items() if types == {name}), None)
    elif types not in ({"number"}, {"integer"}):
        names = None
    if names is None:
        return None, None
    least, most = (_decimal(schema.get(name)) for name in names)
    return Decimal(0) if is_length and least is None else least, most


def _decimal(value: Json) -> Decimal | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Decimal(repr(value)) if is_number else None


def _number(draft: Draft, path: FieldPath) -> Decimal | None:
    """Return a number that the structure of the manifest has let through."""
    value = draft.get(path)
    return Decimal(value) if isinstance(value, str) else _decimal(value)


def _unlistable(value: Json) -> str:
    if not isinstance(value, str | int):
        return f"is {describe(value)}; it must be a text, a whole number, true or false"
    if isinstance(value, str) and len(value) > _CHOICE_CHARACTERS_MAX:
        return f"is too long; at most {_CHOICE_CHARACTERS_MAX} characters are allowed"
    return ""


def _can_be(value: Json, schema: Mapping[str, Json], *, is_exact: bool) -> bool:
    """Tell whether arguments can have a value, or one that a pattern stands for."""
    types, choices = _types(schema), schema.get("enum")
    if isinstance(value, str) and ("*" in value or not is_exact):
        if isinstance(choices, list | tuple):
            glob = Glob(value.casefold())
            return any(isinstance(one, str) and glob.matches(one.casefold()) for one in choices)
        return not types or "string" in types
    try:
        # An empty registry, so that no reference of a schema is looked up outside.
        return bool(Draft202012Validator(schema, registry=Registry()).is_valid(value))
    except Unresolvable:
        return True
