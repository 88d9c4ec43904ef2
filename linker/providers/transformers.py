"""Models that Hugging Face Transformers runs in this process: those that llama.cpp cannot run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelNotFound, ModelUnusable
from ..links import ListedModel
from ..ports import Key
from ..settings import ModelSettings, ProviderSettings
from .transformers_model import TransformersModel, Turns

if TYPE_CHECKING:
    from .torch_model import TorchModel

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_MODEL = re.compile(f"{_PART}(/{_PART})?")


class TransformersProvider:
    """Folders as Transformers saves them, in one folder; each is loaded once, and stays.

    Options: `folder`, with `<model>/config.json` and `*.safetensors` in it; `device`, such as
    `cuda`; `dtype`, such as `bfloat16`.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._folder = Path(settings.options.get("folder", ""))
        self._loaded: dict[str, TorchModel] = {}
        self._loading = asyncio.Lock()
        # One thread: PyTorch uses the cores by itself, and models share them.
        self._turns = Turns(ThreadPoolExecutor(1, thread_name_prefix="transformers"))

    async def models(self) -> Sequence[ListedModel]:
        """Return the folders that hold a model."""
        return await asyncio.to_thread(self._list)

    async def open(self, model: str, key: Key | None = None) -> TransformersModel:
        """Return a model, loaded; it needs no key. Raises `ModelNotFound` and `ModelUnusable`."""
        name = f"{self._settings.name}/{model}"
        folder = self._folder / model
        if not _MODEL.fullmatch(model) or not (folder / "config.json").is_file():
            raise ModelNotFound(name)
        async with self._loading:
            if model not in self._loaded:
                self._loaded[model] = await asyncio.to_thread(self._load, name, folder)
        settings = self._settings.models.get(model, ModelSettings())
        return TransformersModel(name, self._loaded[model], settings, self._turns)

    async def close(self) -> None:
        """Wait for the thread, which ends with what was closed before."""
        await asyncio.to_thread(self._turns.thread.shutdown)

    def _list(self) -> list[ListedModel]:
        if not self._settings.options.get("folder"):
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

            options = self._settings.options
            return TorchModel(
                folder, device=options.get("device", "cpu"), dtype=options.get("dtype", "auto")
            )
        except ImportError as error:
            way_out = "pip install 'actionvm[transformers]', see docs/providers.md"
            raise ModelUnusable(name, f"{error.name} is not installed: {way_out}") from error
        except Exception as error:  # whatever a folder from elsewhere makes of it
            problem = f"{type(error).__name__}: {error}"
            raise ModelUnusable(name, f"it does not load, {problem}") from error
