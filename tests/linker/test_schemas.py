"""Arguments are checked against the schema in bounded time, whatever the schema."""

from __future__ import annotations

import json

import pytest

from chassis.canonical import Json
from linker.conversation import WrittenCall
from linker.errors import SchemaUnsupported
from linker.schemas import checked_arguments
from tests.linker.orders import action


def check(schema: Json, arguments: Json) -> str:
    call = WrittenCall("board.post", json.dumps(arguments))
    return checked_arguments(call, (action(schema),))


def test_references_that_double_at_every_level_are_given_up() -> None:
    levels: dict[str, Json] = {
        f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]}
        for i in range(40)
    }
    levels["d40"] = {"type": "string"}
    start: Json = {"a": {"$ref": "#/$defs/d0"}}
    schema: Json = {"type": "object", "properties": start, "$defs": levels}
    with pytest.raises(SchemaUnsupported):
        check(schema, {"a": "b"})


def test_a_reference_in_every_item_of_a_list_is_followed() -> None:
    items: Json = {"type": "array", "items": {"$ref": "#/$defs/word"}}
    words: Json = {"word": {"type": "string"}}
    schema: Json = {"type": "object", "properties": {"a": items}, "$defs": words}
    assert check(schema, {"a": ["b"] * 500}) == json.dumps(
        {"a": ["b"] * 500}, separators=(",", ":")
    )


@pytest.mark.parametrize("keyword", [{"pattern": "^a"}, {"patternProperties": {"^a": False}}])
def test_patterns_are_left_to_the_grammar_at_the_top_too(keyword: dict[str, Json]) -> None:
    assert check({"type": "object", **keyword}, {"a": 1}) == '{"a":1}'
