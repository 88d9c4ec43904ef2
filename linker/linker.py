"""The linker itself: finds models, and lets them answer those who can pay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import TypeAlias, TypeVar

from chassis.clock import Clock

from . import trying
from .answers import Answers, answer_key, cache_item
from .conversation import Conversation, Delta
from .errors import CredentialRefused
from .links import Link, ListedModel, ModelConfig, Target
from .opening import Opened, Opener
from .orders import Answer, EmbedOrder, Order, Payer, Ranking, RerankOrder, Vectors
from .paying import Bill, Cashier
from .routing.route import Router
from .routing.turns import Turn, Turns
from .settings import RateBudget
from .store import LinkStore
from .tokens import Counter, texts_at_most

Event = TypeVar("Event")
Made = TypeVar("Made", Vectors, Ranking)
# Asks a model that is open, which may wait until then.
Ask: TypeAlias = Callable[[Opened, float | None], AsyncGenerator[Event, None]]

# The local models compute one after another: who waits for them waits here, before gas is held.
LOCAL = RateBudget(in_flight_max=32)
# What a bound on tokens counts as one is about so many in truth.
BOUND_PER_TOKEN = 4


class Linker:
    """Connects agents to the models of several providers. No other path to a model exists."""

    def __init__(
        self,
        opener: Opener,
        links: LinkStore,
        cashier: Cashier,
        clock: Clock,
        *,
        router: Router,
        turns: Turns,
        answers: Answers,
    ) -> None:
        self._opener = opener
        self._links = links
        self._cashier = cashier
        self._clock = clock
        self._router = router
        self._turns = turns
        self._answers = answers

    async def link(self, config: ModelConfig, account: str = "") -> Link:
        """Open every model of a configuration, check that it has what is asked for, and a price.

        `account` is on whose behalf keys are released.
        """
        found = []
        for target in config.targets:
            found.append(await self._opener.examine(config, target, account))
            await self._cashier.check_price(f"model {target.model}")
            if config.cache_seconds:
                await self._cashier.check_price(cache_item(target.model))
            self._router.breakers.note_answer(target)
        link = Link(config, tuple(found), self._clock.now(), account)
        return await asyncio.to_thread(self._links.put, link)

    async def find(self, name: str) -> Link:
        """Return a link. Raises `LinkNotFound`."""
        known = self._links.known(name)
        return known if known is not None else await asyncio.to_thread(self._links.get, name)

    async def links(self, *, after: str, limit: int) -> list[Link]:
        """Return links by name, from the first after `after` on."""
        return await asyncio.to_thread(self._links.list, after=after, limit=limit)

    async def unlink(self, name: str) -> None:
        """End a link, and forget its keys. Raises `LinkNotFound`."""
        link = await self.find(name)
        await asyncio.to_thread(self._links.remove, name)
        for target in link.config.targets:
            # Whoever else needs it gets it again.
            await self._opener.forget(target)

    def failing(self, link: Link) -> list[bool]:
        """Tell of each target whether it failed when it was last asked, by this process."""
        return [self._router.breakers.is_failing(target) for target in link.config.targets]

    async def models(self) -> list[ListedModel]:
        """Return what could be linked, of all providers, by name."""
        return await self._opener.models()

    async def count_tokens(self, name: str, conversation: Conversation) -> int:
        """Return how many tokens the model of a link would read, or at most so many."""
        link = await self.find(name)
        opened = await self._opener.reopen(link, link.config.targets[0], link.account)
        return (await trying.count(opened, conversation)).amount

    async def generate(
        self, order: Order, *, seconds_max: float | None = None
    ) -> AsyncGenerator[Delta | Answer, None]:
        """Yield text as it is written, then the answer, within the time that the caller has.

        Gas is held for the worst case before a model starts, and charged for what it did, also
        when it fails or when this is closed early. A generation that ends before the model has read
        anything leaves its hold open: the same request comes again, or the run gives it back.
        """
        link = await self.find(order.link)
        bill = self._cashier.bill(order.payer)
        key = answer_key(link, order)
        if key and (kept := await self._answers.find(key, order, bill)) is not None:
            if kept.text or kept.reasoning:
                yield Delta(kept.text, kept.tokens, kept.reasoning)
            yield kept
            return
        ask = partial(self._generate, order, bill)
        events = self._route(link, link.config.targets, order.payer, ask, seconds_max)
        async with aclosing(events):
            async for event in events:
                if key and isinstance(event, Answer):
                    await self._answers.keep(key, order, event, link.config.cache_seconds)
                yield event

    async def embed(self, order: EmbedOrder, *, seconds_max: float | None = None) -> Vectors:
        """Return embeddings of the first model of a link: those of others mean other things."""
        bill = self._cashier.bill(order.payer)
        return await self._read(
            order, partial(trying.embed, order, bill, self._cashier), seconds_max
        )

    async def rerank(self, order: RerankOrder, *, seconds_max: float | None = None) -> Ranking:
        """Return how relevant documents are, as the first model of a link sees it."""
        bill = self._cashier.bill(order.payer)
        return await self._read(
            order, partial(trying.rerank, order, bill, self._cashier), seconds_max
        )

    async def close(self) -> None:
        """Wait until everything that was used is charged, and give the keys back."""
        await self._cashier.close()
        await self._opener.close()

    def _route(
        self,
        link: Link,
        targets: Sequence[Target],
        payer: Payer,
        ask: Ask[Event],
        seconds_max: float | None,
    ) -> AsyncGenerator[Event, None]:
        until = None if seconds_max is None else self._router.monotonic() + seconds_max

        async def attempt(target: Target, end: float | None) -> AsyncGenerator[Event, None]:
            opened = await self._opener.reopen(link, target, payer.account)
            try:
                async with aclosing(ask(opened, end)) as events:
                    async for event in events:
                        yield event
            except CredentialRefused:
                # A key that was rotated a moment ago; nobody has said anything yet.
                if opened.key is None or not await opened.key.is_replaced():
                    raise
                async with aclosing(ask(opened, end)) as events:
                    async for event in events:
                        yield event

        return self._router.route(targets, attempt, until=until)

    async def _generate(
        self, order: Order, bill: Bill, opened: Opened, until: float | None
    ) -> AsyncGenerator[Delta | Answer, None]:
        counted = await trying.count(opened, order.prompt.conversation)
        trying.check_fits(opened, order.prompt, counted)
        read = counted.amount
        if counted.counter is Counter.UPPER_BOUND:
            read //= BOUND_PER_TOKEN
        tokens = read + order.prompt.sampling.tokens_max
        answer = trying.generate(opened, order, counted, bill, self._cashier)
        async with self._turn(opened, order.payer, tokens, until) as turn, aclosing(answer):
            async for event in answer:
                if isinstance(event, Answer):
                    turn.used = event.tokens.read + event.tokens.written
                yield event

    async def _read(
        self,
        order: EmbedOrder | RerankOrder,
        ask: Callable[[Opened], Awaitable[Made]],
        seconds_max: float | None,
    ) -> Made:
        link = await self.find(order.link)

        async def attempt(opened: Opened, until: float | None) -> AsyncGenerator[Made, None]:
            tokens = texts_at_most(order.texts) // BOUND_PER_TOKEN
            async with self._turn(opened, order.payer, tokens, until):
                yield await ask(opened)

        first = link.config.targets[:1]
        made = self._route(link, first, order.payer, attempt, seconds_max)
        async with aclosing(made):
            return await anext(made)

    def _turn(
        self, opened: Opened, payer: Payer, tokens: int, until: float | None
    ) -> AbstractAsyncContextManager[Turn]:
        target = opened.target
        return self._turns.turn(
            target.model, target.credential, payer.account, tokens=tokens, until=until
        )
