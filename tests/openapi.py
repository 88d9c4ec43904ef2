"""Specifications in OpenAPI that others published: what may be asked, and what may be answered."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from jsonschema import Draft202012Validator

DEPTH_MAX = 4


class Specification:
    """A file of OpenAPI 3, in JSON or YAML."""

    def __init__(self, file: Path) -> None:
        self._root = _read_file(file)

    def check(
        self,
        method: str,
        target: str,
        content_type: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Hold a request against its operation; raise whatever says what is wrong.

        Of `headers`, whose names are lower-case, those count that the operation names.
        """
        parts = urlsplit(target)
        operation, found = self._operation(method, parts.path)
        query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        values = {("path", name): text for name, text in found.items()}
        values |= {("query", name): text for name, text in query.items()}
        for one in operation.get("parameters", []):
            parameter = self._resolved(one)
            place = (parameter["in"], parameter["name"])
            if parameter["in"] == "header" and parameter["name"].lower() in (headers or {}):
                values[place] = (headers or {})[parameter["name"].lower()]
            assert place in values or not parameter.get("required"), f"{place} is missing"
            if place in values:
                schema = self._resolved(parameter["schema"])
                self._validate(schema, _read(schema, values.pop(place)))
        assert not values, f"{[*values]} are no parameters"
        if "requestBody" in operation:
            assert content_type == "application/json"
            schema = operation["requestBody"]["content"][content_type]["schema"]
            self._validate(schema, json.loads(body))
        else:
            assert body == b"", "it has no body"

    def answer(self, method: str, path: str, dice: random.Random) -> tuple[int, dict[str, Any]]:
        """Return a status and a value that succeed."""
        responses = self._operation(method, path)[0]["responses"]
        status = min(status for status in responses if status.startswith("2"))
        schema = responses[status]["content"]["application/json"]["schema"]
        value = self._sample(schema, dice, 0)
        self._validate(schema, value)
        assert isinstance(value, dict)
        return int(status), value

    def check_answer(self, method: str, path: str, status: int, value: object) -> None:
        """Hold an answer against its operation; raise whatever says what is wrong."""
        response = self._resolved(self._operation(method, path)[0]["responses"][str(status)])
        self._validate(response["content"]["application/json"]["schema"], value)

    def _operation(self, method: str, path: str) -> tuple[dict[str, Any], dict[str, str]]:
        # A path without parameters comes before one with them.
        for template in sorted(self._root["paths"], key=lambda one: one.count("{")):
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
            match = re.fullmatch(pattern, path)
            if match and method.lower() in self._root["paths"][template]:
                return self._root["paths"][template][method.lower()], match.groupdict()
        raise AssertionError(f"there is no {method} {path}")

    def _validate(self, schema: Mapping[str, Any], value: object) -> None:
        whole = {**schema, "components": self._root["components"]}
        Draft202012Validator(whole).validate(value)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            value: Any = self._root
            for name in schema["$ref"].removeprefix("#/").split("/"):
                value = value[name]
            schema = value
        return schema

    def _sample(self, schema: dict[str, Any], dice: random.Random, depth: int) -> object:
        schema = self._resolved(schema)
        if "enum" in schema:
            found: object = dice.choice(schema["enum"])
            return found
        if choices := schema.get("oneOf", schema.get("anyOf")):
            return self._sample(dice.choice(choices), dice, depth)
        if "allOf" in schema:
            return self._sample_of_all(schema["allOf"], dice, depth)
        if schema.get("type") == "object":
            required = schema.get("required", [])
            return {
                name: self._sample(one, dice, depth + 1)
                for name, one in schema.get("properties", {}).items()
                if name in required or (depth < DEPTH_MAX and dice.random() < 0.8)
            }
        if schema.get("type") == "array":
            if "pattern" in self._resolved(schema["items"]) and "example" in schema:
                return schema["example"]
            least = schema.get("minItems", 0)
            # A list may hold what has such a list again.
            most = least if depth >= 2 * DEPTH_MAX else schema.get("maxItems", least + 3)
            count = dice.randint(least, most)
            return [self._sample(schema["items"], dice, depth + 1) for _ in range(count)]
        return _scalar(schema, dice)

    def _sample_of_all(self, schemas: list[Any], dice: random.Random, depth: int) -> object:
        samples = [self._sample(one, dice, depth) for one in schemas]
        if not isinstance(samples[0], dict):
            return samples[0]
        objects = [one for one in samples if isinstance(one, dict)]
        return {name: value for sample in objects for name, value in sample.items()}


@cache
def _read_file(file: Path) -> dict[str, Any]:
    text = file.read_text()
    # The loader in C takes a tenth of the time.
    is_yaml = file.suffix == ".yaml"
    root: dict[str, Any] = yaml.load(text, yaml.CSafeLoader) if is_yaml else json.loads(text)
    if root["openapi"].startswith("3.0."):
        root["components"] = _as_json_schema(root["components"])
    return root


def _as_json_schema(value: Any) -> Any:  # noqa: ANN401  # whatever a specification has
    """Return schemas of OpenAPI 3.0, which says `nullable` where JSON Schema has a type for it.

    That a choice has nothing else is said of its branches: outside of them, it would forbid them.
    """
    if isinstance(value, list):
        return [_as_json_schema(one) for one in value]
    if not isinstance(value, dict):
        return value
    schema = {name: _as_json_schema(one) for name, one in value.items()}
    if "anyOf" in schema and "properties" not in schema:
        schema.pop("additionalProperties", None)
    if schema.get("nullable") is not True:
        return schema
    del schema["nullable"]
    return {"anyOf": [schema, {"type": "null"}]}


def _scalar(schema: Mapping[str, Any], dice: random.Random) -> object:
    match schema["type"]:
        case "null":
            return None
        case "boolean":
            return dice.random() < 0.5
        case "integer":
            return dice.randrange(10_000)
        case "number":
            return dice.random()
    text, pattern = str(dice.randrange(10**18)), schema.get("pattern", "")
    if digits := re.fullmatch(r"\^0x\[[a-fA-F0-9-]+\]\{(\d+)\}\$", pattern):
        return "0x" + "".join(dice.choices("0123456789abcdef", k=int(digits[1])))
    # Ids and numbers, hashes, addresses of Solana; what is none of them has an example.
    likely = (text, f"0x{dice.randbytes(20).hex()}", "".join(dice.choices("3456789abcXYZ", k=40)))
    found = (one for one in likely if re.search(pattern, one))
    return next(found, None) or schema["example"]


def _read(schema: Mapping[str, Any], text: str) -> object:
    """Return the value that a parameter stands for."""
    if schema.get("type") == "integer":
        return int(text)
    return text.split(",") if schema.get("type") == "array" else text
