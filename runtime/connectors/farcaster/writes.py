"""The actions that change something on Farcaster: cast, delete, like and recast."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from pydantic import JsonValue

from .. import Connector, Descriptor, Order, Result, closed_object
from .api import FID, HASH, Api, FarcasterAction, Way, own_fid, settings_schema
from .casts import (
    EMBEDS_MAX,
    LONG_CAST_BYTES_MAX,
    MENTIONS_MAX,
    NAME,
    URL_BYTES_MAX,
    CastId,
    Reaction,
    Removal,
    cast_id_of,
    hash_of,
    read_cast,
)

CAST_ID = closed_object(fid=FID, hash=HASH)
_MENTION = closed_object(name={"type": "string", "pattern": f"^{NAME}$", "maxLength": 40}, fid=FID)


def _write(
    name: str, description: str, parameters: dict[str, JsonValue], output: dict[str, JsonValue]
) -> Descriptor:
    """Return what is said of an action that may be sent again.

    A hub knows a message by its hash, which its content and its time make; Neynar knows a request
    by its `idem`. What is deleted, liked or recast stays so.
    """
    return Descriptor(
        name=name,
        description=description,
        parameters_schema=parameters,
        effect="write",
        needs_credential=True,
        settings_schema=settings_schema(neynar_needs=("signer_uuid",)),
        is_idempotent=True,
        output_schema=output,
    )


_CAST = _write(
    "farcaster.cast",
    (
        "Posts a text on Farcaster, where everybody can read it: 320 bytes, 1,024 if it must be"
        " long. Who is mentioned stands in the text as @name, and in mentions with the id."
    ),
    {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": LONG_CAST_BYTES_MAX},
            "reply_to": {**CAST_ID, "description": "The cast that this one answers."},
            "quote": {**CAST_ID, "description": "A cast that this one shows."},
            "embeds": {
                "type": "array",
                "items": {
                    "type": "string",
                    "pattern": "^https?://\\S+$",
                    "maxLength": URL_BYTES_MAX,
                },
                "maxItems": EMBEDS_MAX,
                "description": "Addresses that it shows; a quote counts as one.",
            },
            "mentions": {"type": "array", "items": _MENTION, "maxItems": MENTIONS_MAX},
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    closed_object(posted={"type": "boolean"}, fid=FID, hash=HASH),
)
_DELETE = _write(
    "farcaster.delete",
    "Deletes a cast of one's own on Farcaster, for good.",
    closed_object(hash=HASH),
    closed_object(deleted={"type": "boolean"}),
)
_LIKE = _write(
    "farcaster.like",
    "Likes a cast on Farcaster.",
    CAST_ID,
    closed_object(liked={"type": "boolean"}),
)
_RECAST = _write(
    "farcaster.recast",
    "Shows a cast of somebody on Farcaster to one's own followers.",
    CAST_ID,
    closed_object(recast={"type": "boolean"}),
)


def writes(api: Api) -> tuple[Connector, ...]:
    """Return the actions."""
    return (
        FarcasterAction(_CAST, api, _cast),
        FarcasterAction(_DELETE, api, _delete),
        FarcasterAction(_LIKE, api, _reacting("like", "liked")),
        FarcasterAction(_RECAST, api, _reacting("recast", "recast")),
    )


async def _cast(way: Way, order: Order) -> Result:
    cast = read_cast(order.arguments)
    made = CastId(own_fid(order), await way.publish(order, cast))
    return Result({"posted": True, "fid": made.fid, "hash": made.hex})


async def _delete(way: Way, order: Order) -> Result:
    await way.publish(order, Removal(hash_of(order.arguments)))
    return Result({"deleted": True})


def _reacting(
    kind: Literal["like", "recast"], done: str
) -> Callable[[Way, Order], Awaitable[Result]]:
    async def react(way: Way, order: Order) -> Result:
        await way.publish(order, Reaction(kind, cast_id_of(order.arguments)))
        return Result({done: True})

    return react
