"""Grammars that leave a model no way to write a call that is not valid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import llguidance
import numpy as np
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from chassis.canonical import Json

from ..conversation import Action, Choice
from ..errors import SchemaUnsupported
from ..schemas import Schema, parse_schema
from .template import CALL_OPENER

CALL_CLOSER = "</tool_call>"
# What canonical JSON can hold; a random model writes numbers of a hundred digits otherwise.
NUMBER_MAX = 2**53 - 1

_TEXT = r"TEXT: /(.|\n)*/"
# How llguidance writes JSON: as the models saw it, and without white space to get lost in.
_STYLE: Schema = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

# Keywords that hold schemas by name, one schema, and lists of schemas.
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_SINGLES = ("items", "additionalProperties")
_LISTS = ("prefixItems", "allOf", "anyOf", "oneOf")
# An object that has one of these may get its properties from elsewhere.
_OPENERS = (
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "minProperties",
    "oneOf",
    "patternProperties",
    "unevaluatedProperties",
)

# Which tokens lead out of a value soonest. `z` cannot stand in JSON outside of a string.
_OUTSIDE_STRINGS = '}]0123456789"tfn'
_INSIDE_STRINGS = '"'
_LETTER = "z"


def make_grammar(
    tokenizer: llguidance.LLTokenizer, choice: Choice, actions: Sequence[Action]
) -> llguidance.LLMatcher:
    """Return a matcher of all that a model may answer. Raises `SchemaUnsupported`.

    Text alone, one call alone, or, when the model decides, text with at most one call at its end.
    """
    if choice is Choice.NONE or not actions:
        return llguidance.LLMatcher(tokenizer, _lark("start: TEXT", _TEXT), log_level=0)
    rules = [_call_rule(index, action) for index, action in enumerate(actions)]
    calls = " | ".join(f"call_{index}" for index in range(len(rules)))
    body = f"call: {_quote(chr(10))} ({calls}) {_quote(chr(10) + CALL_CLOSER)}"
    if choice is Choice.REQUIRED:
        heads = [f"start: {_quote(CALL_OPENER)} call"]
    else:
        # Lazy: the text ends where the opener first occurs, so text never holds half a call.
        opener = f"opener[lazy]: TEXT {_quote(CALL_OPENER)}"
        heads = ["start: TEXT | opener call", opener, _TEXT]
    matcher = llguidance.LLMatcher(tokenizer, _lark(*heads, body, *rules), log_level=0)
    if matcher.is_error():
        raise _culprit(tokenizer, actions, rules, matcher.get_error())
    return matcher


def allowed_tokens(matcher: llguidance.LLMatcher, size: int) -> NDArray[np.bool_]:
    """Return for each token whether the grammar lets it follow."""
    mask = allocate_token_bitmask(1, size)
    fill_next_token_bitmask(matcher, mask)
    bits = np.unpackbits(mask.view(np.uint8)[0], bitorder="little", count=size)
    return bits.astype(np.bool_)


class Exits:
    """Finds short ways to the end of what a grammar is in the middle of."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._size = len(pieces)
        first: dict[bytes, int] = {}
        for token, piece in enumerate(pieces):
            first.setdefault(piece, token)
        printable = [bytes([code]) for code in range(0x20, 0x7F)]
        self._letter = first.get(_LETTER.encode(), 0)
        self._outside = self._tokens(first, _OUTSIDE_STRINGS, printable)
        self._inside = self._tokens(first, _INSIDE_STRINGS, printable)

    def find(self, matcher: llguidance.LLMatcher, tokens_max: int) -> list[int] | None:
        """Return tokens that complete the text, none if it is complete; None if too many."""
        probe = matcher.deep_copy()
        way: list[int] = []
        while not (probe.is_accepting() or probe.is_stopped()) and len(way) <= tokens_max:
            forced = probe.compute_ff_tokens()
            if forced:
                way += forced
                probe.consume_tokens(forced)
                continue
            allowed = allowed_tokens(probe, self._size)
            preferred = self._inside if allowed[self._letter] else self._outside
            found = preferred[allowed[preferred]]
            token = int(found[0] if found.size else allowed.argmax())
            if not probe.consume_token(token):
                return None
            way.append(token)
        return None if probe.is_error() or len(way) > tokens_max else way

    @staticmethod
    def _tokens(
        first: Mapping[bytes, int], characters: str, rest: Sequence[bytes]
    ) -> NDArray[np.int64]:
        wanted = dict.fromkeys([*(c.encode() for c in characters), *rest])
        return np.array([first[piece] for piece in wanted if piece in first], dtype=np.int64)


