"""What a connector is: one action of the catalogue, performed outside or in another service."""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(frozen=True)
class Order:
    """One call, allowed by policy, with all that a connector needs to perform it.

    `key` stays the same however often the call is repeated, and so does `time`, when a write was
    first sent; `account` is the agent's; `collections` are those that it may read; `arguments` are
    valid under the action's schema.
    """

    key: str
    account: str
    arguments: Mapping[str, JsonValue]
    settings: Mapping[str, JsonValue]
    credential: str
    collections: tuple[str, ...]
    time: datetime


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
