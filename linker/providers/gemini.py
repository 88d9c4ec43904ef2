"""Models of Google's Gemini API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import httpx2
from google.genai import types

from ..conversation import Conversation, Delta, Finished, Prompt, Tokens
from ..embedding import Embedded
from ..errors import CredentialRefused, ModelUnusable
from ..links import ListedModel, ModelFacts
from ..ports import Key
from ..settings import ModelSettings, ProviderSettings
from .gemini_contents import configured, contents_of, read
from .gemini_server import connect, failure_of, look_up, make_client, show, watched
from .known import Known
from .talking import OnlyTalks
from .wire import BYTES_PER_TOKEN, Answer, check_images, secret_of, translated, unit


class GeminiProvider:
    """Gemini, as developers reach it: with a key. `api_version` is an option, as `v1beta`."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        self._connections = connect(settings)
        self.client = make_client(settings, self._connections)
        self._opened: dict[str, Known] = {}

    async def models(self) -> Sequence[ListedModel]:
        """Return none: nothing is told without a key."""
        return []

    async def open(self, model: str, key: Key | None = None) -> GeminiModel:
        """Return a model, which the provider was asked for once."""
        name = f"{self.settings.name}/{model}"
        if key is None:
            raise CredentialRefused(name, "it needs a key and none is named; name its secret")
        if model not in self._opened:
            secret = await secret_of(key)
            with translated(name, failure_of, secret=secret):
                self._opened[model] = await look_up(self.client, self.settings, model, show(secret))
        return GeminiModel(name, self, model, key, self._opened[model])

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.aclose()
        self.client.close()


class GeminiModel(OnlyTalks):
    """A model of Gemini's."""

    def __init__(
        self, name: str, provider: GeminiProvider, model: str, key: Key, known: Known
    ) -> None:
        self.name = name
        self._provider = provider
        self._models = provider.client.aio.models
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
            takes_actions=talks and settings.takes_actions is not False,
            constrains_output=talks,
            takes_images=self._known.takes_images,
            embedding_dimensions=self._known.embedding_dimensions,
        )

    async def count_tokens(self, conversation: Conversation) -> int | None:
        """Return None: what is asked for a count takes neither instructions nor actions."""
        return None

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas and the end; see `OpenModel`. Of more calls than asked the first count."""
        check_images(self.name, prompt, takes_images=self._known.takes_images)
        secret = await secret_of(self._key)
        answer = Answer(prompt)
        responses: list[httpx2.Response] = []
        with translated(
            self.name,
            failure_of,
            secret=secret,
            prompt=prompt,
            context_tokens=self._known.context_tokens,
        ):
            try:
                # The package asks when the first piece is wanted.
                with watched(responses):
                    chunks = await self._models.generate_content_stream(
                        model=self._model,
                        contents=[*contents_of(prompt.conversation)],
                        config=configured(prompt, show(secret)),
                    )
                    chunk = await anext(chunks, None)
                yield answer.start()
                while chunk is not None:
                    for delta in read(answer, chunk):
                        yield delta
                    chunk = await anext(chunks, None)
            finally:
                for response in responses:
                    await response.aclose()
        yield answer.finish(self.name)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return unit vectors; what they used is guessed, since this interface does not tell."""
        if not self._known.embedding_dimensions:
            return await super().embed(texts)
        secret = await secret_of(self._key)
        config = types.EmbedContentConfig(
            http_options=show(secret), output_dimensionality=self._known.embedding_dimensions
        )
        with translated(self.name, failure_of, secret=secret):
            made = await self._models.embed_content(
                model=self._model, contents=[*texts], config=config
            )
            vectors = [unit(one.values or ()) for one in made.embeddings or ()]
        if [len(vector) for vector in vectors] != [self._known.embedding_dimensions] * len(texts):
            raise ModelUnusable(self.name, "its vectors are not as long as the settings say")
        size = sum(len(text.encode()) for text in texts)
        return Embedded(tuple(vectors), Tokens(embedding=-(-size // BYTES_PER_TOKEN)))
