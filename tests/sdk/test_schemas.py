"""Tests of types: their schemas, and values of them from JSON and to JSON."""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, NewType, NotRequired, Required, TypedDict

import pytest
from jsonschema import Draft202012Validator

from actionvm_sdk.schemas import Field, SchemaError, schema_of
from actionvm_sdk.values import fits, from_json, to_json

Coin = NewType("Coin", str)


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Price:
    amount: float
    currency: str = "usd"
    sources: list[str] = field(default_factory=list)
    seen: int = field(default=0, init=False)


@dataclass
class Basket:
    prices: list[Price]
    best: Price | None = None


class Total(TypedDict):
    price: Price
    note: NotRequired[Annotated[str, "a remark"]]


class Partial(TypedDict, total=False):
    must: Required[int]
    may: int


@dataclass
class Node:
    children: list[Node]


class Tree(TypedDict):
    left: Tree | None


@dataclass
class Circle:
    radius: float


@dataclass
class Square:
    side: float


PRICE = {
    "type": "object",
    "properties": {
        "amount": {"type": "number"},
        "currency": {"type": "string"},
        "sources": {"type": "array", "items": {"type": "string"}},
    },
    "additionalProperties": False,
    "required": ["amount"],
}
TYPES: list[tuple[Any, dict[str, Any], Any, Any]] = [
    (str, {"type": "string"}, "a", "a"),
    (int, {"type": "integer"}, 1, 1),
    (float, {"type": "number"}, 1.5, 1.5),
    (bool, {"type": "boolean"}, True, True),
    (type(None), {"type": "null"}, None, None),
    (Any, {}, [1], [1]),
    (object, {}, "x", "x"),
    (Coin, {"type": "string"}, "eth", "eth"),
    (list, {"type": "array"}, [1, "a"], [1, "a"]),
    (list[int], {"type": "array", "items": {"type": "integer"}}, [1], [1]),
    (typing.List[int], {"type": "array", "items": {"type": "integer"}}, [1], [1]),  # noqa: UP006  # old code has it
    (Sequence[str], {"type": "array", "items": {"type": "string"}}, ["a"], ["a"]),
    (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}, [1, 2], (1, 2)),
    (dict, {"type": "object"}, {"a": 1}, {"a": 1}),
    (dict[str, Any], {"type": "object"}, {"a": 1}, {"a": 1}),
    (
        Mapping[str, bool],
        {"type": "object", "additionalProperties": {"type": "boolean"}},
        {"a": True},
        {"a": True},
    ),
    (Literal["a", 1], {"enum": ["a", 1]}, 1, 1),
    (Colour, {"enum": ["red", 2]}, 2, Colour.BLUE),
    (Level, {"enum": [1]}, 1, Level.LOW),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, None),
    (
        typing.Optional[Colour],  # noqa: UP045  # old code has it
        {"anyOf": [{"enum": ["red", 2]}, {"type": "null"}]},
        "red",
        Colour.RED,
    ),
    (
        datetime,
        {"type": "string", "description": "a time in ISO 8601"},
        "2026-01-01T00:00:00+00:00",
        datetime(2026, 1, 1, tzinfo=UTC),
    ),
    (
        date,
        {"type": "string", "description": "a day in ISO 8601"},
        "2026-01-31",
        date(2026, 1, 31),
    ),
    (Price, PRICE, {"amount": 2.0, "currency": "eur"}, Price(2.0, "eur")),
    (
        Basket,
        {
            "type": "object",
            "properties": {
                "prices": {"type": "array", "items": PRICE},
                "best": {"anyOf": [PRICE, {"type": "null"}]},
            },
            "additionalProperties": False,
            "required": ["prices"],
        },
        {"prices": [{"amount": 1.0}], "best": {"amount": 2.0}},
        Basket([Price(1.0)], Price(2.0)),
    ),
    (
        Total,
        {
            "type": "object",
            "properties": {"price": PRICE, "note": {"type": "string", "description": "a remark"}},
            "additionalProperties": False,
            "required": ["price"],
        },
        {"price": {"amount": 1.0}},
        {"price": Price(1.0)},
    ),
    (
        Partial,
        {
            "type": "object",
            "properties": {"must": {"type": "integer"}, "may": {"type": "integer"}},
            "additionalProperties": False,
            "required": ["must"],
        },
        {"must": 1},
        {"must": 1},
    ),
]


@pytest.mark.parametrize(("kind", "schema", "_json", "_value"), TYPES)
def test_a_type_has_its_schema(
    kind: object, schema: dict[str, Any], _json: object, _value: object
) -> None:
    assert schema_of(kind) == schema
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(("kind", "schema", "json", "value"), TYPES)
def test_json_becomes_the_type(
    kind: object, schema: dict[str, Any], json: object, value: object
) -> None:
    assert Draft202012Validator(schema).is_valid(json)
    assert fits(json, kind)
    found = from_json(json, kind)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("kind", "_schema", "_json", "value"), TYPES)
