"""Models of OpenAI, of Azure OpenAI, and of any server that speaks like OpenAI's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from openai import AsyncOpenAI

from ..conversation import Conversation, Delta, Finished, Prompt, Tokens
from ..embedding import Embedded
from ..errors import CredentialRefused, ModelUnusable
from ..links import ListedModel, ModelFacts
from ..ports import Key
from ..settings import ModelSettings, ProviderSettings
from . import openai_chat, openai_responses
from .known import Known
from .openai_servers import COMPATIBLE, Headers, connect, failure_of, look_up, show
from .talking import OnlyTalks
from .wire import Answer, check_images, secret_of, translated, unit

_MODELS_MAX = 1_000


class OpenAiProvider:
    """One server; its kind is `openai`, `azure-openai` or `openai-compatible`.

    Options: `api` is `chat` or `responses`; `api_version` makes Azure take the paths of its old
    interface; `constrains_output` is `true` for a server, or deployments, that keep to schemas;
    `families` says which public models deployments are: `ours=gpt-5 theirs=gpt-4o`.
    """

    def __init__(self, settings: ProviderSettings, client: AsyncOpenAI | None = None) -> None:
        self.settings = settings
        responds = settings.options.get("api") == "responses"
        self.speak = openai_responses.speak if responds else openai_chat.speak
        self.client = client or connect(settings)
        self._opened: dict[str, Known] = {}

    async def models(self) -> Sequence[ListedModel]:
        """Return the models of a server that tells them without a key; others tell none."""
        if self.settings.kind != COMPATIBLE:
            return []
        with translated(self.settings.name, failure_of, secret=""):
            page = await self.client.models.list(extra_headers=show(self.settings, ""))
            return [ListedModel(name) for name in sorted(m.id for m in page.data)[:_MODELS_MAX]]

    async def open(self, model: str, key: Key | None = None) -> OpenAiModel:
        """Return a model, which the provider was asked for once."""
        name = f"{self.settings.name}/{model}"
        if key is None and self.settings.kind != COMPATIBLE:
            raise CredentialRefused(name, "it needs a key and none is named; name its secret")
        if model not in self._opened:
            secret = await secret_of(key)
            with translated(name, failure_of, secret=secret):
                self._opened[model] = await self.look_up(model, show(self.settings, secret))
        return OpenAiModel(name, self, model, key, self._opened[model])

    async def look_up(self, model: str, headers: Headers) -> Known:
        """Ask for a model that was not opened before, and return what is known of it then."""
        return await look_up(self.client, self.settings, model, headers)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


class OpenAiModel(OnlyTalks):
    """A model of such a server."""

    def __init__(
        self, name: str, provider: OpenAiProvider, model: str, key: Key | None, known: Known
    ) -> None:
        self.name = name
        self._provider = provider
        self._model = model
        self._key = key
        self._known = known

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        settings = self._provider.settings.models.get(self._model, ModelSettings())
        talks = not self._known.embedding_dimensions
        return ModelFacts(
            context_tokens=self._known.context_tokens,
            takes_actions=talks if settings.takes_actions is None else settings.takes_actions,
            constrains_output=talks and self._known.constrains,
            takes_images=self._known.takes_images,
            gives_logprobs=talks and self._known.samples,
            embedding_dimensions=self._known.embedding_dimensions,
        )

    async def count_tokens(self, conversation: Conversation) -> int | None:
        """Return None: only the provider's own count, after the fact, is right."""
        return None

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas and the end; see `OpenModel`."""
        check_images(self.name, prompt, takes_images=self._known.takes_images)
        provider = self._provider
        secret = await secret_of(self._key)
        answer = Answer(prompt)
        with translated(
            self.name,
            failure_of,
            secret=secret,
            prompt=prompt,
            context_tokens=self._known.context_tokens,
        ):
            deltas = provider.speak(
                provider.client,
                self._model,
                answer,
                show(provider.settings, secret),
                samples=self._known.samples,
                is_compatible=provider.settings.kind == COMPATIBLE,
            )
            async with aclosing(deltas):
                async for delta in deltas:
                    yield delta
        yield answer.finish(self.name)

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
