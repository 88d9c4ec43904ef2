"""Checks the schemas that code gives of itself: it is the code of somebody else.

What is let through is what types give. Patterns and references are not: the runtime and the model
providers would have to evaluate them, outside of the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping

from jsonschema import Draft202012Validator, SchemaError

from chassis.canonical import Json, canonical_json
from chassis.problems import clip

SCHEMA_BYTES_MAX = 32 * 1024
# The types of the SDK are at most 9 deep, below the parameters.
DEPTH_MAX = 12

# Of them, `default` and `enum` hold values; whatever these are, their bytes are limited.
_KEYWORDS = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "anyOf", "enum"),
        *("description", "default", "minimum", "maximum"),
        *("minLength", "maxLength", "minItems", "maxItems"),
    }
)


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
    for name in schema:
        if name not in _KEYWORDS:
            return f"it has `{clip(name)}`, which types do not give"
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
