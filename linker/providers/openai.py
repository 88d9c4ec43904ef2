"""Models of OpenAI, of Azure OpenAI, and of any server that speaks like OpenAI's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import httpx2

from ..conversation import Conversation, Delta, Tokens
from ..embedding import Embedded
from ..errors import ModelUnusable
from ..links import ListedModel, ModelFacts
from ..ports import Key, OpenModel
from ..settings import ProviderSettings
from . import openai_chat, openai_responses
from .bytepairs import Tokenizers
from .connections import pool
from .events import Arriving, posted
from .known import Known
from .openai_servers import COMPATIBLE, address, connect, failure_of, look_up, show, shown
from .remote import RemoteModel, RemoteProvider
from .wire import Answer, secret_of, translated, unit

_MODELS_MAX = 1_000


class OpenAiProvider(RemoteProvider):
    """One server; its kind is `openai`, `azure-openai` or `openai-compatible`.

    Options: `api` is `chat` or `responses`; `api_version` makes Azure take the paths of its old
    interface; `constrains_output` is `true` for a server, or deployments, that keep to schemas;
    `families` says which public models deployments are: `ours=gpt-5 theirs=gpt-4o`; `tiktoken` is a
    folder with its files.
    """

    def __init__(self, settings: ProviderSettings, http: httpx2.AsyncClient | None = None) -> None:
        """Take the connections, if they are special."""
        super().__init__(settings, failure_of)
        self.needs = "" if settings.kind == COMPATIBLE else self.needs
        responds = settings.options.get("api") == "responses"
        self.speak = openai_responses.speak if responds else openai_chat.speak
        self.http = http or pool(settings)
        self.client = connect(settings, self.http)
        self.tokenizers = Tokenizers(settings.options.get("tiktoken", ""))

    async def models(self) -> Sequence[ListedModel]:
        """Return the models of a server that tells them without a key; others tell none."""
        if self.settings.kind != COMPATIBLE:
            return []
        with translated(self.settings.name, failure_of, secret=""):
            page = await self.client.models.list(extra_headers=show(self.settings, ""))
            return [ListedModel(name) for name in sorted(m.id for m in page.data)[:_MODELS_MAX]]

    async def look_up(self, model: str, secret: str) -> Known:
        """Ask for a model; see `RemoteProvider`."""
        return await look_up(self.client, self.settings, model, show(self.settings, secret))

    def opened(self, model: str, key: Key | None, known: Known) -> OpenModel:
        """Return a model that is there."""
        return OpenAiModel(self, model, key, known)

    def post(self, model: str, secret: str, path: str, body: Mapping[str, object]) -> Arriving:
        """Ask a model; see `Post`."""
        url = address(self.settings, path, model)
        return posted(self.http, url, shown(self.settings, secret), body)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


class OpenAiModel(RemoteModel[OpenAiProvider]):
    """A model of such a server."""

    @cached_property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        told = self._settings.takes_actions
        talks = not self._known.embedding_dimensions
        return replace(
            super().facts,
            takes_actions=talks if told is None else told,
            constrains_output=talks and self._known.constrains,
            gives_logprobs=talks and self._known.samples,
            embedding_dimensions=self._known.embedding_dimensions,
        )

    async def count_tokens(self, conversation: Conversation) -> int | None:
        """Return what tiktoken cuts a conversation into, if its file is there; see `OpenModel`."""
        tokenizers = self._provider.tokenizers
        return await tokenizers.count(self._known.encoding, conversation, self.name)

    def _speak(self, answer: Answer, secret: str) -> AsyncGenerator[Delta, None]:
        return self._provider.speak(
            partial(self._provider.post, self._model, secret),
            self._model,
            answer,
            samples=self._known.samples,
            is_compatible=self._provider.settings.kind == COMPATIBLE,
        )

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return unit vectors; see `OpenModel`."""
        if not self._known.embedding_dimensions:
            return await super().embed(texts)
        secret = await secret_of(self._key)
        with translated(self.name, failure_of, secret=secret):
            made = await self._provider.client.embeddings.create(
                model=self._model,
                input=list(texts),
                encoding_format="float",
                extra_headers=show(self._provider.settings, secret),
            )
            vectors = [unit(one.embedding) for one in sorted(made.data, key=lambda one: one.index)]
            tokens = Tokens(embedding=made.usage.prompt_tokens)
        if {len(vector) for vector in vectors} != {self._known.embedding_dimensions}:
            raise ModelUnusable(self.name, "its vectors are not as long as the settings say")
        return Embedded(tuple(vectors), tokens)
