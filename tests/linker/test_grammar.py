"""Every call that is made parses and fits its schema, whatever the schema, the seed, the budget."""

from __future__ import annotations

import asyncio

import pytest

from chassis.canonical import Json
from linker.conversation import Choice, FinishReason
from linker.errors import SchemaUnsupported
from linker.providers.local import LocalProvider
from linker.schemas import checked_arguments
from tests.linker.orders import action, finish, prompt

pytestmark = pytest.mark.native


@pytest.mark.parametrize("seed", range(5))
async def test_a_call_that_would_run_out_of_tokens_is_completed(
    local: LocalProvider, seed: int
) -> None:
    # A random model at temperature two would fill any string and any list.
    schema: Json = {
        "type": "object",
        "properties": {
            "deep": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "array", "items": {"type": "string", "minLength": 30}},
            }
        },
        "required": ["deep"],
    }
    model = await local.open("babbler")
    for tokens_max in (120, 200, 300):
        asked = prompt(
            action(schema),
            choice=Choice.REQUIRED,
            seed=seed,
            temperature=2.0,
            tokens_max=tokens_max,
        )
        finished = await finish(model.generate(asked))
        assert finished.reason is FinishReason.ACTION
        checked_arguments(finished.calls[0], (action(schema),))


async def test_a_call_that_can_never_fit_is_refused_before_a_token_is_written(
    local: LocalProvider,
) -> None:
    schema: Json = {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 500}},
        "required": ["text"],
    }
    model = await local.open("babbler")
    asked = prompt(action(schema), choice=Choice.REQUIRED, tokens_max=150)
    finished = await finish(model.generate(asked))
    assert (finished.reason, finished.tokens.output) == (FinishReason.LENGTH, 0)


async def test_a_model_that_decides_writes_text_or_a_whole_call(local: LocalProvider) -> None:
    model = await local.open("babbler")
    for seed in range(20):
        asked = prompt(action(), choice=Choice.AUTO, seed=seed, temperature=2.0)
        finished = await finish(model.generate(asked))
        assert "<tool_call>" not in finished.text
        assert len(finished.calls) == (finished.reason is FinishReason.ACTION)


async def test_any_of_the_actions_on_offer_can_be_called(local: LocalProvider) -> None:
    model = await local.open("babbler")
    offered = (action(name="a"), action(name="b"))
    called: set[str] = set()
    for seed in range(12):
        asked = prompt(*offered, choice=Choice.REQUIRED, seed=seed, temperature=2.0)
        finished = await finish(model.generate(asked))
        called.update(call.action for call in finished.calls)
    assert called == {"a", "b"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "not": {}}, 'Unimplemented keys: ["not"]'),
        ({"type": "object", "$ref": "http://example.com/x"}, "not present in a registry"),
        ({"type": "object", "properties": {"a": {"format": "foo"}}}, "foo"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "unsatisfiable"),
        ({"type": "object", "properties": {"a": {"pattern": "(?=x)y", "type": "string"}}}, "regex"),
    ],
)
async def test_a_schema_without_a_grammar_is_refused_in_the_words_of_the_compiler(
    local: LocalProvider, schema: Json, words: str
) -> None:
    model = await local.open("babbler")
    asked = prompt(action(), action(schema, "bad.one"), choice=Choice.REQUIRED)
    with pytest.raises(SchemaUnsupported) as refused:
        await finish(model.generate(asked))
    assert refused.value.action == "bad.one"
    assert words in refused.value.problem


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^((a{1,1000}){1,1000}){1,1000}$", "^[\\s\\S]{0,100000}$", "^(a|aa)+b$"]
)
async def test_a_hostile_pattern_costs_no_time(local: LocalProvider, pattern: str) -> None:
    schema: Json = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": pattern}},
        "required": ["a"],
    }
    model = await local.open("babbler")
    asked = prompt(action(schema), choice=Choice.REQUIRED, tokens_max=200)
    async with asyncio.timeout(10):
        try:
            finished = await finish(model.generate(asked))
        except SchemaUnsupported:
            return
        for call in finished.calls:
            checked_arguments(call, (action(schema),))


async def test_a_schema_that_only_an_endless_value_satisfies_ends_without_a_call(
    local: LocalProvider,
) -> None:
    endless: Json = {"type": "object", "properties": {"k": {"$ref": "#"}}, "required": ["k"]}
    model = await local.open("babbler")
    asked = prompt(action(endless), choice=Choice.REQUIRED, tokens_max=300)
    async with asyncio.timeout(10):
        try:
            finished = await finish(model.generate(asked))
        except SchemaUnsupported:
            return
    assert (finished.reason, finished.calls) == (FinishReason.LENGTH, ())
