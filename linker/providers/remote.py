"""What all remote providers do: ask for a model once, and let it answer with a key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import Generic, TypeVar

from ..conversation import Conversation, Delta, Finished, Prompt
from ..errors import CredentialRefused
from ..links import ListedModel, ModelFacts
from ..ports import Key, OpenModel
from ..settings import ModelSettings, ProviderSettings
from .known import Known
from .talking import OnlyTalks
from .wire import Answer, Failure, check_images, secret_of, translated


class RemoteProvider(ABC):
    """A provider that keeps what it was told of its models.

    `needs` is what must be named to open one; empty if nothing must.
    """

    needs = "a key"

    def __init__(
        self,
        settings: ProviderSettings,
        failure_of: Callable[[Exception], Failure | None],
        hidden: Callable[[str], str] = str,
    ) -> None:
        """Take what tells failures, and what tells the part of a secret that shows nowhere."""
        self.settings = settings
        self.failure_of = failure_of
        self.hidden = hidden
        self._opened: dict[str, Known] = {}

    async def models(self) -> Sequence[ListedModel]:
        """Return none: nothing is told without a key."""
        return []

    async def open(self, model: str, key: Key | None = None) -> OpenModel:
        """Return a model, which the provider was asked for once."""
        name = f"{self.settings.name}/{model}"
        if key is None and self.needs:
            problem = f"it needs {self.needs} and none is named; name its secret"
            raise CredentialRefused(name, problem)
        if model not in self._opened:
            secret = await secret_of(key)
            with translated(name, self.failure_of, secret=self.hidden(secret)):
                self._opened[model] = await self.look_up(model, secret)
        return self.opened(model, key, self._opened[model])

    @abstractmethod
    async def look_up(self, model: str, secret: str) -> Known:
        """Ask for a model that was not opened before, and return what is known of it then."""

    @abstractmethod
    def opened(self, model: str, key: Key | None, known: Known) -> OpenModel:
        """Return a model that is there."""


Provider = TypeVar("Provider", bound=RemoteProvider)


class RemoteModel(OnlyTalks, ABC, Generic[Provider]):
    """A model that is asked with a key, which is fetched anew for each request."""

    def __init__(self, provider: Provider, model: str, key: Key | None, known: Known) -> None:
        self.name = f"{provider.settings.name}/{model}"
        self._provider = provider
        self._model = model
        self._key = key
        self._known = known

    @cached_property
    def facts(self) -> ModelFacts:
        """Return what is known of a model that talks."""
        return ModelFacts(
            context_tokens=self._known.context_tokens,
            takes_actions=self._settings.takes_actions is not False,
            constrains_output=self._known.constrains,
            takes_images=self._known.takes_images,
        )

    async def count_tokens(self, conversation: Conversation) -> int | None:
        """Return None: only the provider's own count, after the fact, is right."""
        return None

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas and the end; see `OpenModel`."""
        check_images(self.name, prompt, takes_images=self._known.takes_images)
        secret = await secret_of(self._key)
        answer = Answer(prompt)
        with translated(
            self.name,
            self._provider.failure_of,
            secret=self._provider.hidden(secret),
            prompt=prompt,
            context_tokens=self._known.context_tokens,
        ):
            async with aclosing(self._speak(answer, secret)) as deltas:
                async for delta in deltas:
                    yield delta
        yield answer.finish(self.name)

    @abstractmethod
    def _speak(self, answer: Answer, secret: str) -> AsyncGenerator[Delta, None]:
        """Yield what the model answers to the prompt of `answer`, and take it into `answer`."""

    @property
    def _settings(self) -> ModelSettings:
        return self._provider.settings.models.get(self._model, ModelSettings())
