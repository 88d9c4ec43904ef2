"""Makes schemas tighter than people write them, so that a model cannot get lost in what they allow.

Whatever satisfies a tight schema satisfies the original.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chassis.canonical import Json

from ..schemas import Schema

# What canonical JSON can hold; a random model writes numbers of a hundred digits otherwise.
NUMBER_MAX = 2**53 - 1

# The name is not one that people give.
_ANY_NAME = "any-json"
_ANY: Schema = {"$ref": f"#/$defs/{_ANY_NAME}"}
_ANY_VALUE: Schema = {
    "minimum": -NUMBER_MAX,
    "maximum": NUMBER_MAX,
    "items": _ANY,
    "additionalProperties": _ANY,
}

# Keywords that hold schemas by name, one schema, and lists of schemas.
_DEFINITIONS = ("$defs", "definitions")
_MAPS = ("properties", "patternProperties", *_DEFINITIONS)
_SINGLES = ("items", "additionalProperties")
_LISTS = ("prefixItems", "allOf", "anyOf", "oneOf")
_UNIONS = ("anyOf", "oneOf")
# A schema that has one of these says elsewhere what its value is.
_ELSEWHERE = ("$ref", "const", "enum", "allOf", *_UNIONS)
# An object that has one of these may get its properties from elsewhere.
_OPENERS = (
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "minProperties",
    "oneOf",
    "patternProperties",
    "unevaluatedProperties",
)
_NOTES = frozenset({"title", "description", "default", "examples", "$comment", "deprecated"})
_OBJECT = _NOTES | {"type", "properties", "required"}


class TooLoose(ValueError):
    """No grammar keeps what the schema asks for; the message says what that is."""


def tight_schema(schema: Schema) -> Schema:
    """Return the tight form of a whole schema. Raises `TooLoose`."""
    tight = dict(tighten(schema))
    if not _shares(tight):
        for keyword in _DEFINITIONS:
            known = schema.get(keyword)
            if isinstance(known, Mapping):
                tight[keyword] = {name: _tighten(entry) for name, entry in known.items()}
    known = tight.get("$defs", {})
    assert isinstance(known, Mapping), "a schema that was checked"
    return {**tight, "$defs": {_ANY_NAME: _ANY_VALUE, **known}}


def tighten(schema: Schema, *, is_alone: bool = True) -> Schema:
    """Return a schema that allows less: no unnamed properties, no numbers without bounds.

    It is what people mean, and rarely write. A schema that is not alone shares its value with
    others, and cannot know which properties those name.
    """
    schema = _merge(schema)
    tight: dict[str, Json] = dict(schema)
    is_union = _is_union(schema)
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, Mapping):
            # What refers to a definition may share it with others.
            alone = is_alone and keyword not in _DEFINITIONS
            tight[keyword] = {
                name: _tighten(entry, is_alone=alone) for name, entry in value.items()
            }
        elif keyword in _SINGLES:
            tight[keyword] = _tighten(value, is_alone=is_alone)
        elif keyword in _LISTS and isinstance(value, Sequence):
            alone = is_alone and (keyword == "prefixItems" or is_union)
            tight[keyword] = [_tighten(entry, is_alone=alone) for entry in value]
    _check_count(tight)
    if not any(keyword in schema for keyword in _ELSEWHERE):
        _bound(tight, is_alone=is_alone)
    return tight


def _tighten(value: Json, *, is_alone: bool = True) -> Json:
    if value is True:
        value = {}
    return tighten(value, is_alone=is_alone) if isinstance(value, Mapping) else value


def _is_union(schema: Schema) -> bool:
    """Tell whether a schema says nothing but what one of others says."""
    parts = schema.get("allOf")
    wraps = {"allOf"} if isinstance(parts, Sequence) and len(parts) == 1 else set()
    return not set(schema) - _NOTES - set(_UNIONS) - set(_DEFINITIONS) - wraps


def _shares(value: Json) -> bool:
    """Tell whether somewhere in it two schemas may speak of one value, one of them by reference."""
    if isinstance(value, str) or not isinstance(value, Mapping | Sequence):
        return False
    if not isinstance(value, Mapping):
        return any(map(_shares, value))
    inside = any(map(_shares, value.values()))
    is_joint = any(keyword in value for keyword in ("$ref", "allOf", *_UNIONS))
    others = set(value) - _NOTES - set(_DEFINITIONS)
    return inside or (is_joint and others != {"$ref"} and not _is_union(value))


def _merge(schema: Schema) -> Schema:
    """Return one object for several that are all to be satisfied, and name different properties."""
    parts = schema.get("allOf")
    if not isinstance(parts, Sequence) or set(schema) - _OBJECT - {"allOf", "$defs"}:
        return schema
    whole = {keyword: value for keyword, value in schema.items() if keyword != "allOf"}
    properties: dict[str, Json] = {}
    required: list[Json] = []
    for part in (whole, *parts):
        if not isinstance(part, Mapping) or set(part) - _OBJECT - {"$defs"}:
            return schema
        named, needed = part.get("properties", {}), part.get("required", [])
        if not isinstance(named, Mapping) or not isinstance(needed, list):
            return schema
        if properties.keys() & named.keys() or part.get("type", "object") != "object":
            return schema
        properties.update(named)
        required += needed
    kind: dict[str, Json] = {"properties": properties, "required": sorted(set(map(str, required)))}
    # Without a type, other values than objects satisfy all parts too.
    if any(part.get("type") for part in (whole, *parts) if isinstance(part, Mapping)):
        kind["type"] = "object"
    return {**whole, **kind}


def _bound(tight: dict[str, Json], *, is_alone: bool) -> None:
    """Bound what a schema leaves open, for the kinds of value that it is about."""
    kinds = _kinds(tight.get("type"))
    if not kinds or "integer" in kinds or "number" in kinds:
        if "exclusiveMinimum" not in tight:
            tight.setdefault("minimum", -NUMBER_MAX)
        if "exclusiveMaximum" not in tight:
            tight.setdefault("maximum", NUMBER_MAX)
    # Two schemas for one value are too much for the compiler if both refer to themselves.
    if not is_alone:
        return
    if not kinds or "array" in kinds:
        tight.setdefault("items", _ANY)
    if not kinds or "object" in kinds:
        tight.setdefault("additionalProperties", False if _is_closed(tight) else _ANY)


def _check_count(tight: dict[str, Json]) -> None:
    """Drop a least number of properties that are required anyway; refuse one that is not sure.

    A grammar does not remember which names it has seen, and the same name twice counts once.
    """
    least, required = tight.get("minProperties", 0), tight.get("required", ())
    if not isinstance(least, int) or not isinstance(required, Sequence):
        return
    if least <= len(required):
        tight.pop("minProperties", None)
    elif least > 1:
        raise TooLoose(f"minProperties {least} of which only {len(required)} are required")


def _is_closed(schema: Schema) -> bool:
    properties, required = schema.get("properties"), schema.get("required", ())
    return (
        isinstance(properties, Mapping)
        and isinstance(required, Sequence)
        and all(name in properties for name in required)
        and not any(keyword in schema for keyword in _OPENERS)
    )


def _kinds(value: Json) -> Sequence[Json]:
    if isinstance(value, str):
        return (value,)
    return value if isinstance(value, Sequence) else ()
