"""Where events go, and how far the delivery of each is: decided here, sent elsewhere."""

from __future__ import annotations

import ipaddress
import random
import re
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

import httpx

from chassis.errors import InvalidField

from .events import Happening

# Every event is offered to every webhook, so that there are not many.
WEBHOOKS_MAX = 100
ATTEMPTS_MAX = 12
RETRY_FIRST = timedelta(seconds=1)
RETRY_MAX = timedelta(hours=1)
# Receivers that failed together are not called again together: up to a tenth is added.
JITTER = 0.1
URL_CHARACTERS_MAX = 2_048
# Visible ASCII without # and \, of which libraries disagree where the host ends.
_URL = re.compile(r"https?://[!\"$-\[\]-~]+")
_PORT_MAX = 65_535


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


@dataclass(frozen=True)
class Answer:
    """What became of an attempt; an empty error means that the receiver has it.

    `retry_after` is what the receiver asked for.
    """

    error: str = ""
    retry_after: timedelta = timedelta()


def after_attempt(
    delivery: Delivery, answer: Answer, now: datetime, dice: random.Random
) -> Delivery:
    """Return how a delivery goes on."""
    tried = replace(delivery, attempt_count=delivery.attempt_count + 1, last_error=answer.error)
    if not answer.error:
        return replace(tried, state=DeliveryState.DELIVERED, acknowledge_time=now)
    if tried.attempt_count >= ATTEMPTS_MAX:
        return replace(tried, state=DeliveryState.DEAD)
    pause = RETRY_FIRST * 2 ** (tried.attempt_count - 1)
    pause = max(pause * (1 + JITTER * dice.random()), answer.retry_after)
    return replace(tried, next_attempt_time=now + min(pause, RETRY_MAX))


def webhook_name(ledger_id: str, request_id: str) -> str:
    """Return the one name that a request makes, however often it is repeated."""
    return f"webhooks/{uuid.uuid5(uuid.UUID(ledger_id), request_id)}"


def require_url(field: str, text: str) -> str:
    """Return a URL to which events may go: over TLS, or to this machine.

    What cannot be read in one way only is refused, and so are the addresses under which a cloud
    tells secrets to whoever asks from inside.
    """
    if len(text) > URL_CHARACTERS_MAX:
        raise InvalidField(field, f"has {len(text)} characters; at most {URL_CHARACTERS_MAX}")
    if not _URL.fullmatch(text):
        raise InvalidField(field, "must be https://host/path, without user, password and fragment")
    try:
        url = httpx.URL(text)
        host = url.host
        port = 443 if url.port is None else url.port
    # A host may have letters that no name has: `idna` raises a `UnicodeError` of its own.
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidField(field, "is no URL") from error
    if url.userinfo:
        raise InvalidField(field, "must not have a user or a password")
    if not host or not 0 < port <= _PORT_MAX:
        raise InvalidField(field, "names nobody to call")
    address = _address(host)
    if url.scheme == "http" and not _is_this_machine(host, address):
        problem = "must be https, unless it goes to localhost, 127.0.0.1 or [::1]"
        raise InvalidField(field, problem)
    if address is not None and (
        address.is_link_local or address.is_unspecified or address.is_multicast
    ):
        raise InvalidField(field, f"{address} is no address of a receiver")
    return text


def _is_this_machine(
    host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    # The same machine, in other clothes.
    return getattr(address, "ipv4_mapped", None) or address
