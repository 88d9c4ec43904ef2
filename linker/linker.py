"""The linker itself: finds models, and lets them answer those who can pay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from chassis.clock import Clock
from chassis.errors import ServiceError

from . import trying
from .conversation import Conversation, Delta
from .errors import ModelUnusable, QueueFull
from .keys import Keyring
from .links import Link, ListedModel, ModelConfig, Target
from .opening import Opened, Opener
from .orders import Answer, EmbedOrder, Order, Ranking, RerankOrder, Vectors
from .paying import Cashier
from .ports import GasMeter, Provider
from .store import LinkStore

# Generations under way; no more than the engine of the local models lets wait, so that none is
# refused after gas was held for it.
GENERATIONS_MAX = 32


class Linker:
    """Connects agents to the models of several providers. No other path to a model exists."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        links: LinkStore,
        gas: GasMeter,
        clock: Clock,
        keyring: Keyring,
    ) -> None:
        self._opener = Opener(providers, keyring)
        self._links = links
        self._clock = clock
        self._keyring = keyring
        self._cashier = Cashier(gas)
        self._generation_count = 0
        self._failing: set[Target] = set()

    async def link(self, config: ModelConfig, account: str = "") -> Link:
        """Open every model of a configuration, check that it has what is asked for, and a price.

        `account` is on whose behalf keys are released.
        """
        found = []
        for target in config.targets:
            found.append(await self._opener.examine(config, target, account))
            await self._cashier.check_price(f"model {target.model}")
        self._failing.difference_update(config.targets)
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
            await self._keyring.drop(target.credential)

    def failing(self, link: Link) -> list[bool]:
        """Tell of each target whether it failed when it was last asked, by this process."""
        return [target in self._failing for target in link.config.targets]

    async def models(self) -> list[ListedModel]:
        """Return what could be linked, of all providers, by name."""
        return await self._opener.models()

    async def count_tokens(self, name: str, conversation: Conversation) -> int:
        """Return how many tokens the model of a link would read, or at most so many."""
        link = await self.find(name)
        opened = await self._reopen(link, link.config.targets[0], link.account)
        return (await trying.count(opened, conversation)).amount

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

    async def embed(self, order: EmbedOrder) -> Vectors:
        """Return embeddings of the first model of a link: those of others mean other things."""
        opened = await self._open_first(order.link, order.payer.account)
        return await trying.embed(opened, order, self._cashier.bill(order.payer))

    async def rerank(self, order: RerankOrder) -> Ranking:
        """Return how relevant documents are, as the first model of a link sees it."""
        opened = await self._open_first(order.link, order.payer.account)
        return await trying.rerank(opened, order, self._cashier.bill(order.payer))

    async def close(self) -> None:
        """Wait until everything that was used is charged, and give the keys back."""
        await self._cashier.close()
        await self._keyring.close()

    async def _generate(self, order: Order) -> AsyncGenerator[Delta | Answer, None]:
        link = await self.find(order.link)
        target = link.config.targets[0]
        opened = await self._reopen(link, target, order.payer.account)
        counted = await trying.count(opened, order.prompt.conversation)
        trying.check_fits(opened, order.prompt, counted)
        bill = self._cashier.bill(order.payer)
        answer = trying.generate(opened, order, counted, bill, self._cashier)
        try:
            async with aclosing(answer) as events:
                async for event in events:
                    yield event
        except Exception as error:
            if not isinstance(error, ServiceError):
                self._failing.add(target)
            raise
        self._failing.discard(target)

    async def _open_first(self, name: str, account: str) -> Opened:
        link = await self.find(name)
        return await self._reopen(link, link.config.targets[0], account)

    async def _reopen(self, link: Link, target: Target, account: str) -> Opened:
        try:
            return await self._opener.reopen(link, target, account)
        except ModelUnusable:
            self._failing.add(target)
            raise
