"""Opens all that schedules consist of: what the runtime needs of this folder."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chassis.clock import Clock
from chassis.seal import Seal

from .clerk import Clerk
from .hooks import Hooks
from .inbox import Inbox
from .ports import Collections, Starter
from .service import Door, ScheduleService
from .signature import read_key
from .store import ScheduleStore
from .watching import Watcher


@dataclass(frozen=True)
class Desk:
    """What is there before there is anything to start runs with: events can be taken."""

    store: ScheduleStore
    clock: Clock
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def inbox(self) -> Inbox:
        """Return where events are taken."""
        return Inbox(self.store, self.clock, self.bell)


@dataclass(frozen=True)
class WebhookSettings:
    """Where webhooks are taken; off without an address. `url` is what callers see of it."""

    address: str
    url: str
    key_file: Path


@asynccontextmanager
async def working(
    desk: Desk,
    starter: Starter,
    collections: Collections,
    *,
    webhooks: WebhookSettings,
    dice: random.Random,
) -> AsyncIterator[ScheduleService]:
    """Look after schedules while the block runs; give the service that people speak to."""
    async with AsyncExitStack() as stack:
        door = None
        if webhooks.address:
            seal = Seal(await asyncio.to_thread(read_key, webhooks.key_file))
            hooks = Hooks(desk.inbox, seal, desk.clock)
            port = await stack.enter_async_context(hooks.listening(webhooks.address))
            host = webhooks.address.rpartition(":")[0]
            door = Door(seal, webhooks.url or f"http://{host}:{port}")
        clerk = Clerk(desk.store, starter, desk.clock, desk.bell)
        watcher = Watcher(desk.store, collections, desk.clock, desk.bell)
        for work in (clerk.work(), watcher.work()):
            task = asyncio.create_task(work)
            stack.push_async_callback(_end, task)
        yield ScheduleService(
            store=desk.store,
            starter=starter,
            clock=desk.clock,
            dice=dice,
            bell=desk.bell,
            door=door,
        )


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
