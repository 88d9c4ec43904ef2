"""Where events go, and how far the delivery of each is: decided here, sent elsewhere."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from chassis.courier import ATTEMPTS_MAX, Answer, pause_after

from .events import Happening

# Every event is offered to every webhook, so that there are not many.
WEBHOOKS_MAX = 100


@dataclass(frozen=True)
class Webhook:
    """Events of some types, of one account or of all, go to a URL.

    All events up to `queued_offset` have their delivery, or are not for it.
    """

    name: str
    url: str
    event_types: tuple[str, ...]
    account: str
    create_time: datetime
    queued_offset: int
    deleted: bool = False

    def wants(self, happening: Happening) -> bool:
        """Tell whether an event is for it."""
        is_of_type = not self.event_types or happening.type in self.event_types
        return is_of_type and self.account in {"", happening.account}


@dataclass(frozen=True)
class Progress:
    """How far a webhook is: up to `done_offset` everything is delivered, or one of the dead."""

    webhook: Webhook
    done_offset: int
    dead_count: int


class DeliveryState(Enum):
    """How far a delivery is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one webhook; `source` is what it is called in the ledger."""

    webhook: str
    offset: int
    source: str
    account: str
    next_attempt_time: datetime
    state: DeliveryState = DeliveryState.PENDING
    attempt_count: int = 0
    last_error: str = ""
    acknowledge_time: datetime | None = None


def after_attempt(
    delivery: Delivery, answer: Answer, now: datetime, dice: random.Random
) -> Delivery:
    """Return how a delivery goes on."""
    tried = replace(delivery, attempt_count=delivery.attempt_count + 1, last_error=answer.error)
    if not answer.error:
        return replace(tried, state=DeliveryState.DELIVERED, acknowledge_time=now)
    if tried.attempt_count >= ATTEMPTS_MAX:
        return replace(tried, state=DeliveryState.DEAD)
    pause = pause_after(tried.attempt_count, answer, dice)
    return replace(tried, next_attempt_time=now + pause)


def webhook_name(ledger_id: str, request_id: str) -> str:
    """Return the one name that a request makes, however often it is repeated."""
    return f"webhooks/{uuid.uuid5(uuid.UUID(ledger_id), request_id)}"
