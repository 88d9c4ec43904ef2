"""JSON Schema of Python types."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeAlias, get_args, get_origin

Schema: TypeAlias = dict[str, Any]

_DEPTH_MAX = 8
# Around one type: `Annotated`, `NewType`, names.
_WRAPPERS_MAX = 16
_PLAIN: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_TIMES: dict[Any, str] = {datetime: "a time in ISO 8601", date: "a day in ISO 8601"}
_UNIONS: frozenset[Any] = frozenset({typing.Union, types.UnionType})
_LISTS: frozenset[Any] = frozenset({list, Sequence, tuple})
_MAPPINGS: frozenset[Any] = frozenset({dict, Mapping})
_MARKS: frozenset[Any] = frozenset({typing.Required, typing.NotRequired})
# What a `type` statement makes; Python has it since 3.12.
_ALIAS: Any = getattr(typing, "TypeAliasType", ())


class SchemaError(Exception):
    """A type, or a value, that JSON does not have."""


@dataclasses.dataclass(frozen=True)
class Field:
    """What else is known of a value: `Annotated[int, Field("how many", minimum=1, maximum=9)]`.

    Lengths are characters of a text, or items of a list.
    """

    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None

    def describe(self, schema: Schema) -> None:
        """Add what is known to a schema; raise `SchemaError` if it is about another type."""
        if self.description:
            schema["description"] = self.description
        bounds = _given(minimum=self.minimum, maximum=self.maximum)
        _bound(schema, bounds, {"integer", "number"}, "a minimum or maximum, but is no number")
        lengths = _given(minLength=self.min_length, maxLength=self.max_length)
        items = _given(minItems=self.min_length, maxItems=self.max_length)
        is_list = any(part.get("type") == "array" for part in _arms(schema))
        kinds, known = ({"array"}, items) if is_list else ({"string"}, lengths)
        _bound(schema, known, kinds, "a length, but is no text and no list")


def schema_of(kind: Any) -> Schema:  # noqa: ANN401  # an annotation
    """Return the JSON Schema of a type; raise `SchemaError`."""
    return _schema(kind, ())


def unwrap(kind: Any) -> tuple[Any, list[Any]]:  # noqa: ANN401  # an annotation
    """Return a type without names and marks, and what `Annotated` says about it, inside first."""
    extras: list[Any] = []
    for _ in range(_WRAPPERS_MAX):
        if get_origin(kind) is typing.Annotated:
            kind, *said = get_args(kind)
            extras = [*said, *extras]
        elif get_origin(kind) in _MARKS:
            (kind,) = get_args(kind)
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif isinstance(kind, _ALIAS):
            kind = kind.__value__
        else:
            return kind, extras
    raise SchemaError("is a name of itself")


def kind_of(plain: Any) -> str:  # noqa: ANN401  # an annotation
    """Return what sort of type an unwrapped one is; nothing if JSON does not have it."""
    origin = get_origin(plain)
    if plain is Any or plain is inspect.Parameter.empty or plain is object:
        return "any"
    if origin is typing.Literal:
        return "literal"
    if origin in _UNIONS:
        return "union"
    if isinstance(plain, type) and origin is None:
        if issubclass(plain, enum.Enum):
            return "enum"
        if dataclasses.is_dataclass(plain) or typing.is_typeddict(plain):
            return "fields"
    kinds = {"list": _LISTS, "mapping": _MAPPINGS, "plain": _PLAIN, "time": _TIMES}
    found = origin or plain
    if not isinstance(found, Hashable):
        return ""
    return next((name for name, known in kinds.items() if found in known), "")


@functools.cache
def fields_of(plain: Any) -> dict[str, Any]:  # noqa: ANN401  # an annotation
    """Return the types of the fields of a dataclass or TypedDict."""
    hints = hints_of(plain)
    if typing.is_typeddict(plain):
        return hints
    return {one.name: hints[one.name] for one in dataclasses.fields(plain) if one.init}


@functools.cache
def required_of(plain: Any) -> list[str]:  # noqa: ANN401  # an annotation
    """Return which fields of a dataclass or TypedDict are always there."""
    if typing.is_typeddict(plain):
        # Of annotations that are text, `__required_keys__` does not know the marks.
        marks = {name: get_origin(hint) for name, hint in hints_of(plain).items()}
        usual = {name: name in plain.__required_keys__ for name in marks}
        return [
            name
            for name, mark in marks.items()
            if (mark is typing.Required if mark in _MARKS else usual[name])
        ]
    missing = dataclasses.MISSING
    return [
        one.name
        for one in dataclasses.fields(plain)
        if one.init and one.default is missing and one.default_factory is missing
    ]


def hints_of(annotated: Any) -> dict[str, Any]:  # noqa: ANN401  # a function or a class
    """Return annotations as types; raise `SchemaError` if one cannot be found."""
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise SchemaError(f"has a type that cannot be found: {error}") from None


def _schema(kind: Any, within: tuple[Any, ...]) -> Schema:  # noqa: ANN401  # an annotation
    plain, extras = unwrap(kind)
    # A type that holds one that is equal to it has no end.
    if plain in within:
        raise SchemaError(f"is {_name(plain)}, which contains itself")
    if len(within) > _DEPTH_MAX:
        raise SchemaError(f"is nested deeper than {_DEPTH_MAX}")
    make = _MAKERS.get(kind_of(plain))
    if make is None:
        raise SchemaError(f"is {_name(plain)}, which JSON does not have")
    schema = make(plain, (*within, plain))
    for extra in extras:
        if isinstance(extra, str):
            schema["description"] = extra
        elif isinstance(extra, Field):
            extra.describe(schema)
    return schema


def _choice(plain: Any, _within: tuple[Any, ...]) -> Schema:  # noqa: ANN401  # an annotation
    members: Iterable[enum.Enum] = plain if isinstance(plain, enum.EnumType) else ()
    values = [*get_args(plain), *(one.value for one in members)]
    for one in values:
        if one is not None and type(one) not in {str, int, bool, float}:
            raise SchemaError(f"has the value {one!r}, which JSON does not have")
    if not values:
        raise SchemaError("has no values")
    return {"enum": values}


def _union(plain: Any, within: tuple[Any, ...]) -> Schema:  # noqa: ANN401  # an annotation
    return {"anyOf": [_schema(one, within) for one in get_args(plain)]}


def _list(plain: Any, within: tuple[Any, ...]) -> Schema:  # noqa: ANN401  # an annotation
    arguments = get_args(plain)
    if get_origin(plain) is tuple and (len(arguments) != 2 or arguments[1] is not Ellipsis):  # noqa: PLR2004  # as in `tuple[int, ...]`
        raise SchemaError("is a tuple of a fixed length; use a dataclass")
    items = _schema(arguments[0], within) if arguments else {}
    return {"type": "array", **({"items": items} if items else {})}


def _mapping(plain: Any, within: tuple[Any, ...]) -> Schema:  # noqa: ANN401  # an annotation
    arguments = get_args(plain)
    if arguments and unwrap(arguments[0])[0] is not str:
        raise SchemaError("has keys that are not text")
    values = _schema(arguments[1], within) if arguments else {}
    return {"type": "object", **({"additionalProperties": values} if values else {})}


def _fields(plain: Any, within: tuple[Any, ...]) -> Schema:  # noqa: ANN401  # an annotation
    properties = {}
    for name, hint in fields_of(plain).items():
        try:
            properties[name] = _schema(hint, within)
        except SchemaError as error:
            raise SchemaError(f"has a field {name} that {error}") from None
    required = required_of(plain)
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, **({"required": required} if required else {})}


_MAKERS: Mapping[str, Callable[[Any, tuple[Any, ...]], Schema]] = {
    "any": lambda _plain, _within: {},
    "literal": _choice,
    "enum": _choice,
    "union": _union,
    "list": _list,
    "mapping": _mapping,
    "fields": _fields,
    "plain": lambda plain, _within: {"type": _PLAIN[plain]},
    "time": lambda plain, _within: {"type": "string", "description": _TIMES[plain]},
}


def _arms(schema: Schema) -> list[Schema]:
    """Return what a schema may be, which is itself unless it is a union."""
    arms: list[Schema] = schema.get("anyOf", [schema])
    return arms


def _bound(schema: Schema, known: Schema, kinds: Container[Any], otherwise: str) -> None:
    parts = [one for one in _arms(schema) if one.get("type") in kinds]
    if known and not parts:
        raise SchemaError(f"has {otherwise}")
    for one in parts:
        one.update(known)


def _given(**known: float | None) -> Schema:
    return {name: value for name, value in known.items() if value is not None}


def _name(kind: Any) -> str:  # noqa: ANN401  # an annotation
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
