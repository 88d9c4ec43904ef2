"""Models of Google's Gemini API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import cached_property

import httpx2
from google.genai import types

from ..conversation import Delta, Tokens
from ..embedding import Embedded
from ..errors import ModelUnusable
from ..links import ModelFacts
from ..ports import Key, OpenModel
from ..settings import ProviderSettings
from .gemini_contents import configured, contents_of, read
from .gemini_server import connect, failure_of, look_up, make_client, show, watched
from .known import Known
from .remote import RemoteModel, RemoteProvider
from .wire import BYTES_PER_TOKEN, Answer, secret_of, translated, unit


class GeminiProvider(RemoteProvider):
    """Gemini, as developers reach it: with a key. `api_version` is an option, as `v1beta`."""

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings, failure_of)
        self._connections = connect(settings)
        self.client = make_client(settings, self._connections)

    async def look_up(self, model: str, secret: str) -> Known:
        """Ask for a model; see `RemoteProvider`."""
        return await look_up(self.client, self.settings, model, show(secret))

    def opened(self, model: str, key: Key | None, known: Known) -> OpenModel:
        """Return a model that is there."""
        return GeminiModel(self, model, key, known)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.aclose()
        self.client.close()


class GeminiModel(RemoteModel[GeminiProvider]):
    """A model of Gemini's. Of more calls than asked the first count.

    It counts no tokens: what is asked for a count takes neither instructions nor actions.
    """

    @cached_property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        facts = super().facts
        talks = not self._known.embedding_dimensions
        return replace(
            facts,
            takes_actions=talks and facts.takes_actions,
            constrains_output=talks,
            embedding_dimensions=self._known.embedding_dimensions,
        )

    async def _speak(self, answer: Answer, secret: str) -> AsyncGenerator[Delta, None]:
        responses: list[httpx2.Response] = []
        try:
            # The package asks when the first piece is wanted.
            with watched(responses):
                chunks = await self._provider.client.aio.models.generate_content_stream(
                    model=self._model,
                    contents=[*contents_of(answer.prompt.conversation)],
                    config=configured(answer.prompt, show(secret)),
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

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return unit vectors; what they used is guessed, since this interface does not tell."""
        if not self._known.embedding_dimensions:
            return await super().embed(texts)
        secret = await secret_of(self._key)
        config = types.EmbedContentConfig(
            http_options=show(secret), output_dimensionality=self._known.embedding_dimensions
        )
        with translated(self.name, failure_of, secret=secret):
            made = await self._provider.client.aio.models.embed_content(
                model=self._model, contents=[*texts], config=config
            )
            vectors = [unit(one.values or ()) for one in made.embeddings or ()]
        if [len(vector) for vector in vectors] != [self._known.embedding_dimensions] * len(texts):
            raise ModelUnusable(self.name, "its vectors are not as long as the settings say")
        size = sum(len(text.encode()) for text in texts)
        return Embedded(tuple(vectors), Tokens(embedding=-(-size // BYTES_PER_TOKEN)))
