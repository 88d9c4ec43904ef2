"""Which class speaks to which kind of provider; none is imported before it is used."""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from chassis.errors import ServiceError

from ..errors import ModelUnusable
from ..links import ListedModel
from ..ports import Key, OpenModel, Provider
from ..settings import ProviderSettings

# Other packages name their kinds here; the value is `module:Class`, as below.
ENTRY_POINTS = "actionvm.providers"


@dataclass(frozen=True)
class Kind:
    """How a sort of provider is reached.

    `target` is the `module:Class` that is made of `ProviderSettings`. `needs_url` if there is no
    public one. `lists` if it can say without a key which models there are.
    """

    target: str
    needs_url: bool = False
    lists: bool = False


BUILT_IN: Mapping[str, Kind] = {
    "anthropic": Kind("linker.providers.anthropic:AnthropicProvider"),
    "azure-ml": Kind("linker.providers.azureml:AzureMlProvider", needs_url=True),
    "azure-openai": Kind("linker.providers.openai:OpenAiProvider", needs_url=True),
    "bedrock": Kind("linker.providers.bedrock:BedrockProvider"),
    "gemini": Kind("linker.providers.gemini:GeminiProvider"),
    "huggingface": Kind("linker.providers.huggingface:HuggingFaceProvider"),
    "openai": Kind("linker.providers.openai:OpenAiProvider"),
    "openai-compatible": Kind("linker.providers.openai:OpenAiProvider", needs_url=True, lists=True),
    "sagemaker": Kind("linker.providers.sagemaker:SageMakerProvider"),
    "transformers": Kind("linker.providers.transformers:TransformersProvider", lists=True),
}

# These are there without a file, under the name of their kind.
DEFAULTS: Mapping[str, ProviderSettings] = {
    kind: ProviderSettings(name=kind, kind=kind)
    for kind in ("anthropic", "bedrock", "gemini", "huggingface", "openai", "sagemaker")
}


def find_kind(name: str) -> Kind | None:
    """Return a kind; a package cannot replace one that is built in."""
    return BUILT_IN.get(name) or _added_kinds().get(name)


def kind_names() -> list[str]:
    """Return the names of all kinds, those of other packages too."""
    return sorted({*BUILT_IN, *_added_kinds()})


def _added_kinds() -> dict[str, Kind]:
    return {point.name: Kind(point.value, lists=True) for point in entry_points(group=ENTRY_POINTS)}


def providers_of(settings: Mapping[str, ProviderSettings]) -> dict[str, Provider]:
    """Return providers by name; each is imported and made when a model of it is first opened."""
    return {name: LateProvider(one) for name, one in settings.items()}


class LateProvider:
    """A provider that is made once somebody needs it: its package may take seconds to import."""

    def __init__(self, settings: ProviderSettings) -> None:
        kind = find_kind(settings.kind)
        assert kind is not None, "who reads settings refuses a kind that is not there"
        self._settings = settings
        self._kind = kind
        self._made: Provider | None = None
        self._making = asyncio.Lock()

    async def models(self) -> Sequence[ListedModel]:
        """Return the models that the settings name, and those that can be seen without a key.

        A provider that does not answer hides neither its own models nor those of others.
        """
        named = {name: ListedModel(name) for name in self._settings.models}
        if self._kind.lists:
            try:
                seen = await (await self._provider("")).models()
            except ServiceError as error:
                named = {name: ListedModel(name, problem=str(error)) for name in named}
            else:
                named |= {model.name: model for model in seen}
        return [named[name] for name in sorted(named)]

    async def open(self, model: str, key: Key | None = None) -> OpenModel:
        """Return a model; see `Provider`. Raises `ModelUnusable` if its code is not installed."""
        return await (await self._provider(model)).open(model, key)

    async def close(self) -> None:
        """Close the provider, if it was made."""
        async with self._making:
            if self._made is not None:
                await self._made.close()

    async def _provider(self, model: str) -> Provider:
        async with self._making:
            if self._made is None:
                self._made = await self._make(model)
            return self._made

    async def _make(self, model: str) -> Provider:
        module, _, name = self._kind.target.partition(":")
        try:
            make = getattr(await asyncio.to_thread(importlib.import_module, module), name)
            # What a package has loaded stays. Looking through it for garbage stops everybody, for
            # 85 ms at a time with that of OpenAI.
            gc.freeze()
            provider: Provider = make(self._settings)
        except ServiceError:
            raise
        except Exception as error:  # whatever the code of others may raise
            missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
            way_out = f"install the package {missing}: docs/providers.md" if missing else f"{error}"
            problem = f"{self._kind.target} cannot be used, {type(error).__name__}: {way_out}"
            raise ModelUnusable(f"{self._settings.name}/{model}", problem) from error
        return provider
