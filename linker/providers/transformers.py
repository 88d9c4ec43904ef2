"""Models that Hugging Face Transformers runs in this process: those that llama.cpp cannot run."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from chassis.errors import InvalidField

from ..conversation import Conversation, Delta, Finished, Prompt
from ..errors import ContextExceeded, ModelNotFound, ModelUnusable, QueueFull
from ..links import ListedModel, ModelFacts
from ..ports import Key
from ..settings import ModelSettings, ProviderSettings
from .settings import WAITING_MAX
from .talking import OnlyTalks
from .template import TemplateFailed
from .writing import Writing

if TYPE_CHECKING:
    from .torch_model import TorchModel

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_MODEL = re.compile(f"{_PART}(/{_PART})?")

Item: TypeAlias = "Delta | Finished | BaseException"


class TransformersProvider:
    """Folders as Transformers saves them, in one folder; each is loaded once, and stays.

    Options: `folder`, with `<model>/config.json` and `*.safetensors` in it; `device`, such as
    `cuda`; `dtype`, such as `bfloat16`.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        self._folder = Path(settings.options.get("folder", ""))
        self._loaded: dict[str, TorchModel] = {}
        self._loading = asyncio.Lock()
        # One thread: PyTorch uses the cores by itself, and models share them.
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="transformers")
        self.waiting = 0

    async def models(self) -> Sequence[ListedModel]:
        """Return the folders that hold a model."""
        return await asyncio.to_thread(self._list)

    async def open(self, model: str, key: Key | None = None) -> TransformersModel:
        """Return a model, loaded; it needs no key. Raises `ModelNotFound` and `ModelUnusable`."""
        name = f"{self.settings.name}/{model}"
        folder = self._folder / model
        if not _MODEL.fullmatch(model) or not (folder / "config.json").is_file():
            raise ModelNotFound(name)
        async with self._loading:
            if model not in self._loaded:
                self._loaded[model] = await asyncio.to_thread(self._load, name, folder)
        return TransformersModel(name, self, self._loaded[model], model)

    async def close(self) -> None:
        """Wait for the thread, which ends with what was closed before."""
        await asyncio.to_thread(self.thread.shutdown)

    def _list(self) -> list[ListedModel]:
        if not self.settings.options.get("folder"):
            return []
        found = {*self._folder.glob("*/config.json"), *self._folder.glob("*/*/config.json")}
        names = sorted(path.parent.relative_to(self._folder).as_posix() for path in found)
        return [
            ListedModel(name, is_loaded=name in self._loaded)
            for name in names
            if _MODEL.fullmatch(name)
        ]

    def _load(self, name: str, folder: Path) -> TorchModel:
        try:
            # It imports PyTorch and Transformers, which takes seconds.
            from .torch_model import TorchModel  # noqa: PLC0415

            options = self.settings.options
            return TorchModel(
                folder, device=options.get("device", "cpu"), dtype=options.get("dtype", "auto")
            )
        except ImportError as error:
            way_out = "pip install 'actionvm[transformers]', see docs/providers.md"
            raise ModelUnusable(name, f"{error.name} is not installed: {way_out}") from error
        except Exception as error:  # whatever a folder from elsewhere makes of it
            problem = f"{type(error).__name__}: {error}"
            raise ModelUnusable(name, f"it does not load, {problem}") from error


class TransformersModel(OnlyTalks):
    """A loaded model."""

    def __init__(
        self, name: str, provider: TransformersProvider, model: TorchModel, key: str
    ) -> None:
        self.name = name
        self._provider = provider
        self._model = model
        self._settings = provider.settings.models.get(key, ModelSettings())

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
        model, provider = self._model, self._provider
        matcher = await asyncio.to_thread(model.grammars.make, prompt)
        tokens = await self._tokenize(prompt.conversation)
        room, tokens_max = self.facts.context_tokens, prompt.sampling.tokens_max
        if len(tokens) + tokens_max > room:
            raise ContextExceeded(len(tokens), tokens_max, room)
        if provider.waiting >= WAITING_MAX:
            raise QueueFull(provider.waiting)
        writing = Writing(model, model.exits, matcher, prompt=prompt, guesses=False)
        left = threading.Event()
        provider.waiting += 1
        try:
            async with aclosing(self._run(tokens, writing, left)) as events:
                async for event in events:
                    yield event
        finally:
            left.set()
            provider.waiting -= 1

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

        self._provider.thread.submit(work)
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
