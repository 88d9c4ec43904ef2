"""Checks the fields of a draft, all at once, and says in plain words what is wrong with them."""

from __future__ import annotations

import difflib
from types import NoneType
from typing import TypeGuard, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from chassis.canonical import Json
from chassis.draft import Draft, FieldPath, format_path
from chassis.problems import Flaw, clip, describe, suggest

from .manifest import Manifest
from .problems import Code

_CODES = frozenset({*Code, *Flaw})
# Pydantic's names of what is wrong; what is not here is an `INVALID_VALUE` in pydantic's words.
_TYPES = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_type": "a text",
}
_RANGES = {
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
}
_LENGTHS = {
    "string_too_long": "is too long; at most {max_length} characters are allowed",
    "string_too_short": "is empty",
    "too_short": "has {actual_length} items; at least {min_length} is needed",
    "too_long": "has {actual_length} items; at most {max_length} are allowed",
}


def check_structure(draft: Draft) -> Manifest | None:
    """Return the manifest if all its fields are right by themselves; else report each problem."""
    try:
        manifest = Manifest.model_validate(draft.value)
    except ValidationError as error:
        manifest = None
        for details in error.errors(include_url=False):
            _report(draft, details)
    for path in draft.items(("spec", "actions")):
        _check_action(draft, path)
    return manifest


def _check_action(draft: Draft, path: FieldPath) -> None:
    """Report what does not go together in an action."""
    use, source = ((*path, name) for name in ("use", "source"))
    if source not in draft.spots and use not in draft.spots:
        message, fix = f"{format_path(path)} lacks `use`", _advice(_field_info(use))
        draft.report(use, Flaw.MISSING_FIELD, message, fix=f"Add it: {fix}")
    elif source in draft.spots and use in draft.spots:
        message = "an action is named, or it has code of its own"
        draft.report(source, Flaw.CONTRADICTION, message, fix="Remove `use:` or `source:`.")
    else:
        is_code = source in draft.spots
        kind, fix = _OF_CALLS if is_code else _OF_CODE
        for name in kind:
            where = (*path, name)
            if where in draft.spots:
                message = "does not belong to " + ("code" if is_code else "an action without code")
                place = draft.key_place(where)
                draft.report(where, Flaw.CONTRADICTION, message, fix=fix, place=place)


# What only one kind of action has, and what to do where the other one has it.
_OF_CALLS = (("credential", "settings"), "Move it to the grant of what uses it.")
_OF_CODE = (("function", "packages", "grants", "compute"), "Remove it, or add `source:`.")


def _report(draft: Draft, details: ErrorDetails) -> None:
    # Pydantic appends this to the path when a key of a mapping is wrong.
    path = tuple(part for part in details["loc"] if part != "[key]")
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    info = _field_info(path)
    fix = _advice(info)
    if kind == "extra_forbidden":
        owner = format_path(path[:-1]) or "a manifest"
        message = f"{owner} has no field `{clip(str(path[-1]))}`"
        fix = suggest(str(path[-1]), _fields(path[:-1]))
        draft.report(path, Flaw.UNKNOWN_FIELD, message, fix=fix, place=draft.key_place(path))
    elif kind == "missing":
        owner = format_path(path[:-1]) or "the manifest"
        message = f"{owner} lacks `{path[-1]}`"
        draft.report(path, Flaw.MISSING_FIELD, message, fix=f"Add it: {fix}" if fix else "")
    elif kind in _TYPES:
        message = f"is {describe(value)}; it must be {_TYPES[kind]}"
        draft.report(path, Flaw.WRONG_TYPE, message, fix=fix)
    elif kind in _RANGES:
        message = f"is {value}; {_RANGES[kind].format(**context)}"
        draft.report(path, Flaw.OUT_OF_RANGE, message, fix=fix)
    elif kind in _LENGTHS:
        draft.report(path, Flaw.OUT_OF_RANGE, _LENGTHS[kind].format(**context), fix=fix)
    elif kind == "literal_error":
        _report_choice(draft, path, value, info)
    elif kind == "string_pattern_mismatch":
        message = f"is {describe(value)}, which is malformed"
        draft.report(path, Flaw.INVALID_VALUE, message, fix=fix)
    elif kind in _CODES:
        draft.report(path, kind, details["msg"], fix=_way_out(kind, fix))
    else:
        draft.report(path, Flaw.INVALID_VALUE, details["msg"], fix=fix)


def _report_choice(draft: Draft, path: FieldPath, value: Json, info: FieldInfo | None) -> None:
    choices = [str(choice) for choice in get_args(info.annotation)] if info else []
    allowed = " or ".join(", ".join(f"`{name}`" for name in choices).rsplit(", ", 1))
    message = f"is {describe(value)}; it must be {allowed}"
    code = Flaw.INVALID_VALUE if isinstance(value, str) else Flaw.WRONG_TYPE
    close = difflib.get_close_matches(clip(str(value)), choices, n=1)
    fix = f"Did you mean `{close[0]}`?" if close else _advice(info)
    draft.report(path, code, message, fix=fix)


def _way_out(code: str, advice: str) -> str:
    return "Remove it for now." if code == Code.NOT_SUPPORTED_YET else advice


def _advice(info: FieldInfo | None) -> str:
    if info is None or not info.description:
        return ""
    text = f"{info.description[0].upper()}{info.description[1:]}"
    if not info.examples:
        return f"{text}."
    example = yaml.safe_dump(info.examples[0], default_flow_style=True, sort_keys=False)
    return f"{text}, such as `{example.partition(chr(10))[0]}`."


def _fields(path: FieldPath) -> list[str]:
    """Return the fields that the mapping at a path may have."""
    model = _annotation(path)
    return list(_by_name(model)) if _is_model(model) else []


def _field_info(path: FieldPath) -> FieldInfo | None:
    """Return what the manifest says about a field; of an item, about its list."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    model = _annotation(path[:-1]) if path else None
    return _by_name(model).get(str(path[-1])) if _is_model(model) else None


def _annotation(path: FieldPath) -> object:
    """Return the type of the value at a path."""
    kind: object = Manifest
    for part in path:
        if _is_model(kind):
            info = _by_name(kind).get(str(part))
            kind = _without_none(info.annotation) if info else None
        else:
            # The items of a list or of a mapping.
            kind = (get_args(kind) or (None,))[-1]
    return kind


def _without_none(kind: object) -> object:
    """Return the type of a field that may be left out."""
    kinds = get_args(kind)
    return kinds[0] if NoneType in kinds else kind


def _is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _by_name(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in model.model_fields.items()}