def test_a_value_goes_to_json_and_comes_back(
    kind: object, _schema: dict[str, Any], _json: object, value: object
) -> None:
    told = to_json(value)

    # What is not handed in, such as `seen`, is told all the same.
    if "seen" not in str(told):
        assert from_json(told, kind) == value


@pytest.mark.parametrize(
    ("kind", "json", "value"),
    [
        (float, 1, 1.0),
        (int, 1.0, 1),
        (int | float, 1.5, 1.5),
        (float | None, 2, 2.0),
        (int | str, "3", "3"),
        (Circle | Square, {"side": 1.0}, Square(1.0)),
        (list[Circle | Square], [{"radius": 1}, {"side": 2}], [Circle(1.0), Square(2.0)]),
        (dict[str, Colour], {"a": 2}, {"a": Colour.BLUE}),
        (date | str, "soon", "soon"),
        (Literal[1] | bool, True, True),
    ],
)
def test_json_becomes_what_it_fits(kind: object, json: object, value: object) -> None:
    found = from_json(json, kind)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, int),
        (1, bool),
        (1.5, int),
        ("1", float),
        (True, Literal[1]),
        (1, Colour),
        ([1, "a"], list[int]),
        ({"amount": "1"}, Price),
        ({"amount": 1, "more": 1}, Price),
        ({}, Price),
        ({"a": 1}, dict[str, str]),
        ("noon", datetime),
        (None, str),
    ],
)
def test_json_of_another_type_does_not_fit(value: object, kind: object) -> None:
    assert not fits(value, kind)
    assert not Draft202012Validator(schema_of(kind)).is_valid(value) or kind is datetime


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (Annotated[str, "a coin"], {"type": "string", "description": "a coin"}),
        (
            Annotated[int, Field("how many", minimum=1, maximum=9)],
            {"type": "integer", "description": "how many", "minimum": 1, "maximum": 9},
        ),
        (
            Annotated[str, Field(min_length=1, max_length=9)],
            {"type": "string", "minLength": 1, "maxLength": 9},
        ),
        (
            Annotated[list[int], Field(max_length=3)],
            {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        ),
        (
            Annotated[int | None, Field(minimum=0)],
            {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
        ),
        (
            Annotated[Annotated[str, "inside"], Field(max_length=2), "outside"],
            {"type": "string", "description": "outside", "maxLength": 2},
        ),
        (Annotated[Colour, "a colour"], {"enum": ["red", 2], "description": "a colour"}),
    ],
)
def test_annotations_say_more(kind: object, schema: dict[str, Any]) -> None:
    assert schema_of(kind) == schema


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (bytes, "is bytes, which JSON does not have"),
        (set[int], "which JSON does not have"),
        (complex | None, "is complex"),
        (tuple[int, int], "a tuple of a fixed length"),
        (dict[int, str], "has keys that are not text"),
        (Literal[b"a"], "has the value b'a'"),
        (Node, "has a field children that is Node, which contains itself"),
        (Tree, "which contains itself"),
        (list[list[list[list[list[list[list[list[list[int]]]]]]]]], "nested deeper than 8"),
        (Annotated[str, Field(minimum=1)], "a minimum or maximum, but is no number"),
        (Annotated[int, Field(max_length=1)], "a length, but is no text and no list"),
        (enum.Enum, "has no values"),
        (3, "is 3"),
        ([int], "which JSON does not have"),
    ],
)
def test_what_json_does_not_have_is_refused(kind: object, told: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schema_of(kind)

    assert told in str(caught.value)


def test_many_fields_that_contain_themselves_are_refused_at_once() -> None:
    hints = {f"a{number}": "list[Wide]" for number in range(50)}
    wide = type("Wide", (), {"__annotations__": hints})
    globals()["Wide"] = wide

    with pytest.raises(SchemaError, match="contains itself"):
        schema_of(dataclass(wide))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "is nan"),
        (2**53, "beyond 2^53"),
        (b"a", "is bytes"),
        ({1: 2}, "keys that are not text"),
        ([[object()]], "is object"),
        (Price, "is type"),
    ],
)
def test_a_value_that_json_does_not_have_is_refused(value: object, told: str) -> None:
    with pytest.raises(SchemaError) as caught:
        to_json(value)

    assert told in str(caught.value)


def test_what_contains_itself_is_not_followed_forever() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(SchemaError, match="deeper than 64"):
        to_json(value)


def test_sets_are_told_in_one_order() -> None:
    assert to_json({"c", "a", "b"}) == ["a", "b", "c"]


@pytest.mark.parametrize(("value", "kind"), [("noon", datetime), ("green", Colour)])
def test_json_that_fits_its_schema_may_be_refused_by_its_type(value: str, kind: object) -> None:
    with pytest.raises(SchemaError, match=value):
        from_json(value, kind)
