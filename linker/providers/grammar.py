"""Grammars that leave a model no way to write a call that is not valid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import llguidance
import numpy as np
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from ..conversation import Action, Choice, Prompt, WrittenCall
from ..errors import SchemaUnsupported
from ..schemas import Schema, parse_answer_schema, parse_schema
from .template import CALL_OPENER
from .tight import TooLoose, tight_schema

CALL_CLOSER = "</tool_call>"

# How errors call the schema of answers.
THE_ANSWER = "the answer"
GRAMMARS_KNOWN_MAX = 64
# All schemas of one prompt together. So much compiles within half a second.
SCHEMAS_BYTES_MAX = 256 * 1024
# Hostile schemas run into these, in milliseconds. llguidance panics at 65,000 symbols of a grammar.
_LIMITS = llguidance.LLParserLimits(
    max_items_in_row=2_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=50_000,
    max_grammar_size=60_000,
)

_TEXT = r"TEXT: /(.|\n)*/"
# How llguidance writes JSON: as the models saw it, and without white space to get lost in.
_STYLE: Schema = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

# Which tokens lead out of a value soonest. `z` cannot stand in JSON outside of a string.
_OUTSIDE_STRINGS = '}]0123456789"tfn'
_INSIDE_STRINGS = '"'
_LETTER = "z"


class Grammars:
    """Makes the grammars of one model, and remembers the last ones: compiling takes milliseconds.

    May be used from several threads. The tokenizer points into the model, and must not outlive it.
    """

    def __init__(self, tokenizer: llguidance.LLTokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[str, ...], llguidance.LLMatcher] = {}

    def make(self, prompt: Prompt) -> llguidance.LLMatcher:
        """Return a matcher of all that a model may answer. Raises `SchemaUnsupported`.

        Text alone, calls alone, or, when the model decides, text with calls at its end. With a
        schema for answers it decides between an answer that satisfies it and calls.
        """
        rules = _rules(prompt)
        matcher = self._known.get(rules)
        if matcher is None:
            matcher = self._compile(rules)
            if matcher.is_error():
                raise self._culprit(prompt, matcher.get_error())
            while len(self._known) >= GRAMMARS_KNOWN_MAX:
                self._known.pop(next(iter(self._known)), None)
            self._known[rules] = matcher
        return matcher.deep_copy()

    def _compile(self, rules: Sequence[str]) -> llguidance.LLMatcher:
        lark = llguidance.LLMatcher.grammar_from_lark("\n".join(["%llguidance {}", *rules]))
        return llguidance.LLMatcher(self._tokenizer, lark, log_level=0, limits=_LIMITS)

    def _culprit(self, prompt: Prompt, problem: str) -> SchemaUnsupported:
        """Name the schema that does not compile; all of them if each does alone."""
        alone = [(action.name, _call_rule("start", action)) for action in _callable_actions(prompt)]
        if prompt.answer_schema:
            alone.append((THE_ANSWER, _answer_rule("start", prompt.answer_schema)))
        for name, rule in alone:
            matcher = self._compile([rule])
            if matcher.is_error():
                return SchemaUnsupported(name, _reason(matcher.get_error()))
        return SchemaUnsupported(", ".join(name for name, _ in alone), _reason(problem))


def read_calls(written: str) -> tuple[WrittenCall, ...]:
    """Return the whole calls in what a model wrote after the first opener, under a grammar."""
    # JSON has no bare newline inside of strings, so these can stand between calls only.
    whole = written.split(f"\n{CALL_CLOSER}")[:-1]
    calls = [json.loads(call.removeprefix(f"\n{CALL_OPENER}")) for call in whole]
    return tuple(
        WrittenCall(call["name"], json.dumps(call["arguments"], ensure_ascii=False))
        for call in calls
    )


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


def _rules(prompt: Prompt) -> tuple[str, ...]:
    """Return the grammar of a prompt, one rule a line."""
    actions = _callable_actions(prompt)
    size = sum(len(action.parameters_schema) for action in actions) + len(prompt.answer_schema)
    if size > SCHEMAS_BYTES_MAX:
        names = ", ".join(action.name for action in actions) or THE_ANSWER
        problem = f"together {size} bytes, where {SCHEMAS_BYTES_MAX} are possible"
        raise SchemaUnsupported(names, problem)
    schema = prompt.answer_schema
    answer = _answer_rule("answer", schema) if schema else "answer: TEXT"
    if not actions:
        return ("start: answer", answer, *([] if schema else [_TEXT]))
    opener = _quote(CALL_OPENER)
    names = " | ".join(f"call_{index}" for index in range(len(actions)))
    more = prompt.calls_max - 1
    again = f" ({_quote(chr(10) + CALL_OPENER)} call){{0,{more}}}" if more else ""
    calls = [
        f"calls: call{again}",
        f"call: {_quote(chr(10))} ({names}) {_quote(chr(10) + CALL_CLOSER)}",
        *(_call_rule(f"call_{index}", action) for index, action in enumerate(actions)),
    ]
    if prompt.choice is Choice.REQUIRED:
        return (f"start: {opener} calls", *calls)
    if schema:
        return (f"start: answer | {opener} calls", answer, *calls)
    # Lazy: the text ends where the opener first occurs, so text never holds half a call.
    lazy = f"opener[lazy]: TEXT {opener}"
    return ("start: answer | opener calls", answer, lazy, _TEXT, *calls)


def _callable_actions(prompt: Prompt) -> Sequence[Action]:
    offered = prompt.conversation.actions
    if prompt.choice is Choice.NONE:
        return ()
    return [action for action in offered if prompt.action in ("", action.name)]


def _call_rule(rule: str, action: Action) -> str:
    head = f'{{"name": {json.dumps(action.name)}, "arguments": '
    schema = _compilable(action.name, parse_schema(action.parameters_schema))
    return f"{rule}: {_quote(head)} %json {schema} {_quote('}')}"


def _answer_rule(rule: str, schema: str) -> str:
    return f"{rule}: %json {_compilable(THE_ANSWER, parse_answer_schema(schema))}"


def _compilable(name: str, schema: Schema) -> str:
    try:
        return json.dumps({**tight_schema(schema), "x-guidance": _STYLE})
    except TooLoose as error:
        raise SchemaUnsupported(name, f"{error}") from error


def _quote(text: str) -> str:
    return json.dumps(text)


def _reason(problem: str) -> str:
    """Return the words of llguidance without its picture of our grammar."""
    line = problem.splitlines()[0]
    return line.partition("failed to compile JSON schema: ")[2] or line
