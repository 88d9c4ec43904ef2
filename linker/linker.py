"""The linker itself: finds models, and lets them answer those who can pay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from chassis.canonical import sha256_hex
from chassis.clock import Clock
from chassis.errors import InvalidField, ServiceError
from chassis.log import log

from .conversation import Call, Conversation, Delta, Finished, FinishReason, Prompt, Tokens
from .errors import ContextExceeded, ModelNotFound, ModelUnusable, ProviderNotFound, QueueFull
from .links import Link, ListedModel, ModelConfig, ModelFacts
from .ports import Caller, GasMeter, OpenModel, Provider, Reservation
from .schemas import checked_arguments
from .store import LinkStore
from .tokens import Count, Counter, count_at_most

# Generations under way; no more than the engine of the local models lets wait, so that none is
# refused after gas was held for it.
GENERATIONS_MAX = 32


@dataclass(frozen=True)
class Order:
    """One generation: what is asked, of which link, and who pays."""

    request_id: str
    link: str
    account: str
    run: str
    callers: tuple[Caller, ...]
    prompt: Prompt


@dataclass(frozen=True)
class Answer:
    """The end of a generation, checked and paid."""

    reason: FinishReason
    text: str
    calls: tuple[Call, ...]
    tokens: Tokens
    gas: int
    model: str


class Linker:
    """Connects agents to the models of several providers. No other path to a model exists."""

    def __init__(
        self, providers: Mapping[str, Provider], links: LinkStore, gas: GasMeter, clock: Clock
    ) -> None:
        self._providers = providers
        self._links = links
        self._gas = gas
        self._clock = clock
        self._generation_count = 0
        self._failing: set[str] = set()
        self._settling: set[asyncio.Task[int]] = set()

    async def link(self, config: ModelConfig) -> Link:
        """Open a model, check that it has what is asked for, and remember the connection."""
        facts = (await self._open(config.model)).facts
        if config.needs_actions and not facts.takes_actions:
            problem = "it takes no actions; choose a model with a chat template for tools"
            raise ModelUnusable(config.model, problem)
        if facts.context_tokens < config.context_tokens_min:
            problem = f"its context has {facts.context_tokens} tokens"
            raise ModelUnusable(config.model, f"{problem}, not {config.context_tokens_min}")
        link = Link(config=config, facts=facts, create_time=self._clock.now())
        self._failing.discard(link.name)
        return await asyncio.to_thread(self._links.put, link)

    async def find(self, name: str) -> Link:
        """Return a link. Raises `LinkNotFound`."""
        return await asyncio.to_thread(self._links.get, name)

    def is_failing(self, link: Link) -> bool:
        """Tell whether the model failed when it was last asked, since this process started."""
        return link.name in self._failing

    async def models(self) -> list[ListedModel]:
        """Return what could be linked, of all providers, by name."""
        found = [
            replace(model, name=f"{name}/{model.name}")
            for name, provider in self._providers.items()
            for model in await provider.models()
        ]
        return sorted(found, key=lambda model: model.name)

    async def count_tokens(self, name: str, conversation: Conversation) -> int:
        """Return how many tokens the model of a link would read, or at most so many."""
        link = await self.find(name)
        return (await _count(await self._reopen(link, conversation), conversation)).amount

    async def generate(self, order: Order) -> AsyncGenerator[Delta | Answer, None]:
        """Yield text as it is written, then the answer.

        Gas is held for the worst case before the model starts, and charged for what it did, also
        when it fails or when this is closed early. A generation that ends before the model has read
        anything leaves its hold open: the same request comes again, or the run gives it back.
        Raises `QueueFull` if too many are under way.
        """
        # First of all: what is done for those who are refused is lost to those who are served.
        if self._generation_count >= GENERATIONS_MAX:
            raise QueueFull(self._generation_count)
        self._generation_count += 1
        try:
            async with aclosing(self._generate(order)) as events:
                async for event in events:
                    yield event
        finally:
            self._generation_count -= 1

    async def _generate(self, order: Order) -> AsyncGenerator[Delta | Answer, None]:
        link = await self.find(order.link)
        prompt = order.prompt
        model = await self._reopen(link, prompt.conversation)
        counted = await _count(model, prompt.conversation)
        hold = await self._reserve(order, link, model.facts, counted)
        used = Tokens()
        finished = None
        try:
            async with aclosing(model.generate(prompt)) as events:
                async for event in events:
                    used = event.tokens
                    if isinstance(event, Finished):
                        finished = event
                    elif event.text:
                        yield event
            assert finished is not None, "a provider ends with Finished"
            calls = tuple(
                Call(
                    id=_call_id(order.request_id, index),
                    action=call.action,
                    arguments=checked_arguments(call, prompt.conversation.actions),
                )
                for index, call in enumerate(finished.calls)
            )
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, ServiceError):
                self._failing.add(link.name)
            if used != Tokens():
                # What ended the generation is the news; a settlement that fails too is in the log.
                with suppress(ServiceError):
                    await asyncio.shield(self._settle(hold, used))
            raise
        self._failing.discard(link.name)
        gas = await asyncio.shield(self._settle(hold, used, counted))
        yield Answer(finished.reason, finished.text, calls, used, gas, link.config.model)

    async def close(self) -> None:
        """Wait until everything that was used is charged."""
        await asyncio.gather(*self._settling, return_exceptions=True)

    async def _open(self, model: str) -> OpenModel:
        name, _, rest = model.partition("/")
        provider = self._providers.get(name)
        if provider is None:
            raise ProviderNotFound(name, ", ".join(sorted(self._providers)))
        return await provider.open(rest)

    async def _reopen(self, link: Link, conversation: Conversation) -> OpenModel:
        """Open the model of a link, which must still be the one that was linked."""
        try:
            model = await self._open(link.config.model)
        except (ModelNotFound, ModelUnusable, ProviderNotFound) as error:
            self._failing.add(link.name)
            if isinstance(error, ModelUnusable):
                raise
            raise ModelUnusable(link.config.model, f"{error}") from error
        if model.facts.weights_sha256 != link.facts.weights_sha256:
            self._failing.add(link.name)
            problem = "its weights have changed since it was linked; link it again"
            raise ModelUnusable(link.config.model, problem)
        if conversation.actions and not model.facts.takes_actions:
            raise InvalidField("actions", f"{link.config.model} takes none; link another model")
        return model

    async def _reserve(self, order: Order, link: Link, facts: ModelFacts, counted: Count) -> str:
        tokens_max = order.prompt.sampling.tokens_max
        # Many bytes may be few tokens, so a bound refuses nothing.
        least = counted.amount if counted.counter is Counter.TOKENIZER else 1
        if least + tokens_max > facts.context_tokens:
            raise ContextExceeded(least, tokens_max, facts.context_tokens)
        input_tokens = min(counted.amount, facts.context_tokens - tokens_max)
        return await self._gas.reserve(
            Reservation(
                request_id=order.request_id,
                account=order.account,
                run=order.run,
                callers=order.callers,
                item=f"model {link.config.model}",
                worst=Tokens(input_tokens, tokens_max),
            )
        )

    def _settle(self, hold: str, used: Tokens, counted: Count | None = None) -> asyncio.Task[int]:
        """Charge in a task of its own, which goes on when the caller does not wait for it."""
        task = asyncio.ensure_future(self._gas.settle(hold, used, counted))
        self._settling.add(task)
        task.add_done_callback(self._settled)
        return task

    def _settled(self, task: asyncio.Task[int]) -> None:
        self._settling.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("gas.settle_failed", problem=str(error))


async def _count(model: OpenModel, conversation: Conversation) -> Count:
    amount = await model.count_tokens(conversation)
    return count_at_most(conversation) if amount is None else Count(amount, Counter.TOKENIZER)


def _call_id(request_id: str, index: int) -> str:
    """Return an id that a repeated generation gives again."""
    return f"{sha256_hex(request_id.encode())[:16]}-{index}"
