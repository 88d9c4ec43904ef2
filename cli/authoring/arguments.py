"""The arguments of an action: whether they fit its schema, and how they are typed in a shell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jsonschema import Draft202012Validator

from chassis.canonical import Json
from chassis.draft import FieldPath, format_path
from chassis.problems import Flaw, clip, suggest
from sandbox.outcome import Described

from ..errors import CommandError
from .signatures import parameter_lines, parameters_of

FIELD = "--argument"


@dataclass(frozen=True)
class Misfit:
    """An argument that does not fit; `is_key` if its name is what is wrong."""

    path: FieldPath
    code: Flaw
    message: str
    fix: str
    is_key: bool = False


def check_arguments(action: Described, arguments: Mapping[str, Json]) -> Iterator[Misfit]:
    """Yield what does not fit the schema of an action."""
    parameters = parameters_of(action.parameters_schema)
    lines = "; ".join(parameter_lines(action.parameters_schema))
    fix = f"it takes {lines}" if lines else "it takes none"
    for name in arguments:
        if name not in parameters:
            told = f"{action.name} has no parameter `{clip(name)}`"
            way_out = suggest(name, parameters) or fix
            yield Misfit((name,), Flaw.UNKNOWN_FIELD, told, way_out, is_key=True)
    required = action.parameters_schema.get("required", ())
    assert isinstance(required, Sequence), "the SDK has written it"
    for name in map(str, required):
        if name not in arguments:
            yield Misfit((), Flaw.MISSING_FIELD, f"{action.name} lacks `{name}`", fix)
    for name in parameters.keys() & arguments.keys():
        validator = Draft202012Validator(parameters[name])
        for error in validator.iter_errors(arguments[name]):
            path = (name, *error.absolute_path)
            yield Misfit(path, Flaw.WRONG_TYPE, clip(error.message, length_max=200), fix)


def parse_arguments(action: Described, pairs: Sequence[str]) -> dict[str, Json]:
    """Return `name=value` pairs as arguments that fit; raise `CommandError`.

    A value is a text where the schema has a text; elsewhere it is JSON, or else a text.
    """
    arguments: dict[str, Json] = {}
    parameters = parameters_of(action.parameters_schema)
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            told = f"{FIELD} {clip(pair)} is not of the form name=value"
            raise _refused(told, "such as --argument topic=eth")
        if name in arguments:
            raise _refused(f"{FIELD} {clip(name)} comes twice", "write each argument once")
        arguments[name] = _parse(parameters.get(name), value)
    for misfit in check_arguments(action, arguments):
        place = f"{format_path(misfit.path)}: " if misfit.path and not misfit.is_key else ""
        raise _refused(f"{place}{misfit.message}", misfit.fix)
    return arguments


def _parse(schema: Mapping[str, Json] | None, text: str) -> Json:
    if schema and schema.get("type") == "string":
        return text
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def _refused(message: str, fix: str) -> CommandError:
    return CommandError(message, reason="INVALID_FIELD", field=FIELD, fix=fix)
