"""Schemas of strangers: what is taken is JSON Schema, and its check ends soon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chassis.canonical import Json, canonical_json
from chassis.schemas import SCHEMA_DEPTH_MAX, SCHEMA_PARTS_MAX, flaws_of_schema

KEYWORDS = ["type", "properties", "required", "items", "enum", "const", "minimum", "maxLength",
            "additionalProperties", "description", "pattern", "$ref", "a"]  # fmt: skip
ANYTHING: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["object", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=3)
    ),
    max_leaves=12,
)


def nested(levels: int) -> Json:
    schema: Json = {"type": "string"}
    for _ in range(levels - 1):
        schema = {"type": "array", "items": schema}
    return schema


@given(ANYTHING)
def test_what_has_no_flaws_is_a_json_schema_that_can_be_written(schema: Json) -> None:
    if not flaws_of_schema(schema):
        assert isinstance(schema, dict)
        Draft202012Validator.check_schema(schema)
        assert canonical_json(schema)


def test_the_whole_part_is_taken() -> None:
    schema: Json = {
        "type": "object",
        "description": "A note.",
        "properties": {
            "title": {"type": "string", "minLength": 1, "maxLength": 80},
            "kind": {"enum": ["news", 1, None, True]},
            "version": {"const": 2},
            "score": {"type": ["number", "null"], "minimum": 0, "maximum": 0.5},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 0, "maxItems": 3},
        },
        "required": ["title"],
        "additionalProperties": False,
    }
    assert flaws_of_schema(schema) == []


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (True, ()),
        ({"pattern": "(a+)+$"}, ("pattern",)),
        ({"$ref": "#"}, ("$ref",)),
        ({"format": "email"}, ("format",)),
        ({"uniqueItems": True}, ("uniqueItems",)),
        ({"properties": {"a": {"anyOf": []}}}, ("properties", "a", "anyOf")),
        ({"properties": {"properties": 1}}, ("properties", "properties")),
        ({"properties": []}, ("properties",)),
        ({"items": {"type": "text"}}, ("items", "type")),
        ({"items": [{}]}, ("items",)),
        ({"type": []}, ("type",)),
        ({"type": [["string"]]}, ("type",)),
        ({"enum": []}, ("enum",)),
        ({"enum": list(range(65))}, ("enum",)),
        ({"enum": [{"a": 1}]}, ("enum",)),
        ({"const": 2**53}, ("const",)),
        ({"const": float("nan")}, ("const",)),
        ({"const": "x" * 1_025}, ("const",)),
        ({"minimum": True}, ("minimum",)),
        ({"minLength": -1}, ("minLength",)),
        ({"maxLength": 1.5}, ("maxLength",)),
        ({"additionalProperties": {}}, ("additionalProperties",)),
        ({"required": ["a", "a"]}, ("required",)),
        ({"required": "a"}, ("required",)),
        ({"required": ["a"], "additionalProperties": False}, ("required", 0)),
        ({"minimum": 2, "maximum": 1}, ("minimum",)),
        ({"minItems": 2, "maxItems": 1}, ("minItems",)),
    ],
)
def test_what_is_not_taken_is_said_with_its_place(schema: Json, path: tuple[object, ...]) -> None:
    (flaw,) = flaws_of_schema(schema)
    assert flaw.path == path
    assert flaw.message


def test_depth_and_size_have_limits() -> None:
    assert not flaws_of_schema(nested(SCHEMA_DEPTH_MAX))
    (deep,) = flaws_of_schema(nested(100_000))
    assert "levels deep" in deep.message
    wide: Json = {"properties": {f"a{one}": {} for one in range(SCHEMA_PARTS_MAX)}}
    (large,) = flaws_of_schema(wide)
    assert "parts" in large.message
