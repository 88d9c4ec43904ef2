"""Types of parameters and results, in the words of Python rather than of JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chassis.canonical import Json

_NAMES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list",
    "object": "dict",
}
_DEPTH_MAX = 4


def type_text(schema: Json, depth: int = 0) -> str:
    """Return a schema of the SDK as a type, such as `list[str]` or `{name: str}`."""
    if not isinstance(schema, Mapping) or not schema or depth > _DEPTH_MAX:
        return "any"
    values, kinds, properties = (schema.get(name) for name in ("enum", "anyOf", "properties"))
    if isinstance(values, Sequence):
        return " | ".join(map(repr, values))
    if isinstance(kinds, Sequence):
        return " | ".join(type_text(one, depth + 1) for one in kinds)
    if isinstance(properties, Mapping):
        fields = (f"{name}: {type_text(one, depth + 1)}" for name, one in properties.items())
        return f"{{{', '.join(fields)}}}"
    name = _NAMES.get(str(schema.get("type", "")), "any")
    if name == "list" and "items" in schema:
        return f"list[{type_text(schema['items'], depth + 1)}]"
    if name == "dict" and "additionalProperties" in schema:
        return f"dict[str, {type_text(schema['additionalProperties'], depth + 1)}]"
    return name + _bounds(schema)


def parameters_of(schema: Json) -> dict[str, Mapping[str, Json]]:
    """Return the schemas of parameters by name."""
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    properties = found if isinstance(found, Mapping) else {}
    return {name: one for name, one in properties.items() if isinstance(one, Mapping)}


def parameter_lines(schema: Json) -> list[str]:
    """Return a line for each parameter, such as `limit: int = 5`."""
    return [
        f"{name}: {type_text(one)}{_default(one)}" for name, one in parameters_of(schema).items()
    ]


def _default(schema: Mapping[str, Json]) -> str:
    return f" = {schema['default']!r}" if "default" in schema else ""


def _bounds(schema: Mapping[str, Json]) -> str:
    least = schema.get("minimum", schema.get("minLength"))
    most = schema.get("maximum", schema.get("maxLength"))
    if least is None and most is None:
        return ""
    return f" ({'' if least is None else least}…{'' if most is None else most})"
