"""An engine of the babbler, and what the tests ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from linker.conversation import Finished, Prompt
from linker.providers.engine import Engine
from linker.providers.local import LocalProvider
from linker.providers.residents import WritingModel
from linker.providers.settings import EngineSettings
from linker.providers.weights import Weights
from tests.linker.orders import finish

SETTINGS = EngineSettings(threads=1, context_tokens_max=4096)


@asynccontextmanager
async def running(weights: Weights, settings: EngineSettings = SETTINGS) -> AsyncIterator[Engine]:
    """Open an engine, and close it."""
    engine = Engine(weights, settings)
    try:
        yield engine
    finally:
        await engine.close()


def model_of(engine: Engine) -> WritingModel:
    @asynccontextmanager
    async def use() -> AsyncIterator[Engine]:
        yield engine

    return WritingModel("local/tested", use, engine)


async def weights_of(local: LocalProvider, name: str = "babbler") -> Weights:
    """Return what a model of a provider is made of."""
    model = await local.open(name)
    assert isinstance(model, WritingModel)
    async with model._use() as engine:
        return engine.weights


async def ask(engine: Engine, *prompts: Prompt) -> list[Finished]:
    """Return the answers to prompts that are asked at once."""
    model = model_of(engine)
    return await asyncio.gather(*(finish(model.generate(prompt)) for prompt in prompts))


async def until_idle(engine: Engine) -> None:
    """Wait until nobody uses a cell of an engine."""
    while engine.statistics.cells_running or engine._thread is not None:  # noqa: ASYNC110  # a thread ends
        await asyncio.sleep(0)


async def until_count(engine: Engine, count: int) -> None:
    """Wait until so many generations are under way; their grammars are made on threads."""
    while engine._count < count:  # noqa: ASYNC110  # as above
        await asyncio.sleep(0)
