"""A tight schema allows less than people wrote, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping

import jsonschema
import pytest

from chassis.canonical import Json
from linker.providers.tight import NUMBER_MAX, TooLoose, tight_schema, tighten
from tests.linker.orders import POST_SCHEMA
from tests.linker.schema_dice import random_answer

ANY = {"$ref": "#/$defs/any-json"}
A: Mapping[str, Json] = {"type": "object", "properties": {"a": {"type": "string"}}}
B: Mapping[str, Json] = {"properties": {"b": {"type": "null"}}, "required": ["b"]}


def test_a_named_object_is_closed() -> None:
    assert tighten(POST_SCHEMA)["additionalProperties"] is False


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {"const": 1}}, "required": ["b"]},
        {"type": "object", "patternProperties": {"^a": {"const": 1}}},
    ],
)
def test_an_object_that_may_have_other_properties_stays_open(schema: Mapping[str, Json]) -> None:
    extra = tighten(schema)["additionalProperties"]
    assert extra == ANY or (isinstance(extra, Mapping) and extra["additionalProperties"] == ANY)


def test_objects_that_are_all_to_be_satisfied_become_one() -> None:
    merged = tighten({"allOf": [A, B], "description": "Both."})
    assert merged["properties"] == {"a": {"type": "string"}, "b": {"type": "null"}}
    assert (merged["required"], merged["additionalProperties"]) == (["b"], False)


@pytest.mark.parametrize(
    "parts", [[A, A], [A, {"$ref": "#/$defs/x"}], [A, {"minProperties": 1}], [A, True], []]
)
def test_what_may_speak_of_the_same_property_stays_apart(parts: list[Json]) -> None:
    assert "allOf" in tighten({"type": "object", "minProperties": 1, "allOf": parts})
    if parts:
        assert "allOf" in tighten({"allOf": parts})


def test_each_option_of_a_union_is_closed() -> None:
    options = tighten({"anyOf": [A, {"type": "null"}]})["anyOf"]
    assert isinstance(options, list)
    assert options[0]["additionalProperties"] is False


def test_an_option_that_shares_its_value_stays_open() -> None:
    options = tighten({**A, "anyOf": [B, {"required": ["a"]}]})["anyOf"]
    assert isinstance(options, list)
    assert all("additionalProperties" not in option for option in options)


NODE_REF: Mapping[str, Json] = {"$ref": "#/$defs/node"}
NODE: Mapping[str, Json] = {"type": "object", "properties": {"next": NODE_REF}}


def test_a_definition_that_is_all_of_a_value_is_closed() -> None:
    tight = tight_schema(
        {
            "properties": {
                "a": {"$ref": "#/$defs/node"},
                "b": {"allOf": [{"$ref": "#/$defs/node"}]},
            },
            "type": "object",
            "$defs": {"node": NODE},
        }
    )
    assert json.loads(json.dumps(tight))["$defs"]["node"]["additionalProperties"] is False


def test_a_definition_that_others_add_to_stays_open() -> None:
    tight = tight_schema({"allOf": [NODE_REF, B], "$defs": {"node": NODE}})
    assert "additionalProperties" not in json.loads(json.dumps(tight))["$defs"]["node"]


def test_numbers_get_the_bounds_of_canonical_json() -> None:
    assert tighten({"type": ["null", "number"], "exclusiveMinimum": 3}) == {
        "type": ["null", "number"],
        "exclusiveMinimum": 3,
        "maximum": NUMBER_MAX,
    }


def test_a_number_somewhere_in_any_value_is_bounded() -> None:
    schema = tight_schema({"type": "object", "properties": {"a": {}, "l": {"type": "array"}}})
    jsonschema.validate({"a": {"x": [[1, "x", None]]}, "l": [True]}, schema)
    for large in ({"a": 1e300}, {"a": {"x": [[1e300]]}}, {"l": [{"y": -1e300}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(large, schema)


@pytest.mark.parametrize("required", [["a"], ["a", "b"]])
def test_a_least_number_of_properties_is_sure_or_refused(required: list[str]) -> None:
    schema: Mapping[str, Json] = {"type": "object", "minProperties": 2, "required": required}
    if len(required) > 1:
        assert "minProperties" not in tight_schema(schema)
    else:
        with pytest.raises(TooLoose):
            tight_schema(schema)


@pytest.mark.parametrize("seed", range(100))
def test_a_tight_schema_is_a_schema_and_is_as_tight_as_can_be(seed: int) -> None:
    schema = random_answer(random.Random(seed))
    try:
        tight = tight_schema(schema)
    except TooLoose:
        assert "minProperties" in json.dumps(schema)
        return
    jsonschema.Draft202012Validator.check_schema(json.loads(json.dumps(tight)))
    assert tight_schema(tight) == tight
