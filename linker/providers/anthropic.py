"""Models of Anthropic, and of servers that speak its Messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from anthropic import AsyncStream, omit

from ..conversation import Conversation, Delta, Finished, Prompt
from ..errors import CredentialRefused
from ..links import ListedModel, ModelFacts
from ..ports import Key
from ..settings import ModelSettings, ProviderSettings
from .anthropic_messages import offer, read, request, system_of, turns_of
from .anthropic_server import connect, failure_of, look_up, show
from .known import Known
from .pieces import MessagesEvent
from .talking import OnlyTalks
from .wire import Answer, check_images, secret_of, translated


class AnthropicProvider:
    """Anthropic, or a server that speaks like it.

    Options: `count_tokens` is `true` to have tokens counted before each generation, which is a
    request of its own; `prompt_cache` is `true` to have the provider keep what it has read.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        self.client = connect(settings)
        self._opened: dict[str, Known] = {}

    async def models(self) -> Sequence[ListedModel]:
        """Return none: nothing is told without a key."""
        return []

    async def open(self, model: str, key: Key | None = None) -> AnthropicModel:
        """Return a model, which the provider was asked for once."""
        name = f"{self.settings.name}/{model}"
        if key is None:
            raise CredentialRefused(name, "it needs a key and none is named; name its secret")
        if model not in self._opened:
            secret = await secret_of(key)
            with translated(name, failure_of, secret=secret):
                self._opened[model] = await look_up(self.client, self.settings, model, show(secret))
        return AnthropicModel(name, self, model, key, self._opened[model])

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


class AnthropicModel(OnlyTalks):
    """A model of Anthropic's."""

    def __init__(
        self, name: str, provider: AnthropicProvider, model: str, key: Key, known: Known
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
        return ModelFacts(
            context_tokens=self._known.context_tokens,
            takes_actions=settings.takes_actions is not False,
            constrains_output=self._known.constrains,
            takes_images=self._known.takes_images,
        )

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

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas and the end; see `OpenModel`. There are neither seeds nor penalties."""
        check_images(self.name, prompt, takes_images=self._known.takes_images)
        known = self._known
        keeps = self._provider.settings.options.get("prompt_cache") == "true"
        asked = request(
            self._model, prompt, samples=known.samples, constrains=known.constrains, keeps=keeps
        )
        secret = await secret_of(self._key)
        answer = Answer(prompt)
        with translated(
            self.name,
            failure_of,
            secret=secret,
            prompt=prompt,
            context_tokens=known.context_tokens,
        ):
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
        yield answer.finish(self.name)
