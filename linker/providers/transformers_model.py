"""A model of Transformers as the linker sees it: generations take turns on one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from chassis.errors import InvalidField

from ..conversation import Conversation, Delta, Finished, Prompt
from ..errors import ContextExceeded, QueueFull
from ..links import ModelFacts
from ..settings import ModelSettings
from .settings import WAITING_MAX
from .talking import OnlyTalks
from .template import TemplateFailed
from .writing import Writing

if TYPE_CHECKING:
    from .torch_model import TorchModel

Item: TypeAlias = "Delta | Finished | BaseException"


@dataclass
class Turns:
    """The thread of all models, and how many generations want it."""

    thread: ThreadPoolExecutor
    waiting: int = 0


class TransformersModel(OnlyTalks):
    """A loaded model."""

    def __init__(self, name: str, model: TorchModel, settings: ModelSettings, turns: Turns) -> None:
        self.name = name
        self._model = model
        self._settings = settings
        self._turns = turns

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        lengths = (self._model.context_tokens, self._settings.context_tokens)
        return ModelFacts(
            context_tokens=min(filter(None, lengths), default=0),
            takes_actions=self._model.template.takes_actions
            and self._settings.takes_actions is not False,
            constrains_output=True,
            weights_sha256=self._model.sha256,
            gives_logprobs=True,
        )

    async def count_tokens(self, conversation: Conversation) -> int:
        """Return how many tokens the model would read."""
        return len(await self._tokenize(conversation))

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas and the end; see `OpenModel`."""
        model, turns = self._model, self._turns
        matcher = await asyncio.to_thread(model.grammars.make, prompt)
        tokens = await self._tokenize(prompt.conversation)
        room, tokens_max = self.facts.context_tokens, prompt.sampling.tokens_max
        if len(tokens) + tokens_max > room:
            raise ContextExceeded(len(tokens), tokens_max, room)
        if turns.waiting >= WAITING_MAX:
            raise QueueFull(turns.waiting)
        writing = Writing(model, model.exits, matcher, prompt=prompt, guesses=False)
        left = threading.Event()
        turns.waiting += 1
        try:
            async with aclosing(self._run(tokens, writing, left)) as events:
                async for event in events:
                    yield event
        finally:
            left.set()
            turns.waiting -= 1

    async def _run(
        self, tokens: Sequence[int], writing: Writing, left: threading.Event
    ) -> AsyncGenerator[Delta | Finished, None]:
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Item] = asyncio.Queue()

        def post(item: Item) -> None:
            if not left.is_set():
                loop.call_soon_threadsafe(inbox.put_nowait, item)

        def work() -> None:
            try:
                for event in self._model.write(tokens, writing, left.is_set):
                    post(event)
            except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits
                post(error)

        self._turns.thread.submit(work)
        while True:
            item = await inbox.get()
            if isinstance(item, BaseException):
                raise item
            yield item
            if isinstance(item, Finished):
                return

    async def _tokenize(self, conversation: Conversation) -> list[int]:
        def tokenize() -> list[int]:
            return self._model.tokenize(self._model.template.render(conversation))

        try:
            return await asyncio.to_thread(tokenize)
        except TemplateFailed as error:
            raise InvalidField("messages", f"do not suit the model: {error}") from error
