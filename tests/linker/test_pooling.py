"""Texts become vectors and scores, by models that say how they pool."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from linker.conversation import Tokens
from linker.errors import ContextExceeded, ModelUnusable, QueueFull
from linker.providers.local import LocalProvider
from linker.providers.pooling import TEXTS_MAX
from models.random_weights import PRESETS, write_random
from tests.linker.orders import conversation, finish, prompt

pytestmark = pytest.mark.native

TEXTS = ("one", "two words", "a text that is longer than the others", "one")
CONTEXT = 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model that embeds, one that ranks, and one that writes."""
    folder = tmp_path_factory.mktemp("pooling")
    for name in ("embedder", "reranker", "llama"):
        write_random(folder / f"{name}.gguf", name)
    return folder


@pytest_asyncio.fixture
async def pools(folder: Path) -> AsyncIterator[LocalProvider]:
    """Yield the provider of these models."""
    provider = LocalProvider(folder, threads=1, context_tokens_max=CONTEXT, waiting_max=2)
    yield provider
    await provider.close()


async def test_a_model_says_what_it_is_for(pools: LocalProvider) -> None:
    embedder, reranker, llama = [
        (await pools.open(name)).facts for name in ("embedder", "reranker", "llama")
    ]
    width = PRESETS["tiny"].width
    assert (embedder.embedding_dimensions, embedder.reranks) == (width, False)
    assert (reranker.embedding_dimensions, reranker.reranks) == (0, True)
    assert (llama.embedding_dimensions, llama.reranks) == (0, False)
    assert len(embedder.weights_sha256) == 64


async def test_vectors_have_unit_length_and_depend_on_the_text_alone(pools: LocalProvider) -> None:
    model = await pools.open("embedder")
    together = await model.embed(TEXTS)
    assert len(together.vectors) == len(TEXTS)
    for text, vector in zip(TEXTS, together.vectors, strict=True):
        assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-5)
        alone = (await model.embed([text])).vectors[0]
        assert np.allclose(vector, alone, atol=1e-4)
    assert not np.allclose(together.vectors[0], together.vectors[1], atol=1e-3)


async def test_the_order_of_words_matters(pools: LocalProvider) -> None:
    model = await pools.open("embedder")
    found = await model.embed(["dog bites man", "man bites dog"])
    assert not np.allclose(found.vectors[0], found.vectors[1], atol=1e-4)


async def test_every_token_is_counted_with_those_around_it(pools: LocalProvider) -> None:
    model = await pools.open("embedder")
    one = (await model.embed(["a"])).tokens
    assert one == Tokens(embedding=3)
    assert (await model.embed(["a", "a"])).tokens == Tokens(embedding=6)
    assert (await model.embed([""])).tokens == Tokens(embedding=2)


async def test_more_texts_than_fit_at_once_are_embedded_in_turns(pools: LocalProvider) -> None:
    model = await pools.open("embedder")
    texts = [f"text {number}" for number in range(3 * TEXTS_MAX)]
    found = await model.embed(texts)
    last = await model.embed(texts[-1:])
    assert len(found.vectors) == len(texts)
    assert np.allclose(found.vectors[-1], last.vectors[0], atol=1e-4)


async def test_documents_get_a_score_each_that_depends_on_the_query(pools: LocalProvider) -> None:
    model = await pools.open("reranker")
    one = await model.rerank("what is it", TEXTS)
    assert len(one.scores) == len(TEXTS)
    assert math.isclose(one.scores[0], one.scores[3], rel_tol=1e-3, abs_tol=1e-5)
    assert one.scores[0] != one.scores[1]
    assert one.scores != (await model.rerank("who is it", TEXTS)).scores


async def test_a_text_that_is_too_long_is_refused(pools: LocalProvider) -> None:
    model = await pools.open("embedder")
    with pytest.raises(ContextExceeded):
        await model.embed(["fine", "x " * CONTEXT])
    assert (await model.embed(["fine"])).vectors


async def test_no_text_becomes_a_control_token(pools: LocalProvider) -> None:
    model = await pools.open("embedder")
    plain = (await model.embed(["[CLS]"])).tokens.embedding
    assert plain > 3, "it is spelled"


async def test_who_does_not_fit_into_the_queue_is_told(pools: LocalProvider) -> None:
    model = await pools.open("embedder")
    results = await asyncio.gather(
        *(model.embed(["word " * 50]) for _ in range(8)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, QueueFull)]
    assert 0 < len(refused) < len(results)
    assert all(not isinstance(one, BaseException) or isinstance(one, QueueFull) for one in results)


async def test_who_gives_up_leaves_the_model_as_it_was(pools: LocalProvider) -> None:
    model = await pools.open("embedder")
    before = await model.embed(["after"])
    work = asyncio.create_task(model.embed(["word " * 50] * 40))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (await model.embed(["after"])) == before


async def test_models_refuse_what_they_are_not_for(pools: LocalProvider) -> None:
    embedder, reranker, llama = [
        await pools.open(name) for name in ("embedder", "reranker", "llama")
    ]
    assert await embedder.count_tokens(conversation()) is None
    for refused in (
        finish(embedder.generate(prompt())),
        embedder.rerank("q", ["d"]),
        reranker.embed(["t"]),
        llama.embed(["t"]),
        llama.rerank("q", ["d"]),
    ):
        with pytest.raises(ModelUnusable):
            await refused
