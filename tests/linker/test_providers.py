"""What providers do that have their models here: the local one, and the scripted one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeAlias

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
from tests.linker.orders import action, collect, conversation, finish, prompt
from tests.linker.providers.talking import Talking

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


async def test_a_call_that_does_not_fit_is_not_made(model: OpenModel) -> None:
    asked = prompt(action(), choice=Choice.REQUIRED, tokens_max=2)
    finished = await finish(model.generate(asked))
    assert (finished.reason, finished.calls) == (FinishReason.LENGTH, ())


class TestTalking(Talking):
    """What remote models do too."""


async def test_the_first_event_says_how_much_was_read(model: OpenModel) -> None:
    first, *_ = await collect(model.generate(prompt()))
    assert first == Delta("", Tokens(await count(model, prompt().conversation), 0))
