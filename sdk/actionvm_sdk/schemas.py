"""JSON Schema of Python types, and values from and to JSON by the same types."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeAlias, get_args, get_origin

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None

_DEPTH_MAX = 8
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}


@dataclasses.dataclass(frozen=True)
class Field:
    """What else is known of a value: `Annotated[int, Field("how many", minimum=1, maximum=9)]`."""

    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None

    def schema(self, kind: object) -> dict[str, Any]:
        """Return its part of a schema; lengths are characters, or items of a list."""
        is_list = kind == "array"
        names = {
            "description": self.description or None,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "minItems" if is_list else "minLength": self.min_length,
            "maxItems" if is_list else "maxLength": self.max_length,
        }
        return {name: value for name, value in names.items() if value is not None}


class SchemaError(Exception):
    """A type that JSON does not have."""


def schema_of(kind: Any, depth: int = 0) -> dict[str, Any]:  # noqa: ANN401, C901  # an annotation; a table of types
    """Return the JSON Schema of a type; raise `SchemaError`."""
    if depth > _DEPTH_MAX:
        raise SchemaError(f"is nested deeper than {_DEPTH_MAX}")
    if kind is Any or kind is inspect.Parameter.empty or kind is object:
        return {}
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return _annotated(arguments, depth)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in {typing.Union, types.UnionType}:
        return {"anyOf": [schema_of(one, depth + 1) for one in arguments]}
    if origin in {list, Sequence, tuple} or kind is list:
        return _array(arguments, depth)
    if origin in {dict, Mapping} or kind is dict:
        if arguments and arguments[0] is not str:
            raise SchemaError("has keys that are not text")
        values = schema_of(arguments[1], depth + 1) if arguments else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [one.value for one in kind]}
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return _object(kind, depth)
    if kind in {datetime, date}:
        return {"type": "string", "description": "a time in ISO 8601"}
    raise SchemaError(f"is {getattr(kind, '__name__', kind)}, which JSON does not have")


def from_json(value: Any, kind: Any) -> Any:  # noqa: ANN401  # by annotation
    """Return a value that fits the schema of a type as the type itself."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return from_json(value, arguments[0])
    if origin in {typing.Union, types.UnionType}:
        inner = [one for one in arguments if one is not type(None)]
        return from_json(value, inner[0]) if len(inner) == 1 and value is not None else value
    if isinstance(value, list) and origin in {list, Sequence} and arguments:
        return [from_json(one, arguments[0]) for one in value]
    if isinstance(value, dict) and origin in {dict, Mapping} and arguments:
        return {name: from_json(one, arguments[1]) for name, one in value.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if kind in {datetime, date} and isinstance(value, str):
        return kind.fromisoformat(value)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = typing.get_type_hints(kind, include_extras=True)
        return kind(**{name: from_json(one, hints[name]) for name, one in value.items()})  # type: ignore[operator]  # it is a class
    if kind is float and isinstance(value, int):
        return float(value)
    return value


def to_json(value: Any, depth: int = 0) -> Json:  # noqa: ANN401, C901  # whatever there is
    """Return a result as JSON; raise `SchemaError` if it cannot be."""
    if depth > 64:  # noqa: PLR2004  # as deep as the host reads
        raise SchemaError("is nested deeper than 64")
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SchemaError(f"is {value}, which JSON does not have")
        return value
    if isinstance(value, enum.Enum):
        return to_json(value.value, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value)]
        return {name: to_json(getattr(value, name), depth + 1) for name in names}
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise SchemaError("has keys that are not text")
        return {name: to_json(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return [to_json(one, depth + 1) for one in items]
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise SchemaError(f"is {type(value).__name__}, which JSON does not have")


def _annotated(arguments: tuple[Any, ...], depth: int) -> dict[str, Any]:
    schema = schema_of(arguments[0], depth)
    for extra in arguments[1:]:
        if isinstance(extra, str):
            schema["description"] = extra
        elif isinstance(extra, Field):
            schema.update(extra.schema(schema.get("type")))
    return schema


def _array(arguments: tuple[Any, ...], depth: int) -> dict[str, Any]:
    kinds = [one for one in arguments if one is not Ellipsis]
    if len(kinds) > 1:
        raise SchemaError("is a tuple of different types; use a dataclass")
    items = schema_of(kinds[0], depth + 1) if kinds else {}
    return {"type": "array", **({"items": items} if items else {})}


def _object(kind: Any, depth: int) -> dict[str, Any]:  # noqa: ANN401  # a class
    hints = typing.get_type_hints(kind, include_extras=True)
    if typing.is_typeddict(kind):
        required = [name for name in hints if name in kind.__required_keys__]
    else:
        fields = [one for one in dataclasses.fields(kind) if one.init]
        hints = {one.name: hints[one.name] for one in fields}
        missing = dataclasses.MISSING
        required = [
            one.name for one in fields if one.default is missing and one.default_factory is missing
        ]
    properties = {name: schema_of(hint, depth + 1) for name, hint in hints.items()}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, **({"required": required} if required else {})}
