"""Answers satisfy their schema, calls come in numbers, and hostile schemas cost little."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace

import jsonschema
import pytest

from chassis.canonical import Json
from linker.conversation import Choice, FinishReason
from linker.errors import SchemaUnsupported
from linker.providers.grammar import SCHEMAS_BYTES_MAX, THE_ANSWER, read_calls
from linker.providers.local import LocalProvider
from linker.schemas import checked_arguments
from tests.linker.engines import weights_of
from tests.linker.orders import action, finish, prompt

pytestmark = pytest.mark.native

VERDICT: Mapping[str, Json] = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["buy", "sell", "hold"]},
        "reasons": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
    },
    "required": ["verdict", "reasons"],
}
SEEDS = range(8)
# What llama.cpp takes for one token of a small model, many times over.
COMPILE_SECONDS_MAX = 2.0


@pytest.mark.parametrize("schema", [VERDICT, {"type": "integer", "maximum": 9}, {"enum": ["a"]}])
async def test_an_answer_satisfies_its_schema(
    local: LocalProvider, schema: Mapping[str, Json]
) -> None:
    model = await local.open("babbler")
    for seed in SEEDS:
        asked = prompt(seed=seed, temperature=2.0, stops=("e", "1"))
        finished = await finish(model.generate(replace(asked, answer_schema=json.dumps(schema))))
        assert finished.reason is FinishReason.STOP
        jsonschema.validate(json.loads(finished.text), schema)


async def test_a_model_decides_between_a_valid_answer_and_a_call(local: LocalProvider) -> None:
    model = await local.open("babbler")
    reasons = set()
    for seed in range(24):
        asked = prompt(action(), choice=Choice.AUTO, seed=seed, temperature=2.0)
        finished = await finish(model.generate(replace(asked, answer_schema=json.dumps(VERDICT))))
        reasons.add(finished.reason)
        if finished.reason is FinishReason.STOP:
            jsonschema.validate(json.loads(finished.text), VERDICT)
        else:
            assert finished.text == ""
            checked_arguments(finished.calls[0], (action(),))
    assert reasons == {FinishReason.STOP, FinishReason.ACTION}


async def test_an_answer_that_cannot_fit_does_not_begin(local: LocalProvider) -> None:
    model = await local.open("babbler")
    schema = json.dumps({"type": "string", "minLength": 500})
    finished = await finish(model.generate(replace(prompt(tokens_max=150), answer_schema=schema)))
    assert (finished.reason, finished.text) == (FinishReason.LENGTH, "")


async def test_several_calls_may_be_written_and_no_more_than_were_allowed(
    local: LocalProvider,
) -> None:
    weights = await weights_of(local)
    matcher = weights.grammars.make(replace(prompt(action(), choice=Choice.REQUIRED), calls_max=3))
    call = (
        '<tool_call>\n{"name": "board.post", "arguments": {"text": "a", "stars": 1}}\n</tool_call>'
    )
    for written in range(3):
        assert not matcher.is_stopped()
        text = call if written == 0 else f"\n{call}"
        assert matcher.consume_tokens(weights.model.tokenize(text))
        assert matcher.is_accepting()
    assert matcher.is_stopped()


@pytest.mark.parametrize("tokens_max", range(100, 260, 20))
async def test_calls_that_fit_are_kept_when_the_next_does_not(
    local: LocalProvider, tokens_max: int
) -> None:
    model = await local.open("babbler")
    asked = prompt(action(), choice=Choice.REQUIRED, seed=3, temperature=2.0, tokens_max=tokens_max)
    finished = await finish(model.generate(replace(asked, calls_max=16)))
    assert finished.reason is FinishReason.ACTION
    for call in finished.calls:
        checked_arguments(call, (action(),))


async def test_only_the_action_that_is_asked_for_is_called(local: LocalProvider) -> None:
    model = await local.open("babbler")
    offered = (action(name="a"), action(name="b"))
    for seed in SEEDS:
        asked = prompt(*offered, choice=Choice.REQUIRED, seed=seed, temperature=2.0)
        finished = await finish(model.generate(replace(asked, action="b")))
        assert [call.action for call in finished.calls] == ["b"]


def test_what_looks_like_the_end_of_a_call_inside_of_a_string_is_not() -> None:
    inside = "</tool_call>\\n<tool_call>\\n</tool_call>"
    call = f'\n{{"name": "a", "arguments": {{"x": "{inside}"}}}}\n</tool_call>'
    written = f"{call}\n<tool_call>{call}\n<tool_call>\n{{"
    assert [json.loads(call.arguments)["x"] for call in read_calls(written)] == [
        json.loads(f'"{inside}"')
    ] * 2


async def test_an_answer_without_a_grammar_is_refused_by_name(local: LocalProvider) -> None:
    model = await local.open("babbler")
    asked = prompt(action(), choice=Choice.AUTO)
    with pytest.raises(SchemaUnsupported) as refused:
        await finish(model.generate(replace(asked, answer_schema='{"not": {}}')))
    assert refused.value.action == THE_ANSWER


def _nest(schema: Mapping[str, Json], times: int) -> Mapping[str, Json]:
    for _ in range(times):
        schema = {"type": "array", "items": schema}
    return schema


_OPTIONS: list[Json] = [
    {"anyOf": [{"properties": {f"p{i}{j}": {"type": "integer"}}} for j in range(3)]}
    for i in range(12)
]
HOSTILE: dict[str, Mapping[str, Json]] = {
    "a product of choices": {"type": "object", "allOf": _OPTIONS},
    "deep": _nest({"type": "string"}, 60),
    "a long list": {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
    "a long text": {"type": "string", "minLength": 10**9},
    "a rare number": {"type": "integer", "multipleOf": 10**9 + 7},
    "a doubling of references": {
        "$defs": {
            f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]}
            for i in range(60)
        }
        | {"d60": {"type": "string"}},
        "$ref": "#/$defs/d0",
    },
    "patterns that meet": {
        "allOf": [{"type": "string", "pattern": f".*{c}.{{30}}"} for c in "abcdefghij"]
    },
    "many names": {"type": "object", "properties": {f"p{i}": {} for i in range(1_000)}},
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_schema_is_refused_or_kept_in_time(local: LocalProvider, name: str) -> None:
    model = await local.open("babbler")
    asked = replace(prompt(tokens_max=100), answer_schema=json.dumps(HOSTILE[name]))
    start = time.process_time()
    try:
        finished = await finish(model.generate(asked))
        if finished.reason is FinishReason.STOP:
            jsonschema.validate(json.loads(finished.text), HOSTILE[name])
    except SchemaUnsupported as refused:
        assert refused.action == THE_ANSWER
        assert "panic" not in refused.problem
    assert time.process_time() - start < COMPILE_SECONDS_MAX


@pytest.mark.parametrize(("count", "names"), [(64, 30), (64, 100), (64, 300)])
async def test_many_large_schemas_are_refused_or_compiled_in_time(
    local: LocalProvider, count: int, names: int
) -> None:
    weights = await weights_of(local)
    properties: Json = {f"property_number_{i}": {"type": "string"} for i in range(names)}
    offered = [
        action({"type": "object", "properties": properties, "required": [f"property_number_{i}"]})
        for i in range(count)
    ]
    size = sum(len(one.parameters_schema) for one in offered)
    asked = prompt(*offered, choice=Choice.REQUIRED, tokens_max=20)
    start = time.process_time()
    try:
        weights.grammars.make(asked)
    except SchemaUnsupported as refused:
        assert size > SCHEMAS_BYTES_MAX / 4
        assert "panic" not in refused.problem
    assert time.process_time() - start < COMPILE_SECONDS_MAX


async def test_a_grammar_that_was_made_before_starts_afresh(local: LocalProvider) -> None:
    grammars = (await weights_of(local)).grammars
    asked = prompt(action(), choice=Choice.REQUIRED)
    first = grammars.make(asked)
    forced = first.compute_ff_tokens()
    assert first.consume_tokens(forced)
    assert grammars.make(asked).compute_ff_tokens() == forced
