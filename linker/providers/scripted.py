"""A provider that says what it was told to say, for tests and for the simulation."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chassis.errors import ServiceError

from ..conversation import (
    Conversation,
    Delta,
    Finished,
    FinishReason,
    Prompt,
    Role,
    Tokens,
    WrittenCall,
)
from ..embedding import Embedded, Ranked
from ..errors import CredentialRefused, ModelNotFound
from ..links import ListedModel, ModelFacts
from ..ports import Key
from .talking import OnlyTalks


@dataclass(frozen=True)
class Line:
    """What the model says next: text, calls, or both."""

    text: str = ""
    calls: tuple[WrittenCall, ...] = ()


Script: TypeAlias = Callable[[Prompt], "Line | ServiceError"]


def in_order(*lines: Line | ServiceError) -> Script:
    """Return a script that says each line once; asking for more is a bug of the test."""
    queue = deque(lines)
    return lambda _: queue.popleft()


def by_turn(*lines: Line | ServiceError) -> Script:
    """Return a script that says the n-th line as the n-th turn of the assistant.

    A generation that is repeated, after a crash for example, gives the same line again.
    """
    return lambda prompt: lines[
        sum(message.role is Role.ASSISTANT for message in prompt.conversation.messages)
    ]


class ScriptedProvider:
    """Models that all follow one script; `prompts` are those that were asked, oldest first.

    Without `counts`, nobody knows their tokens before they have read them. With `dimensions`, they
    embed and rank. `keys` are those that were shown; `refused_keys` open nothing.
    """

    def __init__(
        self,
        script: Script,
        *,
        models: Sequence[str] = ("actor",),
        context_tokens: int = 4096,
        counts: bool = True,
        dimensions: int = 0,
        takes_images: bool = False,
        constrains_output: bool = False,
    ) -> None:
        self.prompts: list[Prompt] = []
        self.keys: list[str] = []
        self.refused_keys: set[str] = set()
        self.script = script
        self.counts = counts
        self._models = tuple(sorted(models))
        self.facts = ModelFacts(
            context_tokens,
            takes_actions=True,
            constrains_output=constrains_output,
            takes_images=takes_images,
            embedding_dimensions=dimensions,
            reranks=dimensions > 0,
        )

    async def models(self) -> Sequence[ListedModel]:
        """Return the models."""
        return [ListedModel(name, is_loaded=True) for name in self._models]

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    async def open(self, model: str, key: Key | None = None) -> ScriptedModel:
        """Return a model; it needs no key. Raises `ModelNotFound` and `CredentialRefused`."""
        if model not in self._models:
            raise ModelNotFound(model)
        opened = ScriptedModel(f"scripted/{model}", self, key)
        await opened.show_key()
        return opened


class ScriptedModel(OnlyTalks):
    """A model that follows the script of its provider. Its tokens are words."""

    def __init__(self, name: str, provider: ScriptedProvider, key: Key | None) -> None:
        self.name = name
        self._provider = provider
        self._key = key

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        return self._provider.facts

    async def show_key(self) -> None:
        """Ask for the key, as a provider does for each request. Raises `CredentialRefused`."""
        if self._key is None:
            return
        value = await self._key.value()
        self._provider.keys.append(value)
        if value in self._provider.refused_keys:
            raise CredentialRefused(self.name, "the provider does not know it")

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return vectors that depend on the number of words alone."""
        dimensions = self.facts.embedding_dimensions
        if not dimensions:
            return await super().embed(texts)
        await self.show_key()
        counts = [len(_words(text)) for text in texts]
        vectors = tuple(
            tuple(float(place == count % dimensions) for place in range(dimensions))
            for count in counts
        )
        return Embedded(vectors, Tokens(embedding=sum(counts)))

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Return how many words a document shares with the query."""
        if not self.facts.reranks:
            return await super().rerank(query, documents)
        await self.show_key()
        asked = set(query.split())
        scores = tuple(float(len(asked & set(document.split()))) for document in documents)
        words = sum(len(_words(text)) for text in (query, *documents))
        return Ranked(scores, Tokens(embedding=words))

    async def count_tokens(self, conversation: Conversation) -> int | None:
        """Return the number of words of everything that the model would read."""
        return _count(conversation) if self._provider.counts else None

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield the next line of the script, word by word."""
        await self.show_key()
        self._provider.prompts.append(prompt)
        line = self._provider.script(prompt)
        if isinstance(line, ServiceError):
            raise line
        input_tokens = _count(prompt.conversation)
        yield Delta("", Tokens(input_tokens, 0))
        text, reason = _cut(line, prompt)
        written = 0
        for word in _words(text):
            await asyncio.sleep(0)  # a model takes its time, and others get theirs
            written += 1
            yield Delta(word, Tokens(input_tokens, written))
        calls = () if reason is FinishReason.LENGTH else line.calls
        written += sum(len(_words(call.arguments)) for call in calls)
        yield Finished(reason, text, calls, Tokens(input_tokens, written))


def _count(conversation: Conversation) -> int:
    texts = [message.text for message in conversation.messages]
    texts += [call.arguments for message in conversation.messages for call in message.calls]
    texts += [f"{a.name} {a.description} {a.parameters_schema}" for a in conversation.actions]
    return sum(len(_words(text)) for text in texts) + len(conversation.messages)


def _cut(line: Line, prompt: Prompt) -> tuple[str, FinishReason]:
    """Return as much of the text as was asked for, and why it ends there."""
    sampling = prompt.sampling
    ends = [line.text.find(stop) for stop in sampling.stops if stop in line.text]
    words = _words(line.text[: min(ends)] if ends else line.text)
    cost = len(words) + sum(len(_words(call.arguments)) for call in line.calls)
    if cost > sampling.tokens_max:
        return "".join(words[: sampling.tokens_max]), FinishReason.LENGTH
    return "".join(words), FinishReason.ACTION if line.calls else FinishReason.STOP


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)
