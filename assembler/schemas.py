"""Checks the schemas that code gives of itself: it is the code of somebody else.

What is let through is what types give. Patterns and references are not: the runtime and the model
providers would have to evaluate them, outside of the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jsonschema import Draft202012Validator, SchemaError

from chassis.canonical import Json, canonical_json
from chassis.problems import clip

SCHEMA_BYTES_MAX = 32 * 1024
# The types of the SDK are at most 9 deep, below the parameters.
DEPTH_MAX = 12

_TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})


def schema_problem(schema: Json) -> str:
    """Return what is wrong with a schema; empty if nothing is."""
    if problem := _problem(schema, 0):
        return problem
    assert isinstance(schema, Mapping)
    try:
        size = len(canonical_json(schema))
        if size > SCHEMA_BYTES_MAX:
            return f"it has {size} bytes; at most {SCHEMA_BYTES_MAX} are allowed"
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return clip(error.message, length_max=200)
    except (ValueError, RecursionError) as error:
        # A number that JSON does not have everywhere.
        return clip(str(error), length_max=200)
    return ""


def parameters_problem(schema: Mapping[str, Json]) -> str:
    """Return what is wrong with the schema of arguments, which are named."""
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), Mapping):
        return "it is none of an object with properties"
    return schema_problem(schema)


def _problem(schema: Json, depth: int) -> str:
    if not isinstance(schema, Mapping):
        return "a part of it is no schema"
    if depth > DEPTH_MAX:
        return f"it is nested deeper than {DEPTH_MAX}"
    for name, value in schema.items():
        if name not in _CHECKS:
            return f"it has `{clip(name)}`, which types do not give"
        if not _CHECKS[name](value):
            return f"its `{name}` is malformed"
    return next(filter(None, (_problem(part, depth + 1) for part in _parts(schema))), "")


def _parts(schema: Mapping[str, Json]) -> list[Json]:
    properties, more = schema.get("properties"), schema.get("additionalProperties")
    any_of = schema.get("anyOf")
    return [
        *(properties.values() if isinstance(properties, Mapping) else ()),
        *([more] if isinstance(more, Mapping) else ()),
        *([schema["items"]] if "items" in schema else ()),
        *(any_of if isinstance(any_of, list) else ()),
    ]


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_scalar(value: Json) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


_CHECKS: dict[str, Callable[[Json], bool]] = {
    "type": lambda value: isinstance(value, str) and value in _TYPES,
    "properties": lambda value: isinstance(value, Mapping),
    "required": lambda value: (
        isinstance(value, list) and all(isinstance(name, str) for name in value)
    ),
    "additionalProperties": lambda value: isinstance(value, bool | Mapping),
    "items": lambda value: isinstance(value, Mapping),
    "anyOf": lambda value: isinstance(value, list) and bool(value),
    "enum": lambda value: isinstance(value, list) and bool(value) and all(map(_is_scalar, value)),
    "description": lambda value: isinstance(value, str),
    "minimum": _is_number,
    "maximum": _is_number,
    "minLength": _is_count,
    "maxLength": _is_count,
    "minItems": _is_count,
    "maxItems": _is_count,
    # Whatever it is, its bytes are limited with those of the whole.
    "default": lambda _: True,
}
