"""JSON Schemas thrown by dice: what people and programs write, and what they forget."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from chassis.canonical import Json

NAMES = ("text", "n", "when", "tags", "to", "a b", 'q"q', "ünï", "$id", "")
FORMATS = ("date", "date-time", "time", "email", "ipv4", "ipv6", "uuid", "uri", "hostname")
PATTERNS = ("^[A-Z]{2,4}-[0-9]+$", "^(yes|no)$", "[a-f]{3}", "^\\\\S+$", "^.{2,5}$", "^ä?b*$")

Schema = dict[str, Json]


def random_object(dice: random.Random, depth: int = 2) -> Schema:
    """Return a schema of an object, as actions have them."""
    names = dice.sample(NAMES, dice.randint(0, 4))
    schema: Schema = {
        "type": "object",
        "properties": {name: random_value(dice, depth) for name in names},
    }
    if dice.random() < 0.8:
        schema["required"] = [name for name in names if dice.random() < 0.7]
    if dice.random() < 0.3:
        schema["additionalProperties"] = dice.choice([True, False, {"type": "integer"}])
    if dice.random() < 0.1:
        schema["minProperties"] = dice.randint(0, 2)
    return schema


def random_answer(dice: random.Random) -> Schema:
    """Return a schema of any value, perhaps with definitions that refer to each other."""
    if dice.random() < 0.7:
        return random_value(dice, 3)
    leaf = random_value(dice, 1)
    tree: Schema = {
        "type": "object",
        "properties": {
            "leaf": {"$ref": "#/$defs/leaf"},
            "rest": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2},
        },
        "required": ["leaf"],
    }
    return {"$defs": {"leaf": leaf, "tree": tree}, "$ref": "#/$defs/tree"}


def random_value(dice: random.Random, depth: int) -> Schema:
    """Return a schema of a value; one that is nested while there is depth."""
    if depth and dice.random() < 0.4:
        return dice.choice(_NESTED)(dice, depth - 1)
    return dice.choice(_SIMPLE)(dice)


def _bounded(dice: random.Random) -> Schema:
    low = dice.randint(-50, 50)
    kind = dice.choice(["integer", "number"])
    return {"type": kind, "minimum": low, "maximum": low + dice.randint(0, 20)}


def _open(dice: random.Random) -> Schema:
    low = dice.randint(-50, 50)
    return {"type": dice.choice(["integer", "number"]), "exclusiveMinimum": low}


def _tuple(dice: random.Random, depth: int) -> Schema:
    items = [random_value(dice, depth) for _ in range(dice.randint(1, 3))]
    size = dice.randint(0, len(items))
    schema: Schema = {"type": "array", "prefixItems": items, "minItems": size}
    return schema | dice.choice([{"items": False}, {"maxItems": size}])


def _list(dice: random.Random, depth: int) -> Schema:
    least = dice.randint(0, 2)
    schema: Schema = {"type": "array", "items": random_value(dice, depth), "minItems": least}
    return schema | dice.choice([{}, {"maxItems": least + dice.randint(0, 2)}])


def _any(dice: random.Random, depth: int) -> Schema:
    return {"anyOf": [random_value(dice, depth) for _ in range(dice.randint(1, 3))]}


def _tagged(dice: random.Random, depth: int) -> Schema:
    """Return one of several objects, told apart by a constant, as programs write unions."""
    options: list[Json] = []
    for tag in ("cat", "dog", "eel")[: dice.randint(1, 3)]:
        properties: Mapping[str, Json] = {"kind": {"const": tag}, "of": random_value(dice, depth)}
        options.append({"type": "object", "properties": properties, "required": ["kind"]})
    return {dice.choice(["oneOf", "anyOf"]): options}


def _all(dice: random.Random, depth: int) -> Schema:
    left: Schema = {
        "type": "object",
        "properties": {"a": random_value(dice, depth)},
        "required": ["a"],
    }
    right: Schema = {"properties": {"b": random_value(dice, depth)}, "required": ["b"]}
    return {"allOf": [left, right]}


def _map(dice: random.Random, depth: int) -> Schema:
    names = random_value(dice, depth)
    return dice.choice(
        [
            {"type": "object", "additionalProperties": names},
            {"type": "object", "patternProperties": {"^x-[a-z]$": names}},
        ]
    )


_SIMPLE: tuple[Callable[[random.Random], Schema], ...] = (
    lambda _: {"type": "string"},
    lambda dice: {
        "type": "string",
        "minLength": dice.randint(0, 3),
        "maxLength": dice.randint(3, 9),
    },
    lambda dice: {"type": "string", "pattern": dice.choice(PATTERNS)},
    lambda dice: {"type": "string", "format": dice.choice(FORMATS)},
    lambda _: {"enum": ["up", "down", 7, None, True, 0.5, {"a": []}]},
    lambda _: {"const": {"deep": [1, "x", '\n"ü\\']}},
    lambda _: {"type": "integer"},
    lambda dice: {"type": "integer", "multipleOf": dice.choice([1, 2, 5, 7])},
    lambda _: {"type": "number"},
    lambda _: {"type": "boolean", "title": "A title", "description": "Is it?", "default": True},
    lambda _: {"type": "null"},
    lambda _: {"type": ["integer", "null"]},
    lambda _: {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    lambda _: {},
    _bounded,
    _open,
)
_NESTED: tuple[Callable[[random.Random, int], Schema], ...] = (
    random_object,
    _list,
    _tuple,
    _any,
    _tagged,
    _all,
    _map,
)