def tighten(schema: Schema, *, is_alone: bool = True) -> Schema:
    """Return a schema that allows less: no unnamed properties, no numbers without bounds.

    Whatever satisfies it satisfies the original. It is what people mean, and rarely write. A schema
    that is not alone shares its value with others, and cannot know which properties those name.
    """
    tight = _bound_numbers(schema)
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, Mapping):
            alone = is_alone and keyword == "properties"
            tight[keyword] = {name: _tighten(entry, alone) for name, entry in value.items()}
        elif keyword in _SINGLES:
            tight[keyword] = _tighten(value, is_alone)
        elif keyword in _LISTS and isinstance(value, Sequence):
            alone = is_alone and keyword == "prefixItems"
            tight[keyword] = [_tighten(entry, alone) for entry in value]
    properties, required = schema.get("properties"), schema.get("required", ())
    if (
        is_alone
        and isinstance(properties, Mapping)
        and isinstance(required, Sequence)
        and all(name in properties for name in required)
        and not any(keyword in schema for keyword in _OPENERS)
    ):
        tight["additionalProperties"] = False
    return tight


def _tighten(value: Json, is_alone: bool) -> Json:  # noqa: FBT001  # private, and named at once
    return tighten(value, is_alone=is_alone) if isinstance(value, Mapping) else value


def _bound_numbers(schema: Schema) -> dict[str, Json]:
    bounded: dict[str, Json] = dict(schema)
    kinds = schema.get("type")
    if any(kind in (kinds, *_items(kinds)) for kind in ("integer", "number")):
        if "exclusiveMinimum" not in schema:
            bounded.setdefault("minimum", -NUMBER_MAX)
        if "exclusiveMaximum" not in schema:
            bounded.setdefault("maximum", NUMBER_MAX)
    return bounded


def _items(value: Json) -> Sequence[Json]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _call_rule(index: int, action: Action) -> str:
    head = f'{{"name": {json.dumps(action.name)}, "arguments": '
    schema = {**tighten(parse_schema(action.parameters_schema)), "x-guidance": _STYLE}
    return f"call_{index}: {_quote(head)} %json {json.dumps(schema)} {_quote('}')}"


def _culprit(
    tokenizer: llguidance.LLTokenizer,
    actions: Sequence[Action],
    rules: Sequence[str],
    problem: str,
) -> SchemaUnsupported:
    """Name the action whose schema does not compile; all of them if each does alone."""
    for index, action in enumerate(actions):
        alone = _lark(f"start: call_{index}", rules[index])
        error = llguidance.LLMatcher.validate_grammar(alone, tokenizer)
        if error:
            return SchemaUnsupported(action.name, _reason(error))
    return SchemaUnsupported(", ".join(action.name for action in actions), _reason(problem))


def _lark(*rules: str) -> str:
    return llguidance.LLMatcher.grammar_from_lark("\n".join(["%llguidance {}", *rules]))


def _quote(text: str) -> str:
    return json.dumps(text)


def _reason(problem: str) -> str:
    """Return the words of llguidance without its picture of our grammar."""
    line = problem.splitlines()[0]
    return line.partition("failed to compile JSON schema: ")[2] or line
