"""Bodies held against the schemas that providers publish in their own packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter

# JSON, and the types of other packages.
Anything = Any


def check_request(schema: Anything, body: Anything) -> None:
    """Raise unless a body is a value of a published `TypedDict`, with no key that it lacks.

    What pydantic does not know it drops, and what is an `Iterable` it checks only when it is read.
    """
    known = _whole(_adapter(schema).validate_python(body))
    if known != body:
        raise AssertionError(f"not of {schema.__name__}: {_difference(known, body)}")


def check_reply(schema: type[BaseModel] | Anything, body: Anything) -> None:
    """Raise unless a body is a value of a published model, with no field that it lacks."""
    value = _adapter(schema).validate_json(body) if isinstance(body, bytes) else None
    value = value if value is not None else _adapter(schema).validate_python(body)
    extra = [name for model in _models(value) for name in model.model_extra or ()]
    if extra:
        raise AssertionError(f"{schema} has no {extra}")


def normalised(schema: Anything, body: Anything) -> Anything:
    """Return a body as a published model writes it, where it may be written in several ways.

    Raises if it is no value of the model.
    """
    adapter = _adapter(schema)
    value = adapter.validate_python(body)
    return adapter.dump_python(value, by_alias=True, exclude_none=True, mode="json")


@cache
def _adapter(schema: Anything) -> TypeAdapter[Anything]:
    return TypeAdapter(schema)


def _whole(value: Anything) -> Anything:
    if isinstance(value, Mapping):
        return {key: _whole(part) for key, part in value.items()}
    if isinstance(value, str | bytes | int | float | None):
        return value
    return [_whole(part) for part in value]


def _models(value: Anything) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
        for _, part in value:
            yield from _models(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _models(part)


def _difference(known: Anything, body: Anything) -> str:
    if isinstance(known, dict) and isinstance(body, dict):
        for key in body:
            if key not in known:
                return f"{key} is not known"
            if known[key] != body[key]:
                return f"{key}: {_difference(known[key], body[key])}"
    if isinstance(known, list) and isinstance(body, list) and len(known) == len(body):
        pairs = [pair for pair in zip(known, body, strict=True) if pair[0] != pair[1]]
        return _difference(*pairs[0])
    return f"{known!r} is not {body!r}"
