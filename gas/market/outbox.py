"""Delivers events to webhooks: at least once, in order for each account, and never lost.

What is to be delivered is on disk before it is sent, and stays there until its end is: a process
that is killed in between sends the same event again, with the same id.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import TypeVar

from chassis.clock import Clock
from chassis.courier import RETRY_MAX, Courier
from chassis.log import log
from chassis.seal import Seal

from ..errors import LedgerFenced, WebhookNotFound
from ..writer import Writer
from .events import Fact, happening_of
from .operations import AddWebhook, DropWebhook, Enqueue, Record, Replay
from .store import MarketStore
from .webhooks import WEBHOOKS_MAX, Delivery, Webhook, after_attempt

Result = TypeVar("Result")

# What one receiver gets at once.
IN_FLIGHT_MAX = 8
# How long what is under way may take when we stop; what takes longer is sent again.
STOP_SECONDS = 3.0
# After something failed that has nothing to do with the receiver.
PAUSE_SECONDS = 1.0


class Outbox:
    """One route for each webhook. `envelope` gives the bytes of an event."""

    def __init__(
        self,
        writer: Writer,
        store: MarketStore,
        *,
        courier: Courier,
        seal: Seal,
        envelope: Callable[[Fact], bytes],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        dice: random.Random,
    ) -> None:
        self.writer = writer
        self.store = store
        self.seal = seal
        self.clock = clock
        self.sleep = sleep
        self.dice = dice
        self._courier = courier
        self._envelope = envelope
        self._routes: dict[str, Route] = {}
        # What changes webhooks takes turns.
        self._turn = asyncio.Lock()
        self._working: set[asyncio.Task[object]] = set()

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Deliver while the block runs; what is under way at its end gets a moment."""
        for progress in await asyncio.to_thread(self.store.webhooks, after="", limit=WEBHOOKS_MAX):
            self._start(progress.webhook.name)
        try:
            yield
        finally:
            await asyncio.gather(*(route.stop() for route in self._routes.values()))
            self._routes.clear()

    async def add(self, asked: AddWebhook) -> Webhook:
        """Make a webhook, and deliver to it."""
        return await self._to_its_end(self._add(asked))

    async def drop(self, webhook: str) -> None:
        """Delete a webhook; once this returns nothing is sent to it."""
        await self._to_its_end(self._drop(webhook))

    async def replay(self, webhook: str, after_offset: int) -> Webhook:
        """Send events again from an offset on."""
        return await self._to_its_end(self._replay(webhook, after_offset))

    async def _to_its_end(self, work: Coroutine[None, None, Result]) -> Result:
        """Do all of it, also if who asked for it goes away: routes must be as webhooks are."""
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    async def _add(self, asked: AddWebhook) -> Webhook:
        async with self._turn:
            webhook = await self.writer.apply(asked)
            if not webhook.deleted:
                self._start(webhook.name)
            return webhook

    async def _drop(self, webhook: str) -> None:
        async with self._turn:
            await self.writer.apply(DropWebhook(webhook))
            route = self._routes.pop(webhook, None)
            if route is not None:
                await route.stop()

    async def _replay(self, webhook: str, after_offset: int) -> Webhook:
        async with self._turn:
            route = self._routes.pop(webhook, None)
            if route is not None:
                # What it still records must not be taken for an attempt of the replay.
                await route.stop()
            try:
                return await self.writer.apply(Replay(webhook, after_offset))
            finally:
                if route is not None:
                    self._start(webhook)

    async def send(self, webhook: Webhook, delivery: Delivery) -> None:
        """Try a delivery once, and keep what became of it."""
        fact = await asyncio.to_thread(self.store.fact, delivery.offset)
        body = self._envelope(fact)
        headers = self.seal.headers(
            webhook.name, event_id=fact.id, time=self.clock.now(), body=body
        )
        headers["content-type"] = "application/cloudevents+json; charset=utf-8"
        answer = await self._courier.post(webhook.url, headers, body)
        after = after_attempt(delivery, answer, self.clock.now(), self.dice)
        await self.writer.apply(Record(after))
        log.info(
            "webhook.attempted",
            webhook=webhook.name,
            offset=delivery.offset,
            attempt=after.attempt_count,
            state=after.state.value,
            error=after.last_error,
        )

    def _start(self, webhook: str) -> None:
        if webhook not in self._routes:
            self._routes[webhook] = Route(self, webhook)


class Route:
    """The way to one receiver: a lane for each account that has something to deliver."""

    def __init__(self, outbox: Outbox, name: str) -> None:
        self._outbox = outbox
        self._name = name
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        # Accounts that have a lane, and whether something came since it looked last.
        self._lanes: dict[str, bool] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Begin nothing more, and wait a moment for what is under way."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._finish()

    async def _serve(self) -> None:
        while True:
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001  # one receiver must not stop the others
                if _is_final(error):
                    log.warning("webhook.stopped", webhook=self._name, reason=str(error))
                    return
                log.error("webhook.failed", webhook=self._name, exc_info=error)
            # Or it would be sent again beside itself.
            await self._finish()
            await self._outbox.sleep(PAUSE_SECONDS)

    async def _finish(self) -> None:
        """Wait a moment for what is under way, and give the rest up."""
        if self._sending:
            sending = set(self._sending)
            _, late = await asyncio.wait(sending, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    async def _run(self) -> None:
        """Queue what happens, and wake the lanes for which something happened."""
        store, writer = self._outbox.store, self._outbox.writer
        webhook = await asyncio.to_thread(store.webhook, self._name)
        self._lanes.clear()
        async with asyncio.TaskGroup() as group:
            for account in await asyncio.to_thread(store.waiting_accounts, self._name):
                self._wake(group, webhook, account)
            async with aclosing(writer.follow_events(webhook.queued_offset)) as pages:
                async for page in pages:
                    wanted = [one for one in map(happening_of, page) if webhook.wants(one)]
                    await writer.apply(Enqueue(self._name, wanted, page[-1].offset))
                    for happening in wanted:
                        self._wake(group, webhook, happening.account)

    def _wake(self, group: asyncio.TaskGroup, webhook: Webhook, account: str) -> None:
        if account not in self._lanes:
            group.create_task(self._deliver(webhook, account))
        self._lanes[account] = True

    async def _deliver(self, webhook: Webhook, account: str) -> None:
        """Deliver what an account has, one event after another."""
        while self._lanes[account]:
            # Before looking, so that what comes meanwhile is looked for again.
            self._lanes[account] = False
            while delivery := await asyncio.to_thread(
                self._outbox.store.next_delivery, webhook.name, account
            ):
                pause = delivery.next_attempt_time - self._outbox.clock.now()
                if pause > timedelta():
                    # No longer than any pause is, also if the clock was set back.
                    await self._outbox.sleep(min(pause, RETRY_MAX).total_seconds())
                async with self._slots:
                    await self._send(webhook, delivery)
        del self._lanes[account]

    async def _send(self, webhook: Webhook, delivery: Delivery) -> None:
        # A task of its own: stopping must not cut off what a receiver may already have.
        task = asyncio.create_task(self._outbox.send(webhook, delivery))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        await asyncio.shield(task)


def _is_final(error: Exception) -> bool:
    """Tell whether somebody else delivers now, or nobody shall."""
    if isinstance(error, ExceptionGroup):
        return error.subgroup((LedgerFenced, WebhookNotFound)) is not None
    return isinstance(error, LedgerFenced | WebhookNotFound)
