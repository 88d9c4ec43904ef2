"""Models of Anthropic, and of servers that speak its Messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from anthropic import AsyncStream, omit

from ..conversation import Conversation, Delta
from ..ports import Key, OpenModel
from ..settings import ProviderSettings
from .anthropic_messages import offer, read, request, system_of, turns_of
from .anthropic_server import connect, failure_of, look_up, show
from .known import Known
from .pieces import MessagesEvent
from .remote import RemoteModel, RemoteProvider
from .wire import Answer, secret_of, translated


class AnthropicProvider(RemoteProvider):
    """Anthropic, or a server that speaks like it.

    Options: `count_tokens` is `true` to have tokens counted before each generation, which is a
    request of its own; `prompt_cache` is `true` to have the provider keep what it has read.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings, failure_of)
        self.client = connect(settings)

    async def look_up(self, model: str, secret: str) -> Known:
        """Ask for a model; see `RemoteProvider`."""
        return await look_up(self.client, self.settings, model, show(secret))

    def opened(self, model: str, key: Key | None, known: Known) -> OpenModel:
        """Return a model that is there."""
        return AnthropicModel(self, model, key, known)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


class AnthropicModel(RemoteModel[AnthropicProvider]):
    """A model of Anthropic's. There are neither seeds nor penalties."""

    async def count_tokens(self, conversation: Conversation) -> int | None:
        """Return what the provider counts, if the settings say that it is to be asked."""
        if self._provider.settings.options.get("count_tokens") != "true":
            return None
        secret = await secret_of(self._key)
        actions = conversation.actions
        with translated(self.name, failure_of, secret=secret):
            counted = await self._provider.client.messages.count_tokens(
                model=self._model,
                messages=turns_of(conversation),
                system=system_of(conversation) or omit,
                tools=offer(actions, is_strict=self._known.constrains) if actions else omit,
                extra_headers=show(secret),
            )
            return counted.input_tokens

    async def _speak(self, answer: Answer, secret: str) -> AsyncGenerator[Delta, None]:
        asked = request(
            self._model,
            answer.prompt,
            samples=self._known.samples,
            constrains=self._known.constrains,
            keeps=self._provider.settings.options.get("prompt_cache") == "true",
        )
        # Not by `create`, for the reasons that OpenAI's chat has.
        async with await self._provider.client.post(
            "/v1/messages",
            body=asked,
            cast_to=object,
            stream=True,
            stream_cls=AsyncStream[object],
            options={"headers": show(secret)},
        ) as events:
            async for event in events:
                for delta in read(answer, MessagesEvent.model_validate(event)):
                    yield delta
