"""Fills the parameters of a template in.

It happens after parsing, inside single scalars, so that a parameter can never become structure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from jsonschema import Draft202012Validator
from pydantic import ValidationError

from chassis.canonical import Json
from chassis.draft import Draft, FieldPath
from chassis.errors import InvalidField
from chassis.problems import Flaw, clip, describe, suggest
from chassis.source import INTEGER_MAX, find_unprintable

from .manifest import Parameter
from .problems import Code

Scalar: TypeAlias = str | int | float | bool

# What all scalars with a placeholder may hold together once they are filled in.
RENDERED_CHARACTERS_MAX = 1024 * 1024

_PLACEHOLDER = re.compile(r"\$\{\{\s*parameters\.([A-Za-z0-9_-]{1,64})\s*\}\}")
_OPENING = "${{"
_RENDERED_FIELDS = ("metadata", "spec")


def read_parameters(text: str) -> dict[str, Scalar]:
    """Return the parameters that a caller sets, from JSON; empty text sets none."""
    try:
        values = json.loads(text or "{}", object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidField("parameters", f"is not a JSON object: {clip(str(error))}") from error
    if not isinstance(values, dict):
        raise InvalidField("parameters", 'is not a JSON object, such as {"url": "http://…"}')
    for name, value in values.items():
        _require_scalar(f"parameters.{clip(name)}", value)
    return values


def render(draft: Draft, given: Mapping[str, Scalar]) -> None:
    """Replace every placeholder of a draft, and report those that cannot be."""
    declared = draft.get(("parameters",))
    values = _values(draft, declared if isinstance(declared, Mapping) else {}, given)
    is_agent = draft.get(("kind",)) == "Agent"
    if is_agent and ("parameters",) in draft.spots:
        message = "only a template has parameters"
        fix = "Write `kind: Template`, or remove them."
        place = draft.key_place(("parameters",))
        draft.report(("parameters",), Flaw.CONTRADICTION, message, fix=fix, place=place)
        is_agent = False
    _Renderer(draft, values, is_agent=is_agent).render()


def _values(
    draft: Draft, declared: Mapping[str, Json], given: Mapping[str, Scalar]
) -> dict[str, Scalar | None]:
    """Return the value of every declared parameter, None where that is a problem of its own."""
    for name in sorted(set(given) - set(declared)):
        message = f"parameter `{clip(name)}` is set, but not declared"
        fix = suggest(name, declared)
        draft.report(("parameters", name), Code.PARAMETER_UNKNOWN, message, fix=fix)
    return {name: _value(draft, name, declared[name], given.get(name)) for name in declared}


def _value(draft: Draft, name: str, declared: Json, given: Scalar | None) -> Scalar | None:
    path = ("parameters", name)
    try:
        parameter = Parameter.model_validate(declared)
    except ValidationError:
        return None  # reported with the structure of the manifest
    value = parameter.default if given is None else given
    if value is None:
        message = f"parameter `{clip(name)}` has no default and is not set"
        fix = f"Set it, such as `--set {clip(name)}=…`, or give it a default."
        draft.report(path, Code.PARAMETER_MISSING, message, fix=fix)
        return None
    schema = parameter.model_dump(by_alias=True, exclude_unset=True, exclude={"default"})
    if problem := next(Draft202012Validator(schema).iter_errors(value), None):
        whose = "is set to" if given is not None else "has the default"
        message = f"parameter `{clip(name)}` {whose} {describe(value)}: {clip(problem.message)}"
        fix = "Set another value, or change the declaration."
        place = draft.key_place(path)
        draft.report(path, Code.PARAMETER_INVALID, message, fix=fix, place=place)
        return None
    assert isinstance(value, Scalar), "the type of a parameter is that of a scalar"
    return value


class _Renderer:
    def __init__(
        self, draft: Draft, values: Mapping[str, Scalar | None], *, is_agent: bool
    ) -> None:
        self._draft = draft
        self._values = values
        self._is_agent = is_agent
        self._room = RENDERED_CHARACTERS_MAX

    def render(self) -> None:
        root = self._draft.value
        if isinstance(root, Mapping):
            self._draft.value = {
                key: self._render((key,), value) if key in _RENDERED_FIELDS else value
                for key, value in root.items()
            }

    def _render(self, path: FieldPath, value: Json) -> Json:
        if isinstance(value, str):
            return self._fill(path, value) if _OPENING in value else value
        if isinstance(value, Mapping):
            return {key: self._render((*path, key), item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self._render((*path, index), item) for index, item in enumerate(value)]
        return value

    def _fill(self, path: FieldPath, text: str) -> Json:
        # Texts and names take turns, as `split` has it.
        texts, names = (parts := _PLACEHOLDER.split(text))[::2], parts[1::2]
        if not self._are_known(path, texts, names):
            return text
        values = [self._values[name] for name in names]
        if any(value is None for value in values):
            self._draft.distrust(path)
            return text
        if len(names) == 1 and texts == ["", ""]:
            return values[0]
        words = [value if isinstance(value, str) else json.dumps(value) for value in values]
        self._room -= sum(map(len, texts)) + sum(map(len, words))
        if self._room < 0:
            message = f"filled in, the texts have over {RENDERED_CHARACTERS_MAX} characters"
            fix = "Use fewer placeholders, or set shorter values."
            self._draft.report(path, Code.RENDERED_TOO_LARGE, message, fix=fix)
            return text
        return "".join(part for pair in zip(texts, [*words, ""], strict=True) for part in pair)

    def _are_known(self, path: FieldPath, texts: Sequence[str], names: Sequence[str]) -> bool:
        if names and self._is_agent:
            message = "has a placeholder, but only a template has parameters"
            fix = "Write `kind: Template` and declare the parameter."
            self._draft.report(path, Code.PLACEHOLDER_INVALID, message, fix=fix)
            return False
        if not self._is_agent and any(_OPENING in text for text in texts):
            message = "has a placeholder that is malformed"
            fix = "Write it as `${{ parameters.name }}`."
            self._draft.report(path, Code.PLACEHOLDER_INVALID, message, fix=fix)
            return False
        unknown = [name for name in names if name not in self._values]
        if unknown:
            message = f"uses the parameter `{unknown[0]}`, which is not declared"
            fix = suggest(unknown[0], self._values) or "Declare it under `parameters`."
            self._draft.report(path, Code.PARAMETER_UNKNOWN, message, fix=fix)
        return not unknown


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name comes twice")
    return values


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is not JSON")


def _require_scalar(field: str, value: Json) -> None:
    if not isinstance(value, Scalar):
        raise InvalidField(field, "must be a text, a number, true or false")
    if isinstance(value, str) and find_unprintable(value):
        raise InvalidField(field, "holds a control character")
    if isinstance(value, int | float) and not abs(value) <= INTEGER_MAX:
        raise InvalidField(field, f"is too large; numbers go up to {INTEGER_MAX}")
    assert not isinstance(value, float) or math.isfinite(value), "it was compared just now"
