"""Opens the models of links, each with the key of whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .errors import CredentialRefused, ModelNotFound, ModelUnusable, ProviderNotFound
from .keys import HeldKey, Keyring
from .links import Link, ListedModel, ModelConfig, ModelFacts, Target
from .ports import OpenModel, Provider


@dataclass(frozen=True)
class Opened:
    """A model that is ready to answer, and the key that it was opened with."""

    target: Target
    model: OpenModel
    key: HeldKey | None = None

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        return self.model.facts


class Opener:
    """Finds the provider of a model, and the key for it."""

    def __init__(self, providers: Mapping[str, Provider], keyring: Keyring) -> None:
        self._providers = providers
        self._keyring = keyring

    async def open(self, target: Target, account: str) -> Opened:
        """Return a model, opened on behalf of an agent.

        Raises `ProviderNotFound`, and what opening raises.
        """
        name, _, model = target.model.partition("/")
        provider = self._providers.get(name)
        if provider is None:
            raise ProviderNotFound(name, ", ".join(sorted(self._providers)))
        if not target.credential:
            return Opened(target, await provider.open(model))
        key = self._keyring.key(target.credential, account, target.model)
        try:
            return Opened(target, await provider.open(model, key), key)
        except CredentialRefused:
            # It may have been rotated a moment ago.
            if not await key.is_replaced():
                raise
            return Opened(target, await provider.open(model, key), key)

    async def examine(self, config: ModelConfig, target: Target, account: str) -> ModelFacts:
        """Return what is known of a model that has all that a configuration asks for.

        Raises `ModelUnusable` if it lacks something, and what `open` raises.
        """
        opened = await self.open(target, account)
        if opened.key is not None:
            # Its provider may know the model already, from an agent with another key.
            await opened.key.value()
        facts = opened.facts
        if lack := _lack_of(facts, config):
            raise ModelUnusable(target.model, lack)
        return facts

    async def reopen(self, link: Link, target: Target, account: str) -> Opened:
        """Open a model of a link, which must still be the one that was linked."""
        known = link.facts[link.config.targets.index(target)]
        try:
            opened = await self.open(target, account)
        except (ModelNotFound, ProviderNotFound) as error:
            raise ModelUnusable(target.model, f"{error}") from error
        if opened.facts.weights_sha256 != known.weights_sha256:
            problem = "its weights have changed since it was linked; link it again"
            raise ModelUnusable(target.model, problem)
        return opened

    async def forget(self, target: Target) -> None:
        """Give back the key of a model; who else needs it gets it again."""
        if target.credential:
            await self._keyring.drop(target.credential)

    async def close(self) -> None:
        """Give all keys back."""
        await self._keyring.close()

    async def models(self) -> list[ListedModel]:
        """Return what could be linked, of all providers, by name."""
        found = [
            replace(model, name=f"{name}/{model.name}")
            for name, provider in self._providers.items()
            for model in await provider.models()
        ]
        return sorted(found, key=lambda model: model.name)


def _lack_of(facts: ModelFacts, config: ModelConfig) -> str:
    if config.needs_actions and not facts.takes_actions:
        return "it takes no actions; choose a model with a chat template for tools"
    if config.needs_images and not facts.takes_images:
        return "it reads no images; choose a model that does"
    if config.needs_answer_schema and not facts.constrains_output:
        return "it does not promise that answers satisfy a schema; choose a model that does"
    if facts.context_tokens < config.context_tokens_min:
        return f"its context has {facts.context_tokens} tokens, not {config.context_tokens_min}"
    return ""
