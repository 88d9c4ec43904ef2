"""JSON Schemas that strangers may write: a part of the language whose check always ends soon.

No patterns and no formats, which can take forever; no references, which can have no end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .canonical import Json
from .problems import clip, describe, suggest

# Of objects and lists inside each other.
SCHEMA_DEPTH_MAX = 8
# Schemas in a schema, itself among them.
SCHEMA_PARTS_MAX = 256
SCHEMA_CHOICES_MAX = 64
SCHEMA_TEXT_CHARACTERS_MAX = 1_024
_LENGTH_MAX = 2**31 - 1
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


@dataclass(frozen=True)
class SchemaFlaw:
    """What is wrong with a schema: where in it, and the way out."""

    path: tuple[str | int, ...]
    message: str
    fix: str = ""


def flaws_of_schema(schema: Json) -> list[SchemaFlaw]:
    """Return all that is wrong with a schema; one without flaws is a JSON Schema."""
    flaws: list[SchemaFlaw] = []
    parts = 0
    waiting: list[tuple[tuple[str | int, ...], Json, int]] = [((), schema, 1)]
    while waiting:
        path, part, depth = waiting.pop()
        parts += 1
        if parts > SCHEMA_PARTS_MAX:
            message = f"has more than {SCHEMA_PARTS_MAX} parts"
            return [SchemaFlaw((), message, "Ask for less, or for a text.")]
        if depth > SCHEMA_DEPTH_MAX:
            message = f"is more than {SCHEMA_DEPTH_MAX} levels deep"
            flaws.append(SchemaFlaw(path, message, "Make it flatter."))
        elif not isinstance(part, Mapping):
            message = f"is {describe(part)}, and no schema"
            flaws.append(SchemaFlaw(path, message, "Write a mapping, such as `{type: string}`."))
        else:
            flaws += _flaws(path, part)
            waiting += [((*path, *name), inner, depth + 1) for name, inner in _inner(part)]
    return flaws


def _inner(schema: Mapping[str, Json]) -> Iterator[tuple[tuple[str, ...], Json]]:
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        yield ("properties", name), inner
    if "items" in schema:
        yield ("items",), schema["items"]


def _flaws(path: tuple[str | int, ...], schema: Mapping[str, Json]) -> Iterator[SchemaFlaw]:
    found = False
    for keyword, value in schema.items():
        if keyword not in _KEYWORDS:
            fix = suggest(keyword, _KEYWORDS)
            yield SchemaFlaw((*path, keyword), f"no `{clip(keyword)}` is taken here", fix)
        elif message := _KEYWORDS[keyword](value):
            found = True
            yield SchemaFlaw((*path, keyword), message)
    if not found:
        yield from _contradictions(path, schema)


def _contradictions(
    path: tuple[str | int, ...], schema: Mapping[str, Json]
) -> Iterator[SchemaFlaw]:
    for least, most in _BOUNDS:
        low, high = schema.get(least), schema.get(most)
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            yield SchemaFlaw((*path, least), f"is more than `{most}`", "Swap them.")
    properties, required = schema.get("properties", {}), schema.get("required", ())
    assert isinstance(properties, Mapping), "it was checked"
    assert isinstance(required, Sequence), "it was checked"
    if schema.get("additionalProperties") is False:
        for index, name in enumerate(required):
            if name not in properties:
                message = f"`{clip(str(name))}` is required, and may not be there"
                fix = "Add it to `properties`."
                yield SchemaFlaw((*path, "required", index), message, fix)


def _type(value: Json) -> str:
    names = value if isinstance(value, list) else [value]
    if names and all(name in _TYPES for name in names) and len(names) <= len(_TYPES):
        return ""
    return f"is {describe(value)}; it must be one or more of {', '.join(_TYPES)}"


def _choices(value: Json) -> str:
    if not isinstance(value, list) or not 0 < len(value) <= SCHEMA_CHOICES_MAX:
        return f"is {describe(value)}; it must be a list of 1 to {SCHEMA_CHOICES_MAX} values"
    return next((told for one in value if (told := _choice(one))), "")


def _choice(value: Json) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return ""
    return _number(value)


def _text(value: Json) -> str:
    if not isinstance(value, str):
        return f"is {describe(value)}; it must be a text"
    too_long = len(value) > SCHEMA_TEXT_CHARACTERS_MAX
    return f"is longer than {SCHEMA_TEXT_CHARACTERS_MAX} characters" if too_long else ""


def _number(value: Json) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and isinstance(value, int | float) and math.isfinite(value):
        # What is larger is not the same for everybody who reads it.
        return "" if abs(value) < 2**53 or isinstance(value, float) else "is too large a number"
    return f"is {describe(value)}; it must be a number"


def _length(value: Json) -> str:
    is_length = isinstance(value, int) and not isinstance(value, bool)
    if is_length and isinstance(value, int) and 0 <= value <= _LENGTH_MAX:
        return ""
    return f"is {describe(value)}; it must be a whole number from 0"


def _names(value: Json) -> str:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return f"is {describe(value)}; it must be a list of names"
    if len(value) > SCHEMA_PARTS_MAX or len(set(map(str, value))) < len(value):
        return f"has a name twice, or more than {SCHEMA_PARTS_MAX}"
    return ""


def _mapping(value: Json) -> str:
    return "" if isinstance(value, Mapping) else f"is {describe(value)}; it must be a mapping"


def _bool(value: Json) -> str:
    return "" if isinstance(value, bool) else f"is {describe(value)}; it must be true or false"


def _later(_: Json) -> str:
    return ""  # it is looked at as a schema of its own


_BOUNDS = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))
_KEYWORDS: Mapping[str, Callable[[Json], str]] = {
    "additionalProperties": _bool,
    "const": _choice,
    "description": _text,
    "enum": _choices,
    "items": _later,
    "maxItems": _length,
    "maxLength": _length,
    "maximum": _number,
    "minItems": _length,
    "minLength": _length,
    "minimum": _number,
    "properties": _mapping,
    "required": _names,
    "type": _type,
}
