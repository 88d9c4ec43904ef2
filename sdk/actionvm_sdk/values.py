"""Values from JSON and to JSON, by their types."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, TypeAlias, get_args, get_origin

from .schemas import SchemaError, fields_of, kind_of, required_of, unwrap

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None

# As deep as the host reads.
_DEPTH_MAX = 64
# The largest integer that JSON carries everywhere.
_INTEGER_MAX = 2**53 - 1


def from_json(value: Any, kind: Any) -> Any:  # noqa: ANN401  # by annotation
    """Return a value that fits the schema of a type as the type itself; raise `SchemaError`."""
    plain, _ = unwrap(kind)
    arguments = get_args(plain)
    match kind_of(plain):
        case "union":
            fitting = (one for one in arguments if fits(value, one))
            return from_json(value, next(fitting, Any))
        case "list" if isinstance(value, list) and arguments:
            items = [from_json(one, arguments[0]) for one in value]
            return tuple(items) if get_origin(plain) is tuple else items
        case "list" if isinstance(value, list) and plain is tuple:
            return tuple(value)
        case "mapping" if isinstance(value, dict) and arguments:
            return {name: from_json(one, arguments[1]) for name, one in value.items()}
        case "fields" if isinstance(value, dict):
            hints = fields_of(plain)
            return plain(**{name: from_json(one, hints.get(name)) for name, one in value.items()})
        case "enum":
            return _member(value, plain)
        case "time" if isinstance(value, str):
            return _time(value, plain)
    if plain is float and isinstance(value, int):
        return float(value)
    # JSON Schema takes 1.0 for an integer.
    return int(value) if plain is int and isinstance(value, float) else value


def fits(value: Any, kind: Any) -> bool:  # noqa: ANN401  # by annotation
    """Tell whether JSON is of a type, without what `Field` says."""
    plain, _ = unwrap(kind)
    arguments = get_args(plain)
    match kind_of(plain):
        case "any":
            return True
        case "union":
            return any(fits(value, one) for one in arguments)
        case "literal":
            return any(_is_same(value, one) for one in arguments)
        case "enum":
            return any(_is_same(value, one.value) for one in plain)
        case "list":
            inner = arguments[0] if arguments else Any
            return isinstance(value, list) and all(fits(one, inner) for one in value)
        case "mapping":
            inner = arguments[1] if arguments else Any
            return isinstance(value, dict) and all(fits(one, inner) for one in value.values())
        case "fields":
            return isinstance(value, dict) and _fit_fields(value, plain)
        case "time":
            return isinstance(value, str) and _is_time(value, plain)
    if plain is int:
        return _is_number(value) and float(value).is_integer()
    return _is_number(value) if plain is float else type(value) is plain


def to_json(value: Any, depth: int = 0) -> Json:  # noqa: ANN401  # whatever there is
    """Return a result as JSON; raise `SchemaError` if it cannot be."""
    if depth > _DEPTH_MAX:
        raise SchemaError(f"is nested deeper than {_DEPTH_MAX}")
    if isinstance(value, enum.Enum):
        return to_json(value.value, depth + 1)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value)]
        return {name: to_json(getattr(value, name), depth + 1) for name in names}
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise SchemaError("has keys that are not text")
        return {name: to_json(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        # The order of a set would be another one in the next release of Python.
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return [to_json(one, depth + 1) for one in items]
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise SchemaError(f"is {type(value).__name__}, which JSON does not have")


def _number(value: float) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        raise SchemaError(f"is {value}, which JSON does not have")
    if isinstance(value, int) and abs(value) > _INTEGER_MAX:
        raise SchemaError("is an integer beyond 2^53, which JSON does not carry; make it a text")
    return value


def _member(value: Any, plain: Any) -> Any:  # noqa: ANN401  # of an Enum
    found = [one for one in plain if _is_same(value, one.value)]
    if not found:
        raise SchemaError(f"is {value!r}, which {plain.__name__} does not have")
    return found[0]


def _time(value: str, plain: Any) -> Any:  # noqa: ANN401  # a class
    if not _is_time(value, plain):
        raise SchemaError(f"is {value!r}, which is no {plain.__name__} in ISO 8601")
    return plain.fromisoformat(value)


def _is_time(value: str, plain: Any) -> bool:  # noqa: ANN401  # a class
    try:
        plain.fromisoformat(value)
    except ValueError:
        return False
    return True


def _fit_fields(value: Mapping[str, Any], plain: Any) -> bool:  # noqa: ANN401  # a class
    hints = fields_of(plain)
    return (
        value.keys() <= hints.keys()
        and value.keys() >= set(required_of(plain))
        and all(fits(one, hints[name]) for name, one in value.items())
    )


def _is_number(value: Any) -> bool:  # noqa: ANN401  # JSON
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_same(value: Any, other: Any) -> bool:  # noqa: ANN401  # JSON
    """Tell whether JSON values are the same; Python has `1 == True`."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)
