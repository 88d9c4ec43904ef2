"""Providers against a server that nobody here wrote: llama.cpp's own, in this process.

It speaks four interfaces, so it shows what our fakes could have in common with our code only.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import jsonschema
import pytest
import pytest_asyncio

from chassis.canonical import Json
from linker.conversation import Choice, Delta, Finished, FinishReason
from linker.errors import ContextExceeded
from linker.ports import OpenModel, Provider
from linker.providers.anthropic import AnthropicProvider
from linker.providers.openai import OpenAiProvider
from linker.settings import ModelSettings, ProviderSettings
from tests.linker.orders import action, collect, finish, prompt
from tests.linker.providers.conformance import ANSWER_SCHEMA
from tests.linker.providers.stage import CanaryKey

xllamacpp = pytest.importorskip("xllamacpp")

pytestmark = pytest.mark.native

CONTEXT_TOKENS = 1_024
DIMENSIONS = 896
# The babbler never begins a call of itself; this one has learned to.
CALLER = Path(__file__).parents[3] / "models" / "actionvm-tiny.gguf"
CHOICES: Mapping[str, Json] = {
    "type": "object",
    "properties": {
        "text": {"enum": ["Up.", "Down."]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["text", "stars"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Served:
    """Where the server is, and what it calls its model."""

    url: str
    model: str


@pytest.fixture(scope="module")
def served(models_dir: Path) -> Iterator[Served]:
    with serving(models_dir / "babbler.gguf") as served:
        yield served


@contextmanager
def serving(path: Path, *, embeds: bool = False) -> Iterator[Served]:
    """Serve a model while the block runs."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    if embeds:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_ctx = 2 * CONTEXT_TOKENS
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.port = 0
    server = xllamacpp.Server(params)
    yield Served(server.listening_address, params.model.path)
    del server


def chat(served: Served) -> Provider:
    return OpenAiProvider(ProviderSettings("near", "openai-compatible", url=f"{served.url}/v1"))


def responses(served: Served) -> Provider:
    options = {"api": "responses"}
    return OpenAiProvider(
        ProviderSettings("near", "openai-compatible", url=f"{served.url}/v1", options=options)
    )


def messages(served: Served) -> Provider:
    # It has no models at Anthropic's address, so the operator is believed.
    models = {served.model: ModelSettings(context_tokens=CONTEXT_TOKENS)}
    return AnthropicProvider(ProviderSettings("near", "anthropic", url=served.url, models=models))


@pytest_asyncio.fixture(params=[chat, responses, messages])
async def model(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[OpenModel]:
    provider: Provider = request.param(served)
    yield await provider.open(served.model, CanaryKey())
    await provider.close()


async def test_the_length_of_the_context_is_known(model: OpenModel) -> None:
    assert model.facts.context_tokens == CONTEXT_TOKENS


async def test_the_deltas_of_a_text_are_the_text(model: OpenModel) -> None:
    *deltas, finished = await collect(model.generate(prompt()))
    assert isinstance(finished, Finished)
    assert "".join(d.text for d in deltas if isinstance(d, Delta)) == finished.text != ""
    assert finished.reason is FinishReason.STOP
    assert finished.tokens.read > 10
    assert finished.tokens.output > 3


async def test_tokens_max_cuts_the_text(model: OpenModel) -> None:
    finished = await finish(model.generate(prompt(tokens_max=3)))
    assert finished.tokens.output == 3
    # As Responses, it does not say why it ended.
    assert finished.reason in (FinishReason.LENGTH, FinishReason.STOP)


async def test_calls_are_made_and_valid() -> None:
    with serving(CALLER) as served:
        for build in (chat, responses, messages):
            provider = build(served)
            model = await provider.open(served.model, CanaryKey())
            asked = prompt(
                action(CHOICES),
                choice=Choice.REQUIRED,
                temperature=0.0,
                text="Post Up. on the board, with five stars.",
            )
            finished = await finish(model.generate(asked))
            (call,) = finished.calls
            assert (finished.reason, call.action) == (FinishReason.ACTION, "board.post")
            jsonschema.validate(json.loads(call.arguments), CHOICES)
            await provider.close()


async def test_an_answer_keeps_to_a_schema(served: Served) -> None:
    provider = chat(served)
    model = await provider.open(served.model)
    finished = await finish(model.generate(replace(prompt(), answer_schema=ANSWER_SCHEMA)))
    jsonschema.validate(json.loads(finished.text), json.loads(ANSWER_SCHEMA))
    await provider.close()


async def test_a_conversation_that_does_not_fit_is_told_apart(model: OpenModel) -> None:
    with pytest.raises(ContextExceeded) as caught:
        await finish(model.generate(prompt(text="Prices rose. " * CONTEXT_TOKENS)))
    assert caught.value.input_tokens > CONTEXT_TOKENS


async def test_a_stop_ends_the_text_and_is_not_in_it(served: Served) -> None:
    for build in (chat, messages):
        provider = build(served)
        model = await provider.open(served.model, CanaryKey())
        whole = (await finish(model.generate(prompt(temperature=0.0)))).text
        stop = whole[5:9]
        finished = await finish(model.generate(prompt(temperature=0.0, stops=(stop,))))
        assert finished.text == whole[: whole.index(stop)]
        assert finished.reason is FinishReason.STOP
        await provider.close()


async def test_the_same_seed_gives_the_same_answer(served: Served) -> None:
    provider = chat(served)
    model = await provider.open(served.model)
    first, second = [(await finish(model.generate(prompt(seed=5)))).text for _ in range(2)]
    assert first == second
    await provider.close()


async def test_tokens_are_counted_as_anthropic_does(served: Served) -> None:
    models = {served.model: ModelSettings(context_tokens=CONTEXT_TOKENS)}
    options = {"count_tokens": "true"}
    provider = AnthropicProvider(
        ProviderSettings("near", "anthropic", url=served.url, models=models, options=options)
    )
    model = await provider.open(served.model, CanaryKey())
    asked = prompt()
    finished = await finish(model.generate(asked))
    assert await model.count_tokens(asked.conversation) == finished.tokens.read
    await provider.close()


async def test_the_models_are_listed(served: Served) -> None:
    provider = chat(served)
    assert [model.name for model in await provider.models()] == [served.model]
    await provider.close()


async def test_embeddings_are_made(models_dir: Path) -> None:
    with serving(models_dir / "babbler.gguf", embeds=True) as served:
        models = {served.model: ModelSettings(embedding_dimensions=DIMENSIONS)}
        provider = OpenAiProvider(
            ProviderSettings("near", "openai-compatible", url=f"{served.url}/v1", models=models)
        )
        model = await provider.open(served.model)
        embedded = await model.embed(["Prices rose.", "Prices rose.", "Coins fell."])
        one, same, other = embedded.vectors
        assert len(one) == DIMENSIONS
        assert one == pytest.approx(same, abs=1e-5)
        assert one != pytest.approx(other, abs=1e-2)
        assert embedded.tokens.embedding > 5
        await provider.close()
