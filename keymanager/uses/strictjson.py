"""JSON as others sign it: one meaning, so no member twice and no deep nesting."""

from __future__ import annotations

import json
from typing import NoReturn, TypeAlias, cast

from chassis.errors import InvalidField

# What `parse_json` returns; lists and dicts are fresh, so a caller may not share them.
Value: TypeAlias = "dict[str, Value] | list[Value] | str | int | float | bool | None"

DEPTH_MAX = 32


def parse_json(field: str, content: bytes) -> Value:
    """Parse UTF-8 JSON; `InvalidField` repeats nothing of the content."""
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError):
        # UnicodeDecodeError and JSONDecodeError are a ValueError; both quote the content.
        raise InvalidField(field, "is no JSON, or has a member twice") from None
    if _depth(value) > DEPTH_MAX:
        raise InvalidField(field, f"is nested deeper than {DEPTH_MAX} levels")
    return cast("Value", value)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _depth(value: object) -> int:
    """Return how deep it is nested, or something above the limit; it does not recurse."""
    depth, level = 0, [value]
    while level and depth <= DEPTH_MAX:
        depth += 1
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return depth
