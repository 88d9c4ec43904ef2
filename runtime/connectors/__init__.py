"""What a connector is: one action of the catalogue, performed outside or in another service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from pydantic import JsonValue

from chassis.errors import PeerUnavailable


@dataclass(frozen=True)
class Quota:
    """What a service allows: so many sends with a credential in any so many seconds, up to 31 days.

    Actions that share a quota give it the same name, such as `x.posts`.
    """

    name: str
    count: int
    seconds: float


@dataclass(frozen=True)
class Descriptor:
    """What the catalogue says about an action; schemas are JSON Schema, draft 2020-12."""

    name: str
    description: str
    parameters_schema: Mapping[str, JsonValue]
    effect: Literal["read", "write"]
    needs_credential: bool
    settings_schema: Mapping[str, JsonValue]
    # What can be done where an answer got lost. The service drops what comes again with its key:
    is_idempotent: bool = False
    # `find` says what came of a call. With neither, an effect is never sent a second time.
    is_reconcilable: bool = False
    # Only writes are counted.
    quotas: tuple[Quota, ...] = ()
    # What a call that succeeded gives, so that steps which use it can be checked; empty: anything.
    output_schema: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass
class Draft:
    """What a connector lays down about a call before it sends: it outlives a crash.

    `text` is what was last kept, the empty text before. Where two sends of a call must be the same
    and its key does not make them so, what decides about that goes here: a nonce, a signature.
    """

    text: str = ""
    write: Callable[[str], Awaitable[None]] | None = field(default=None, repr=False)

    async def keep(self, text: str) -> None:
        """Keep a text in place of the one before; once this returns, it is durable."""
        if self.write:
            await self.write(text)
        self.text = text


@dataclass(frozen=True)
class Order:
    """One call, allowed by policy, with all that a connector needs to perform it.

    `key` stays the same however often the call is repeated, and so does `time`, when what may have
    happened of a write was first sent; `draft` is what was laid down about it; `account` is the
    agent's; `collections` are those that it may read; `arguments` are valid under the action's
    schema.
    """

    key: str
    account: str
    arguments: Mapping[str, JsonValue]
    settings: Mapping[str, JsonValue]
    credential: str
    collections: tuple[str, ...]
    time: datetime
    draft: Draft = field(default_factory=Draft)


@dataclass(frozen=True)
class Result:
    """What the model is told; `reason` is a code in capitals if the call was refused."""

    value: JsonValue
    reason: str = ""


@dataclass(eq=False)
class Unsent(PeerUnavailable):
    """What was to be sent has certainly not happened: it may be sent again, after so long."""

    retry_seconds: float = 0.0


def closed_object(**properties: JsonValue) -> dict[str, JsonValue]:
    """Return the schema of an object that has all of these and nothing else."""
    names: list[JsonValue] = [*properties]
    return {
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": False,
    }


class Connector(Protocol):
    """Performs one action of the catalogue.

    `Unsent` says that the call did not happen, any other `PeerUnavailable` that nobody knows. A
    refusal is a `Result` with a reason, or `RunFails` where no other arguments would help.
    """

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""

    async def perform(self, order: Order) -> Result:
        """Perform a call; with the same `key` again only where the descriptor allows it."""

    async def find(self, order: Order, /) -> Result | None:
        """Return what came of a call, or None if it certainly never happened, nor ever will.

        Raise `PeerUnavailable` where that cannot be told yet: it is asked again later. Only who is
        reconcilable is asked.
        """
