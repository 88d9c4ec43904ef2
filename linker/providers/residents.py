"""Models of this machine as the linker knows them: they take memory while they are used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, TypeAlias

from chassis.errors import InvalidField

from ..conversation import Conversation, Delta, Finished, Prompt
from ..embedding import Embedded, Ranked
from ..errors import ModelUnusable
from ..links import ModelFacts
from .talking import OnlyTalks
from .template import TemplateFailed

if TYPE_CHECKING:
    from .engine import Engine
    from .pooling import Pool

# A model that is in memory until the end; it may have to be loaded first.
UseEngine: TypeAlias = "Callable[[], AbstractAsyncContextManager[Engine]]"
UsePool: TypeAlias = "Callable[[], AbstractAsyncContextManager[Pool]]"


class WritingModel(OnlyTalks):
    """A model that answers."""

    def __init__(self, name: str, use: UseEngine, engine: Engine) -> None:
        self.name = name
        self._use = use
        self._facts = ModelFacts(
            context_tokens=engine.context_tokens,
            takes_actions=engine.weights.template.takes_actions,
            constrains_output=True,
            weights_sha256=engine.weights.sha256,
            gives_logprobs=True,
        )

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        return self._facts

    async def count_tokens(self, conversation: Conversation) -> int:
        """Return how many tokens the model would read."""
        async with self._use() as engine:
            return len(await tokenize(engine, conversation))

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas and the end; see `OpenModel`."""
        async with self._use() as engine:
            matcher = await asyncio.to_thread(engine.weights.grammars.make, prompt)
            tokens = await tokenize(engine, prompt.conversation)
            async with aclosing(engine.generate(prompt, tokens, matcher)) as events:
                async for event in events:
                    yield event


async def tokenize(engine: Engine, conversation: Conversation) -> list[int]:
    """Return what the model would read. Raises `InvalidField`."""

    def render() -> list[int]:
        weights = engine.weights
        return weights.model.tokenize(weights.template.render(conversation))

    # Off the event loop, and not in the queue: counting needs the vocabulary only.
    try:
        return await asyncio.to_thread(render)
    except TemplateFailed as error:
        raise InvalidField("messages", f"do not suit the model: {error}") from error


class PoolingModel:
    """A model that makes vectors of texts, or scores of pairs of texts."""

    def __init__(self, name: str, use: UsePool, pool: Pool) -> None:
        self.name = name
        self._use = use
        self._facts = ModelFacts(
            context_tokens=pool.context_tokens,
            takes_actions=False,
            constrains_output=False,
            weights_sha256=pool.sha256,
            embedding_dimensions=pool.dimensions,
            reranks=pool.ranks,
        )

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        return self._facts

    async def count_tokens(self, conversation: Conversation) -> None:
        """Return None: it reads no conversations."""

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Refuse."""
        raise ModelUnusable(self.name, "it writes nothing; link a model that does")
        yield  # A generator, as callers expect one.

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return unit vectors."""
        if not self._facts.embedding_dimensions:
            raise ModelUnusable(self.name, "it orders documents; link a model that embeds")
        async with self._use() as pool:
            return await pool.embed(texts)

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Return how relevant documents are to a query."""
        if not self._facts.reranks:
            raise ModelUnusable(self.name, "it embeds; link a model that orders documents")
        async with self._use() as pool:
            return await pool.rerank(query, documents)
