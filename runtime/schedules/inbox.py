"""Takes events for schedules, from outside and from agents: what it returned for is durable."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import JsonValue

from chassis.clock import Clock

from ..errors import ScheduleNotFound
from ..jsontext import write_json
from .schedule import Firing, Message, NewDocument, Timed, Webhook
from .store import ScheduleStore
from .template import read_event

Kind = TypeVar("Kind", Webhook, Message)


class EventRefused(Exception):
    """An event is not for this schedule, or not one that it can take."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = message


class Inbox:
    """Lets events fire, each once."""

    def __init__(self, store: ScheduleStore, clock: Clock, bell: asyncio.Event) -> None:
        self._store = store
        self._clock = clock
        self._bell = bell

    async def post(self, schedule: str, delivery: str, body: bytes) -> Firing:
        """Take the body of a webhook.

        Raise `EventRefused`, `ScheduleNotFound`, `SchedulePaused` and `QueueFull`.
        """
        await self._trigger(schedule, Webhook)
        try:
            event = await asyncio.to_thread(read_event, body.decode())
        except ValueError as error:
            raise EventRefused("EVENT_INVALID", f"the body must be JSON: {error}") from error
        return await self._offer(schedule, delivery, event)

    async def send(self, schedule: str, key: str, *, sender: str, payload: JsonValue) -> Firing:
        """Take a message of an agent; raise what `post` raises."""
        trigger = await self._trigger(schedule, Message)
        if trigger.senders and sender not in trigger.senders:
            raise EventRefused("SENDER_REFUSED", f"{schedule} takes no messages of {sender}")
        try:
            event = read_event(write_json({"sender": sender, "payload": payload}))
        except ValueError as error:
            raise EventRefused("MESSAGE_INVALID", f"the message {error}") from error
        return await self._offer(schedule, key, event)

    async def find(self, schedule: str, key: str) -> Firing | None:
        """Return what came of an event, if it was taken."""
        return await asyncio.to_thread(self._store.find, schedule, key)

    async def _trigger(self, name: str, kind: type[Kind]) -> Kind:
        schedule = await asyncio.to_thread(self._store.get, name)
        trigger: Timed | Webhook | NewDocument | Message = schedule.trigger
        if not isinstance(trigger, kind):
            # Whoever has its name need not know what else it waits for.
            raise ScheduleNotFound(name)
        return trigger

    async def _offer(self, schedule: str, key: str, event: str) -> Firing:
        firing = await asyncio.to_thread(self._store.offer, schedule, key, event, self._clock.now())
        self._bell.set()
        return firing
