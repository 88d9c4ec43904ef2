"""Shapes: whatever a value is, its shape allows it, and so does that of what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from assembler.flows import shape_of_tree
from assembler.shapes import ANY, Shape, shape_of, shape_of_schema
from chassis.canonical import Json
from chassis.expressions import read_expression

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.sampled_from([None, True, False, 0, 1, 2.5, 1.0, "", "text"])
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
PATHS = st.lists(st.sampled_from([".a", ".b", ".c", "[0]", "[-1]"]), min_size=1, max_size=3).map(
    lambda parts: "a" + "".join(parts)
)
EXPRESSIONS = st.recursive(
    PATHS | st.sampled_from(["'text'", "`0`", "`null`", '`{"a": [1]}`']),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||", "=="]), inner)
        | inner.map("(!({}) || `null`)".format)
        | st.builds("({}).{}".format, inner, NAMES)
    ),
    max_leaves=4,
)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
SCHEMAS: st.SearchStrategy[Json] = st.recursive(
    st.builds(lambda one: {"type": one}, TYPES)
    | st.builds(lambda some: {"type": some}, st.lists(TYPES, min_size=1, unique=True))
    | st.builds(lambda some: {"enum": some}, st.lists(SCALARS, min_size=1, max_size=3))
    | st.builds(lambda one: {"const": one}, SCALARS)
    | st.booleans(),
    lambda inner: (
        st.builds(lambda one: {"type": "array", "items": one}, inner)
        | st.builds(
            lambda fields, required, more: {
                "properties": fields,
                "required": required,
                "additionalProperties": more,
            },
            st.dictionaries(NAMES, inner, max_size=3),
            st.lists(NAMES, unique=True, max_size=2),
            st.booleans(),
        )
    ),
    max_leaves=6,
)


def allows(shape: Shape, value: Json) -> bool:
    return shape.overlaps(shape_of([value]))


@given(st.lists(VALUES, min_size=1, max_size=3), EXPRESSIONS)
def test_what_an_expression_gives_is_of_the_shape_that_was_foreseen(
    values: list[Json], text: str
) -> None:
    expression = read_expression(text)
    foreseen, _ = shape_of_tree(expression.tree, shape_of({"a": value} for value in values))
    for value in values:
        assert allows(foreseen, expression.of({"a": value}))


@given(st.lists(VALUES, min_size=1, max_size=3), EXPRESSIONS)
def test_what_is_said_to_be_missing_is_never_there(values: list[Json], text: str) -> None:
    root = shape_of({"a": value} for value in values)
    for path in [path for path in read_expression(text).paths if len(path) > 1]:
        chain = read_expression(".".join(path))
        if shape_of_tree(chain.tree, root)[1]:
            assert all(chain.of({"a": value}) is None for value in values)


@given(SCHEMAS, VALUES)
def test_a_value_of_a_schema_is_of_its_shape(schema: Json, value: Json) -> None:
    assert isinstance(schema, dict | bool)
    if Draft202012Validator(schema).is_valid(value):
        assert allows(shape_of_schema(schema), value)


@given(SCHEMAS, SCHEMAS, VALUES)
def test_shapes_with_a_common_value_overlap(one: Json, other: Json, value: Json) -> None:
    assert isinstance(one, dict | bool)
    assert isinstance(other, dict | bool)
    if all(Draft202012Validator(schema).is_valid(value) for schema in (one, other)):
        assert shape_of_schema(one).overlaps(shape_of_schema(other))
        assert allows(shape_of_schema(one) | shape_of_schema(other), value)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ({"type": "string"}, {"type": "integer"}, False),
        ({"type": "integer"}, {"type": "number"}, True),
        ({"type": "number"}, {"type": "integer"}, True),
        ({"enum": ["a", "b"]}, {"enum": ["b"]}, True),
        ({"enum": ["a"]}, {"const": "b"}, False),
        ({"const": 1}, {"const": True}, False),
        ({"type": "object", "required": ["a"]}, {"additionalProperties": False}, False),
        ({"type": ["string", "null"]}, {"type": ["integer", "null"]}, True),
        ({"$ref": "#/x"}, {"type": "integer"}, True),
    ],
)
def test_only_what_can_never_be_both_does_not_overlap(
    one: Json,
    other: Json,
    overlap: bool,  # noqa: FBT001  # a case
) -> None:
    assert shape_of_schema(one).overlaps(shape_of_schema(other)) is overlap


def test_of_many_values_there_could_be_any() -> None:
    # Looking at all of them would take as long as there are fields, squared.
    assert shape_of({f"a{one}": one} for one in range(65)) == ANY


def test_a_schema_without_an_end_could_be_anything() -> None:
    schema: Json = {"type": "string"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    assert allows(shape_of_schema(schema), [])
