"""What a value can be, as far as schemas and expressions say: never less than it really can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chassis.canonical import Json
from chassis.expressions import is_true

KINDS = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
# What is deeper in a schema, or one of more values, could be anything.
DEPTH_MAX = 16
VALUES_MAX = 64
# What can be false though it is neither `false` nor null: what is empty.
_EMPTIABLE = frozenset({"null", "boolean", "string", "array", "object"})


@dataclass(frozen=True)
class Shape:
    """What a value can be; of a kind `number` is what is no whole number.

    `fields` are those of an object that something is known of, `required` those that it always has;
    it has no others if it `is_closed`. `values` are all that there can be, where these are few.
    """

    kinds: frozenset[str] = KINDS
    fields: Mapping[str, Shape] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    is_closed: bool = False
    items: Shape | None = None
    values: tuple[Json, ...] | None = None

    def field(self, name: str) -> Shape:
        """Return what a field of it can be; null where there is none."""
        found = self.part(name)
        if "object" not in self.kinds or found is None:
            return NULL
        is_there = self.kinds == {"object"} and name in self.required
        return found if is_there else found | NULL

    def part(self, name: str) -> Shape | None:
        """Return what a field can be where it is there; None if an object never has it."""
        return self.fields.get(name, None if self.is_closed else ANY)

    @property
    def item(self) -> Shape:
        """Return what an item of it can be; null where there is none."""
        return (self.items or ANY) | NULL if "array" in self.kinds else NULL

    @property
    def present(self) -> Shape:
        """Return what it can be besides null."""
        return self._only(lambda value: value is not None, self.kinds - {"null"})

    @property
    def true(self) -> Shape:
        """Return what it can be where it holds as a condition."""
        return self._only(is_true, self.kinds - {"null"})

    @property
    def false(self) -> Shape:
        """Return what it can be where it does not hold."""
        return self._only(lambda value: not is_true(value), self.kinds & _EMPTIABLE)

    def _only(self, holds: Callable[[Json], bool], kinds: frozenset[str]) -> Shape:
        if self.values is None:
            return replace(self, kinds=kinds)
        return shape_of(filter(holds, self.values))

    def __or__(self, other: Shape) -> Shape:
        """Return what a value can be that is of one shape or the other."""
        if not self.kinds or not other.kinds:
            return self if self.kinds else other
        values = None
        if self.values is not None and other.values is not None:
            values = (*self.values, *other.values)
        return replace(
            _objects(self, other),
            kinds=self.kinds | other.kinds,
            items=_items(self, other),
            values=values if values is None or len(values) <= VALUES_MAX else None,
        )

    def overlaps(self, other: Shape) -> bool:
        """Tell whether there can be a value that is of both."""
        common = self.kinds & other.kinds
        if self.values is not None and other.values is not None:
            return any(_is_same(one, two) for one in self.values for two in other.values)
        if common != {"object"}:
            # An empty list is one of whatever items.
            return bool(common)
        for name in self.required | other.required:
            one, two = self.part(name), other.part(name)
            if one is None or two is None or not one.overlaps(two):
                return False
        return True


ANY = Shape()
NULL = Shape(frozenset({"null"}), values=(None,))
_NOTHING = Shape(frozenset())


def shape_of(values: Iterable[Json]) -> Shape:
    """Return the shape of what is one of these values; of more than a few, it could be anything."""
    found = _NOTHING
    for count, value in enumerate(values):
        if count >= VALUES_MAX:
            return ANY
        found |= _shape_of(value)
    return found


def shape_of_schema(schema: Json, *, depth: int = 0) -> Shape:
    """Return what values of a JSON Schema can be, by the part of it that is looked at here."""
    if schema is False:
        return _NOTHING
    if not isinstance(schema, Mapping) or depth > DEPTH_MAX:
        return ANY
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, Sequence) and 0 < len(values) <= VALUES_MAX:
        return shape_of(values)
    properties, required = schema.get("properties"), schema.get("required")
    fields = properties if isinstance(properties, Mapping) else {}
    return Shape(
        kinds=_kinds(schema.get("type")),
        fields={name: shape_of_schema(one, depth=depth + 1) for name, one in fields.items()},
        required=frozenset(map(str, required if isinstance(required, Sequence) else ())),
        is_closed=schema.get("additionalProperties") is False and "patternProperties" not in schema,
        items=shape_of_schema(schema["items"], depth=depth + 1)
        if "items" in schema and "prefixItems" not in schema
        else None,
    )


def _shape_of(value: Json) -> Shape:
    kinds, values = frozenset({_kind(value)}), (value,)
    if isinstance(value, Mapping):
        fields = {name: _shape_of(one) for name, one in value.items()}
        return Shape(kinds, fields, frozenset(fields), is_closed=True, values=values)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Shape(kinds, items=shape_of(value), values=values)
    return Shape(kinds, values=values)


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case _:
            return "array"


def _kinds(types: Json) -> frozenset[str]:
    """Return the kinds of the types of a schema."""
    names = [types] if isinstance(types, str) else types
    if not isinstance(names, Sequence):
        return KINDS
    found = frozenset(map(str, names)) & KINDS
    return found | {"integer"} if "number" in found else found


def _objects(one: Shape, other: Shape) -> Shape:
    """Return what is known of objects that are one or the other."""
    if "object" not in one.kinds or "object" not in other.kinds:
        return one if "object" in one.kinds else other
    parts = {
        name: [part for shape in (one, other) if (part := shape.part(name))]
        for name in (*one.fields, *other.fields)
    }
    return Shape(
        fields={name: found[0] | found[-1] for name, found in parts.items()},
        required=one.required & other.required,
        is_closed=one.is_closed and other.is_closed,
    )


def _items(one: Shape, other: Shape) -> Shape | None:
    if "array" not in one.kinds or "array" not in other.kinds:
        return one.items if "array" in one.kinds else other.items
    return one.items | other.items if one.items and other.items else None


def _is_same(one: Json, other: Json) -> bool:
    """Tell whether JSON values are the same; Python has `1 == True`."""
    return _kind(one) == _kind(other) and one == other
