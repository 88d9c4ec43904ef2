"""Every kind of network that people run loads, writes, and calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from linker.conversation import Choice, FinishReason, Logprobs
from linker.providers.local import LocalProvider
from linker.schemas import checked_arguments
from models.random_weights import DECODERS, WINDOW, write_random
from tests.linker.engines import ask, running, weights_of
from tests.linker.orders import action, finish, prompt

pytestmark = pytest.mark.native

SEEDS = range(6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one random model of each architecture."""
    folder = tmp_path_factory.mktemp("architectures")
    for name in DECODERS:
        write_random(folder / f"{name}.gguf", name)
    return folder


@pytest_asyncio.fixture
async def random_models(folder: Path) -> AsyncIterator[LocalProvider]:
    """Yield the provider of these models."""
    provider = LocalProvider(folder, threads=1, context_tokens_max=2048)
    yield provider
    await provider.close()


@pytest.mark.parametrize("name", DECODERS)
async def test_an_architecture_calls_what_it_is_offered(
    random_models: LocalProvider, name: str
) -> None:
    model = await random_models.open(name)
    assert model.facts.takes_actions
    asked = prompt(action(), choice=Choice.REQUIRED, temperature=1.0)
    finished = await finish(model.generate(asked))
    assert finished.reason is FinishReason.ACTION
    checked_arguments(finished.calls[0], (action(),))


@pytest.mark.parametrize("name", DECODERS)
async def test_a_request_among_others_is_answered_as_it_is_alone(
    random_models: LocalProvider, name: str
) -> None:
    asked = [
        prompt(
            text="word " * (3 + 40 * seed),
            seed=seed,
            temperature=0.0,
            tokens_max=24 + seed,
            logprobs=2,
        )
        for seed in SEEDS
    ]
    weights = await weights_of(random_models, name)
    async with running(weights) as engine:
        alone = [finished for one in asked for finished in await ask(engine, one)]
    async with running(weights) as engine:
        together = await ask(engine, *asked)
    for one, other in zip(alone, together, strict=True):
        assert_alike(one.logprobs, other.logprobs)
    assert len({finished.text for finished in alone}) > 1, "what is read matters"


def assert_alike(one: Sequence[Logprobs], other: Sequence[Logprobs]) -> None:
    """Compare two answers token by token, until both say one of two that are equally likely.

    Batches of other sizes are rounded in other ways, which numbers that are random make more of;
    a token for which two experts are equally good may even go to the other one.
    """
    far = 0
    for place, (known, found) in enumerate(zip(one, other, strict=False)):
        far += abs(found.chosen.logprob - known.chosen.logprob) > 0.05
        assert far <= 1, place
        if found.chosen.text != known.chosen.text:
            return
    assert len(one) == len(other)


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
async def test_a_window_that_slides_does_not_forget_where_it_is(
    random_models: LocalProvider, name: str
) -> None:
    model = await random_models.open(name)
    asked = prompt(text="word " * WINDOW, temperature=0.0, tokens_max=WINDOW, logprobs=2)
    first = await finish(model.generate(asked))
    longer = replace(asked, sampling=replace(asked.sampling, tokens_max=2 * WINDOW))
    second = await finish(model.generate(longer))
    assert_alike(first.logprobs, second.logprobs[: len(first.logprobs)])
