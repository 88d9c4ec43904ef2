"""Who is asked about Farcaster, and as whom: what all actions have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from chassis.errors import PeerUnavailable

from ...egress import Refused
from .. import Descriptor, Order, Result
from ..keyed import told
from .casts import CastId, Said

PEER = "farcaster"

FID: dict[str, JsonValue] = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
HASH: JsonValue = {"type": "string", "pattern": "^0x[0-9a-f]{40}$"}
_PROPERTIES: dict[str, JsonValue] = {
    "via": {"enum": ["hub", "neynar"], "description": "Who is asked: a hub, or Neynar."},
    "fid": {**FID, "description": "The id of the agent's own user."},
    "url": {
        "type": "string",
        "pattern": "^https?://[^/?#@\\s]+$",
        "maxLength": 300,
        "description": "Where the hub is, such as http://localhost:3381; or Neynar.",
    },
    "network": {
        "enum": ["mainnet", "testnet", "devnet"],
        "description": "Of the hub; mainnet if nothing is said.",
    },
    "signer_uuid": {
        "type": "string",
        "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        "description": "The signer that Neynar keeps for the user; writes need it.",
    },
}


def settings_schema(*, neynar_needs: tuple[str, ...] = ()) -> dict[str, JsonValue]:
    """Return the schema of what the author decides; a hub has to be somewhere."""
    return {
        "type": "object",
        "properties": _PROPERTIES,
        "required": ["via", "fid"],
        "additionalProperties": False,
        "allOf": [_needs("hub", "url"), _needs("neynar", *neynar_needs)],
    }


def _needs(via: str, *names: str) -> JsonValue:
    required: list[JsonValue] = [*names]
    told: dict[str, JsonValue] = {name: _PROPERTIES[name] for name in names}
    return {
        "if": {"properties": {"via": {"const": via}}},
        "then": {"required": required, "properties": told},
    }


@dataclass(frozen=True)
class User:
    """What is known of a user; texts are their own."""

    fid: int
    name: str
    display_name: str
    bio: str


@dataclass(frozen=True)
class Found:
    """A cast that was found; `time` is in UTC as RFC 3339 has it, empty if nobody says it."""

    id: CastId
    text: str
    time: str
    # The hash of the cast that it answers; empty if it answers none.
    parent: str


class Way(Protocol):
    """A way to Farcaster.

    What is refused is raised as `Refused`; `Unsent` and `PeerUnavailable` are those of connectors.
    """

    async def publish(self, order: Order, said: Said) -> bytes:
        """Publish something, and return the hash of the cast, if it is one.

        Again with the same order, it is the same, and is there once.
        """

    async def user(self, order: Order, *, fid: int = 0, name: str = "") -> User:
        """Return a user by one of both."""

    async def casts(self, order: Order, fid: int, count: int) -> list[Found]:
        """Return the last casts of a user, newest first."""

    async def replies(self, order: Order, cast: CastId, count: int) -> list[Found]:
        """Return what answers a cast, newest first."""

    async def mentions(self, order: Order, count: int) -> list[Found]:
        """Return what mentions the agent's own user, newest first."""


class Api:
    """Farcaster, in the way that the settings say."""

    def __init__(self, ways: Mapping[str, Way]) -> None:
        self._ways = ways

    def way(self, order: Order) -> Way:
        """Return the way of an order."""
        return self._ways[str(order.settings["via"])]


@dataclass(frozen=True)
class FarcasterAction:
    """One action on Farcaster; what may have happened is sent again, not looked for."""

    descriptor: Descriptor
    api: Api
    act: Callable[[Way, Order], Awaitable[Result]]

    async def perform(self, order: Order) -> Result:
        """Perform it."""
        try:
            return await self.act(self.api.way(order), order)
        except Refused as error:
            return told(error.reason, error.message)

    async def find(self, order: Order) -> Result | None:
        """Never happens: sending again is as good as looking, and needs no index."""
        raise AssertionError(order.key)


def own_fid(order: Order) -> int:
    """Return the agent's own user."""
    fid = order.settings["fid"]
    assert isinstance(fid, int | float), "settings are valid under the schema"
    return int(fid)


def setting(order: Order, name: str) -> str:
    """Return a setting that the schema wants for this way."""
    return str(order.settings[name])


# --- What is read of answers: whatever does not make sense says nothing. --------------------------


def object_in(value: Mapping[str, JsonValue], name: str) -> Mapping[str, JsonValue]:
    """Return an object of an answer."""
    found = value.get(name)
    if not isinstance(found, dict):
        raise PeerUnavailable(PEER)
    return found


def objects_in(value: Mapping[str, JsonValue], name: str) -> list[Mapping[str, JsonValue]]:
    """Return a list of objects of an answer."""
    found = value.get(name)
    if not isinstance(found, list):
        raise PeerUnavailable(PEER)
    objects = [one for one in found if isinstance(one, dict)]
    if len(objects) != len(found):
        raise PeerUnavailable(PEER)
    return [*objects]


def fid_in(value: Mapping[str, JsonValue], name: str = "fid") -> int:
    """Return the id of a user."""
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 2**53:
        raise PeerUnavailable(PEER)
    return found


def hash_in(value: Mapping[str, JsonValue], name: str = "hash") -> bytes:
    """Return the hash of a cast."""
    found = value.get(name)
    try:
        content = bytes.fromhex(str(found).removeprefix("0x"))
    except ValueError as error:
        raise PeerUnavailable(PEER) from error
    if len(content) != 20:  # noqa: PLR2004  # the first 20 bytes of BLAKE3
        raise PeerUnavailable(PEER)
    return content


def text_in(value: Mapping[str, JsonValue], name: str) -> str:
    """Return a text, empty if there is none."""
    found = value.get(name)
    return found if isinstance(found, str) else ""
