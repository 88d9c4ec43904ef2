"""Models whose weights lie on this machine, run by llama.cpp."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from chassis.errors import InvalidField

from ..conversation import Conversation, Delta, Finished, Prompt
from ..errors import ModelNotFound
from ..links import ListedModel, ModelFacts
from ..ports import Key
from ..sources import LOCAL_NAME
from .facts import facts_of
from .gguf import BadGguf, read_header
from .settings import WAITING_MAX, EngineSettings
from .talking import OnlyTalks
from .template import TemplateFailed

if TYPE_CHECKING:
    from .engine import Engine

SUFFIX = ".gguf"
# Memory is for the models in use; the one that was not used for longest makes room.
LOADED_MAX = 2

# What tells one version of a file from the next without reading it.
_Stamp: TypeAlias = tuple[int, int, int]


class LocalProvider:
    """`<name>.gguf` in a folder; loaded when first used."""

    def __init__(
        self, folder: Path, *, threads: int, context_tokens_max: int, waiting_max: int = WAITING_MAX
    ) -> None:
        self._folder = folder
        self._settings = EngineSettings(
            threads=threads, context_tokens_max=context_tokens_max, waiting_max=waiting_max
        )
        self._loaded: OrderedDict[str, tuple[_Stamp, Engine]] = OrderedDict()
        self._described: dict[str, tuple[_Stamp, ListedModel]] = {}
        self._loading = asyncio.Lock()

    async def models(self) -> Sequence[ListedModel]:
        """Return the files of the folder that can be named, with what their headers say."""
        return await asyncio.to_thread(self._list)

    async def open(self, model: str, key: Key | None = None) -> LocalModel:
        """Return a model, loaded; it needs no key. Raises `ModelNotFound` and `ModelUnusable`."""
        path = self._folder / f"{model}{SUFFIX}"
        if not LOCAL_NAME.fullmatch(model):
            raise ModelNotFound(f"local/{model}")
        try:
            status = await asyncio.to_thread(path.stat)
        except OSError as error:
            raise ModelNotFound(f"local/{model}") from error
        stamp = _stamp(status)
        async with self._loading:
            known = self._loaded.pop(model, None)
            if known is None or known[0] != stamp:
                # Off the event loop: it takes a while.
                known = stamp, await asyncio.to_thread(_load, model, path, self._settings)
            self._loaded[model] = known
            while len(self._loaded) > LOADED_MAX:
                # Its memory goes with the last who uses it.
                self._loaded.popitem(last=False)
        return LocalModel(f"local/{model}", known[1])

    async def close(self) -> None:
        """Stop the engines."""
        for _, engine in self._loaded.values():
            await engine.close()

    def _list(self) -> list[ListedModel]:
        found = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if LOCAL_NAME.fullmatch(path.stem) and path.is_file():
                # It may be removed at this moment.
                with suppress(FileNotFoundError):
                    found.append(self._describe(path))
        return found

    def _describe(self, path: Path) -> ListedModel:
        """Return what a header says; the vocabulary in it takes a moment, so it is read once."""
        status = path.stat()
        stamp, described = self._described.get(path.stem, ((0, 0, 0), ListedModel(path.stem)))
        if stamp != _stamp(status):
            described = self._read(path, size_bytes=status.st_size)
            self._described[path.stem] = _stamp(status), described
        return replace(described, is_loaded=path.stem in self._loaded)

    def _read(self, path: Path, *, size_bytes: int) -> ListedModel:
        model = ListedModel(path.stem, size_bytes=size_bytes)
        try:
            header = read_header(path)
        except (BadGguf, OSError) as error:
            return replace(model, problem=f"{error}")
        facts = facts_of(
            header, size_bytes=size_bytes, context_tokens_max=self._settings.context_tokens_max
        )
        return replace(model, facts=facts)


def _load(model: str, path: Path, settings: EngineSettings) -> Engine:
    # llama.cpp costs a quarter of a second and memory, so only who uses it imports it.
    from .engine import load_engine  # noqa: PLC0415

    return load_engine(model, path, settings)


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns


class LocalModel(OnlyTalks):
    """A loaded model."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self._engine = engine
        self._weights = engine.weights

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        return ModelFacts(
            context_tokens=self._engine.context_tokens,
            takes_actions=self._weights.template.takes_actions,
            constrains_output=True,
            weights_sha256=self._weights.sha256,
        )

    async def count_tokens(self, conversation: Conversation) -> int:
        """Return how many tokens the model would read."""
        return len(await self._tokenize(conversation))

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas and the end; see `OpenModel`."""
        matcher = await asyncio.to_thread(self._weights.grammars.make, prompt)
        tokens = await self._tokenize(prompt.conversation)
        async with aclosing(self._engine.generate(prompt, tokens, matcher)) as events:
            async for event in events:
                yield event

    async def _tokenize(self, conversation: Conversation) -> list[int]:
        def tokenize() -> list[int]:
            return self._weights.model.tokenize(self._weights.template.render(conversation))

        # Off the event loop, and not in the queue: counting needs the vocabulary only.
        try:
            return await asyncio.to_thread(tokenize)
        except TemplateFailed as error:
            raise InvalidField("messages", f"do not suit the model: {error}") from error
