"""JSON and JSON Schemas from outside, parsed with care, and the former checked by the latter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn, TypeAlias, cast

import jsonschema
import referencing
from jsonschema import Draft202012Validator, validators

from chassis.canonical import Json, canonical_json

from .conversation import Action, WrittenCall
from .errors import SchemaUnsupported

Schema: TypeAlias = "Mapping[str, Json]"

SCHEMAS_KNOWN_MAX = 256

# References that one check follows; each can lead to two others, and so on.
REFERENCES_MAX = 2_000

# References to anything outside the schema find nothing; without this, jsonschema would fetch them.
_NOTHING_ELSE: referencing.Registry[object] = referencing.Registry()


class Malformed(ValueError):
    """Text is not what it must be; the message says what is wrong."""


def parse_json(text: str) -> Json:
    """Return the value of JSON text; NaN and its kind are not JSON. Raises `Malformed`."""
    try:
        return cast("Json", json.loads(text, parse_constant=_refuse_constant))
    except RecursionError as error:
        raise Malformed("is nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"is not JSON: {error}") from error


def parse_object(text: str) -> Schema:
    """Return the JSON object that a text holds. Raises `Malformed`."""
    value = parse_json(text)
    if not isinstance(value, Mapping):
        raise Malformed("is not a JSON object")
    return value


def parse_schema(text: str) -> Schema:
    """Return the JSON Schema of an object. Raises `Malformed`."""
    schema = parse_answer_schema(text)
    if schema.get("type") != "object":
        raise Malformed('must describe an object: give it "type": "object"')
    return schema


# The same actions come with every generation of an agent, and checking a schema takes milliseconds.
@lru_cache(maxsize=SCHEMAS_KNOWN_MAX)
def parse_answer_schema(text: str) -> Schema:
    """Return a JSON Schema of any value. Raises `Malformed`."""
    schema = parse_object(text)
    try:
        Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise Malformed(f"is not a JSON Schema: {error.message[:200]}") from error
    except RecursionError as error:
        raise Malformed("is nested too deeply") from error
    return schema


def checked_arguments(call: WrittenCall, actions: tuple[Action, ...]) -> str:
    """Return the arguments of a call as canonical JSON that satisfies the action's schema.

    Raises `SchemaUnsupported`: then the grammar has allowed what the schema does not.
    """
    offered = {action.name: action for action in actions}
    if call.action not in offered:
        raise SchemaUnsupported(call.action, "the model called what was not on offer")
    schema = parse_schema(offered[call.action].parameters_schema)
    return _checked(call.arguments, schema, call.action, parse_object)


def check_answer(text: str, schema: str) -> None:
    """Make sure that an answer is JSON that satisfies a schema. Raises `SchemaUnsupported`."""
    _checked(text, parse_answer_schema(schema), "answer", parse_json)


def _checked(text: str, schema: Schema, what: str, parse: Callable[[str], Json]) -> str:
    try:
        value = parse(text)
        validator = _make_validator(schema)
        problem = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if problem is None:
            return canonical_json(value).decode()
        # The message of jsonschema would quote what the model wrote.
        path = problem.json_path
        raise SchemaUnsupported(what, f"'{problem.validator}' was not kept at {path}")
    except (ValueError, RecursionError, referencing.exceptions.Unresolvable) as error:
        raise SchemaUnsupported(what, type(error).__name__) from error


def _make_validator(schema: Schema) -> Draft202012Validator:
    """Return a validator whose work has a bound."""
    left = REFERENCES_MAX

    def follow(*about: Any) -> Iterator[jsonschema.ValidationError]:  # noqa: ANN401  # of jsonschema
        nonlocal left
        left -= 1
        if left < 0:
            raise RecursionError("the schema refers too often")
        yield from _FOLLOW(*about)

    # Patterns are left to the grammar, which matches them in linear time. Python's `re` does not,
    # so that a hostile pattern would stop this process.
    keywords = {"$ref": follow, "pattern": _allow, "patternProperties": _allow}
    bounded = validators.extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call]  # the stubs lack it
    return cast("Draft202012Validator", bounded(schema, registry=_NOTHING_ELSE))


def _allow(*_: Any) -> tuple[()]:  # noqa: ANN401  # of jsonschema
    return ()


_FOLLOW = Draft202012Validator.VALIDATORS["$ref"]


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
