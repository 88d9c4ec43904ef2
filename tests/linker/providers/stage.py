"""A stage for tests of providers: the provider, and the fake that it speaks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from chassis.errors import ServiceError
from linker.conversation import Delta, Finished, Prompt
from linker.ports import OpenModel, Provider
from linker.settings import ModelSettings, ProviderSettings
from tests.fakes.actor import Actor, Dialect, Said
from tests.fakes.upstream import Fault, Upstream
from tests.linker.orders import collect, finish, prompt

CANARY = "sk-canary-0123456789abcdef"
# Longer than a busy machine needs for anything.
PATIENCE_SECONDS = 60.0
# Longer than a fake needs for a piece, shorter than anybody likes to wait for.
SILENCE_SECONDS = 0.8


class CanaryKey:
    """A key whose value must show nowhere but in the request."""

    def __init__(self, value: str = CANARY) -> None:
        self._value = value

    async def value(self) -> str:
        return self._value


@dataclass(frozen=True)
class Subject:
    """A provider to test: how it is made, the model that its fake has, and what it can do.

    `too_long` is how it says that a conversation of 300,000 tokens does not fit. `prefix` stands
    before the paths of its interface. `embeds` is a model that makes embeddings, if it has one.
    """

    build: Callable[[ProviderSettings], Provider]
    dialect: Callable[[], Dialect]
    kind: str
    model: str
    too_long: Fault
    prefix: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    settings: ModelSettings = field(default_factory=ModelSettings)
    constrains: bool = True
    takes_images: bool = True
    takes_seed: bool = True
    takes_penalties: bool = True
    takes_stops: bool = True
    embeds: str = ""
    counts_embeddings: bool = True
    limits_calls: bool = True
    tells_thoughts: bool = True
    splits_reasoning: bool = True
    cache_write: bool = True
    # Holds `CANARY`, which is the part that is secret.
    key: str = CANARY
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    needs_key: bool = True
    # Makes garbage look like what is sent, as far as the package insists.
    garbage: Callable[[bytes], bytes] = bytes


@dataclass
class Stage:
    """A provider that speaks to a fake."""

    subject: Subject
    actor: Actor
    upstream: Upstream
    settings: ProviderSettings
    provider: Provider

    @property
    def key(self) -> CanaryKey:
        """Return a key."""
        return CanaryKey(self.subject.key)

    async def model(self) -> OpenModel:
        """Return the model."""
        return await self.provider.open(self.subject.model, self.key)

    async def collect(self, prompt: Prompt) -> list[Delta | Finished]:
        """Return all events of a generation."""
        return await collect((await self.model()).generate(prompt))

    async def finish(self, prompt: Prompt) -> Finished:
        """Return the end of a generation."""
        return await finish((await self.model()).generate(prompt))

    async def fail(self, fault: Fault) -> ServiceError:
        """Return the error that a fault becomes."""
        self.upstream.faults.append(fault)
        with pytest.raises(ServiceError) as caught:
            await self.collect(prompt())
        return caught.value

    def says(self, said: Said) -> None:
        """Let the model say this, whatever it is asked."""
        self.actor.script = lambda _: said


class Staged:
    """A class of tests about one provider, its `subject`."""

    subject: Subject

    @pytest_asyncio.fixture
    async def stage(self) -> AsyncIterator[Stage]:
        actor = Actor(self.subject.dialect())
        async with actor.upstream().listening() as upstream:
            settings = ProviderSettings(
                name="far",
                kind=self.subject.kind,
                url=f"{upstream.url}{self.subject.prefix}",
                options=self.subject.options,
                models={self.subject.model: self.subject.settings},
                connect_seconds=PATIENCE_SECONDS,
                silence_seconds=PATIENCE_SECONDS,
            )
            provider = self.subject.build(settings)
            yield Stage(self.subject, actor, upstream, settings, provider)
            await provider.close()
        for problem in upstream.problems:
            raise problem
