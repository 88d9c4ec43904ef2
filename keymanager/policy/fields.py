"""Reads fields of a draft, each in one way, and says what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from chassis.canonical import Json
from chassis.draft import Draft, FieldPath
from chassis.problems import Flaw, clip, describe, suggest

ITEMS_MAX = 256
# 2^256 has 78 digits.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,77})")


def read_mapping(
    draft: Draft, path: FieldPath, *, known: Iterable[str] = (), required: Iterable[str] = ()
) -> Mapping[str, Json]:
    """Return a mapping, empty if it is none; report fields it lacks, or does not have."""
    value = draft.get(path)
    if not isinstance(value, Mapping):
        message = f"is {describe(value)}; it must be a mapping"
        fix = f"Its fields are {', '.join(f'`{name}`' for name in known)}."
        draft.report(path, Flaw.WRONG_TYPE, message, fix=fix)
        return {}
    for name in value if known else ():
        if name not in known:
            inner = (*path, name)
            place = draft.key_place(inner)
            message = f"there is no field `{clip(name)}` here"
            draft.report(inner, Flaw.UNKNOWN_FIELD, message, fix=suggest(name, known), place=place)
    for name in required:
        if name not in value:
            draft.report((*path, name), Flaw.MISSING_FIELD, "is required", fix=f"Add `{name}`.")
    return value


def read_items(draft: Draft, path: FieldPath, *, count_max: int = ITEMS_MAX) -> list[FieldPath]:
    """Return the paths of the items of a list that is not empty."""
    value = draft.get(path)
    if not isinstance(value, list):
        message = f"is {describe(value)}; it must be a list"
        draft.report(path, Flaw.WRONG_TYPE, message, fix="Write `- ` before each item.")
        return []
    if not 1 <= len(value) <= count_max:
        message = f"has {len(value)} items; 1 to {count_max} are allowed"
        fix = "Leave the field out, or name fewer with the help of `*`."
        draft.report(path, Flaw.OUT_OF_RANGE, message, fix=fix)
        return []
    return draft.items(path)


def read_one_or_more(draft: Draft, path: FieldPath) -> list[FieldPath]:
    """Return the paths of the items of a list, or that of a value that stands for one."""
    return read_items(draft, path) if isinstance(draft.get(path), list) else [path]


def read_text(
    draft: Draft, path: FieldPath, pattern: re.Pattern[str], *, example: str
) -> str | None:
    """Return a text that all of a pattern matches, or None after saying why there is none."""
    value = draft.get(path)
    fix = f"Write it like `{example}`."
    if not isinstance(value, str):
        message = f"is {describe(value)}; it must be a text"
        draft.report(path, Flaw.WRONG_TYPE, message, fix=fix)
        return None
    if not pattern.fullmatch(value):
        message = f"is {describe(value)}, which is malformed"
        draft.report(path, Flaw.INVALID_VALUE, message, fix=fix)
        return None
    return value


def read_choice(draft: Draft, path: FieldPath, choices: Iterable[str]) -> str | None:
    """Return one of some words, or None after saying why there is none."""
    value = draft.get(path)
    if isinstance(value, str) and value in choices:
        return value
    code = Flaw.INVALID_VALUE if isinstance(value, str) else Flaw.WRONG_TYPE
    message = f"is {describe(value)}; it must be {' or '.join(f'`{name}`' for name in choices)}"
    fix = suggest(value, choices) if isinstance(value, str) else "Write one of these words."
    draft.report(path, code, message, fix=fix)
    return None


def read_integer(
    draft: Draft, path: FieldPath, *, least: int | None = None, most: int | None = None
) -> int | None:
    """Return an integer, also from a text of digits, or None after saying why there is none."""
    value = draft.get(path)
    fix = "Write a whole number; put one beyond 9007199254740991 in quotes."
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        message = f"is {describe(value)}; it must be a whole number of at most 78 digits"
        draft.report(path, Flaw.WRONG_TYPE, message, fix=fix)
        return None
    if (least is not None and value < least) or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        message = f"is {value}; it must be {bounds}"
        draft.report(path, Flaw.OUT_OF_RANGE, message, fix="Write a number that is allowed.")
        return None
    return value
