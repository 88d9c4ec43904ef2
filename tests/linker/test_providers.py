"""What every provider does, whoever computes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

import jsonschema
import pytest
import pytest_asyncio

from linker.conversation import (
    Choice,
    Conversation,
    Delta,
    FinishReason,
    Prompt,
    Tokens,
    WrittenCall,
)
from linker.errors import ModelNotFound
from linker.ports import OpenModel, Provider
from linker.providers.local import LocalProvider
from linker.providers.scripted import Line, ScriptedProvider
from tests.linker.orders import POST_SCHEMA, action, collect, conversation, finish, prompt, said

Build: TypeAlias = Callable[[Path], Provider]


def scripted(_: Path) -> ScriptedProvider:
    def say(prompt: Prompt) -> Line:
        if prompt.choice is Choice.REQUIRED:
            return Line(calls=(WrittenCall("board.post", '{"text": "Up.", "stars": 5}'),))
        return Line(f"Coin {prompt.sampling.seed} rose. Coin two fell. Coin three slept.")

    return ScriptedProvider(say, models=("babbler",))


def local(models_dir: Path) -> LocalProvider:
    return LocalProvider(models_dir, threads=1, context_tokens_max=4096)


@pytest_asyncio.fixture(
    params=[scripted, pytest.param(local, marks=pytest.mark.native)], ids=["scripted", "local"]
)
async def provider(request: pytest.FixtureRequest, models_dir: Path) -> AsyncIterator[Provider]:
    build: Build = request.param
    provider = build(models_dir)
    yield provider
    if isinstance(provider, LocalProvider):
        await provider.close()


@pytest_asyncio.fixture
async def model(provider: Provider) -> OpenModel:
    return await provider.open("babbler")


async def test_the_models_are_listed(provider: Provider) -> None:
    assert [model.name for model in await provider.models()] == ["babbler"]


@pytest.mark.parametrize(
    "name", ["nobody", "", "..", "../babbler", "/etc/passwd", "babbler\0", "é"]
)
async def test_a_model_that_is_not_there_is_not_found(provider: Provider, name: str) -> None:
    with pytest.raises(ModelNotFound):
        await provider.open(name)


async def test_the_facts_tell_what_an_agent_needs(model: OpenModel) -> None:
    assert model.facts.takes_actions
    assert model.facts.context_tokens == 4096


async def count(model: OpenModel, conversation: Conversation) -> int:
    """Return the tokens of a conversation, which these models can count."""
    counted = await model.count_tokens(conversation)
    assert counted is not None
    return counted


async def test_a_longer_conversation_has_more_tokens(model: OpenModel) -> None:
    short = await count(model, conversation(text="Up?"))
    assert short < await count(model, conversation(text="Up or down?"))


async def test_an_action_on_offer_is_read_by_the_model(model: OpenModel) -> None:
    alone = await count(model, conversation())
    assert alone < await count(model, conversation(action()))


async def test_a_generation_reads_as_many_tokens_as_were_counted(model: OpenModel) -> None:
    asked = prompt(action(), choice=Choice.REQUIRED)
    finished = await finish(model.generate(asked))
    assert finished.tokens.read == await count(model, asked.conversation)


async def test_the_deltas_of_a_text_are_the_text(model: OpenModel) -> None:
    *deltas, finished = await collect(model.generate(prompt()))
    assert "".join(d.text for d in deltas if isinstance(d, Delta)) == finished.text != ""


async def test_an_answer_that_is_done_says_stop(model: OpenModel) -> None:
    assert (await finish(model.generate(prompt()))).reason is FinishReason.STOP


async def test_usage_only_grows(model: OpenModel) -> None:
    used = [event.tokens.output for event in await collect(model.generate(prompt()))]
    assert used == sorted(used)
    assert used[0] == 0 < used[-1]


async def test_tokens_max_cuts_the_text(model: OpenModel) -> None:
    finished = await finish(model.generate(prompt(tokens_max=3)))
    assert (finished.reason, finished.tokens.output) == (FinishReason.LENGTH, 3)


async def test_a_stop_ends_the_text_and_is_not_in_it(model: OpenModel) -> None:
    whole = (await finish(model.generate(prompt()))).text
    stop = whole[5:9]
    *deltas, finished = await collect(model.generate(prompt(stops=("never there", stop))))
    assert finished.text == whole[: whole.index(stop)]
    assert "".join(d.text for d in deltas if isinstance(d, Delta)) == finished.text
    assert finished.reason is FinishReason.STOP  # type: ignore[union-attr]  # the last is Finished


async def test_a_required_call_is_made_and_valid(model: OpenModel) -> None:
    finished = await finish(model.generate(prompt(action(), choice=Choice.REQUIRED)))
    (call,) = finished.calls
    assert (finished.reason, call.action) == (FinishReason.ACTION, "board.post")
    jsonschema.validate(json.loads(call.arguments), POST_SCHEMA)


async def test_a_call_that_does_not_fit_is_not_made(model: OpenModel) -> None:
    asked = prompt(action(), choice=Choice.REQUIRED, tokens_max=2)
    finished = await finish(model.generate(asked))
    assert (finished.reason, finished.calls) == (FinishReason.LENGTH, ())


async def test_the_same_seed_gives_the_same_answer(model: OpenModel) -> None:
    first, second = [await finish(model.generate(prompt(seed=5))) for _ in range(2)]
    assert said(first) == said(second)


async def test_another_seed_gives_another_answer(model: OpenModel) -> None:
    texts = {(await finish(model.generate(prompt(seed=seed)))).text for seed in range(4)}
    assert len(texts) > 1


async def test_a_generation_that_is_closed_stops(model: OpenModel) -> None:
    async with aclosing(model.generate(prompt())) as events:
        first = await anext(events)
    assert first.tokens.output == 0
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_generations_at_once_do_not_mix(model: OpenModel) -> None:
    alone = [await finish(model.generate(prompt(seed=seed))) for seed in range(4)]
    together = await asyncio.gather(
        *(finish(model.generate(prompt(seed=seed))) for seed in range(4))
    )
    assert [*map(said, together)] == [*map(said, alone)]


async def test_the_first_event_says_that_the_prompt_was_read(model: OpenModel) -> None:
    first, *_ = await collect(model.generate(prompt()))
    assert first == Delta("", Tokens(await count(model, prompt().conversation), 0))
