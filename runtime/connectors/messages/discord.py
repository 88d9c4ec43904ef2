"""The action `discord.post`: a message in one channel, in the name of a bot.

Source: Discord's developer documentation, `Create Message` and `Rate Limits`, API v10.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import JsonValue

from chassis.canonical import sha256_hex
from chassis.errors import PeerUnavailable

from ...egress import Lost, Refused
from ...egress.client import Egress
from ...ports import Signer, WebRequest
from .. import Descriptor, Order, Quota, Result, closed_object
from ..keyed import Keyed, base_of, told
from .posting import Posting, body_of, refused, settings_schema

URL_DEFAULT = "https://discord.com"
TEXT_CHARACTERS_MAX = 2_000
# What Discord takes; it knows one again for a few minutes.
NONCE_CHARACTERS = 25

# What stands before the token of a bot.
_BOT = "Bot"
_ID = re.compile(r"[0-9]{1,20}")
_REASONS = {
    400: "INVALID_REQUEST",
    401: "NOT_AUTHORIZED",
    403: "NOT_AUTHORIZED",
    404: "CHANNEL_NOT_FOUND",
}


def _id(description: str) -> JsonValue:
    return {"type": "string", "pattern": "^[0-9]{1,20}$", "description": description}


_DESCRIPTOR = Descriptor(
    name="discord.post",
    description="Posts a text in a channel of Discord. It mentions nobody.",
    parameters_schema={
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX},
            "reply_to": _id("The id of the message that this one answers."),
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=True,
    settings_schema=settings_schema(URL_DEFAULT, channel=_id("The id of the channel.")),
    # Of one bot, whatever it asks for; what a channel takes beyond that, a 429 says.
    quotas=(Quota("discord.requests", 50, 1.0),),
    output_schema=closed_object(posted={"type": "boolean"}, id={"type": "string"}),
)


class DiscordPost:
    """Posts once: what is repeated at once has the same nonce, and later nobody can tell."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._posting = Posting("discord", Keyed("discord", egress, signer))

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""
        return _DESCRIPTOR

    async def perform(self, order: Order) -> Result:
        """Post; after a lost answer once more, while Discord knows the nonce."""
        try:
            return await self._post(order)
        except Lost:
            try:
                result = await self._post(order)
            except PeerUnavailable as error:
                # Of the first one, nobody knows.
                raise Lost("discord") from error
            if result.reason:
                raise Lost("discord") from None
            return result

    async def find(self, order: Order) -> Result | None:
        """Never happens: a message that is read has no nonce."""
        raise AssertionError(order.key)

    async def _post(self, order: Order) -> Result:
        channel = order.settings["channel"]
        url = f"{base_of(order, URL_DEFAULT)}/api/v10/channels/{channel}/messages"
        wanted = WebRequest("bearer", "POST", url, body_of(_message(order)), token_type=_BOT)
        try:
            has_done, value, status = await self._posting.post(order, wanted)
        except Refused as error:
            return told(error.reason, error.message)
        if not has_done:
            return refused(value.get("message"), status, _REASONS)
        found = value.get("id")
        if not isinstance(found, str) or not _ID.fullmatch(found):
            raise Lost("discord")
        return Result({"posted": True, "id": found})


def _message(order: Order) -> Mapping[str, JsonValue]:
    message: dict[str, JsonValue] = {
        "content": order.arguments["text"],
        "nonce": sha256_hex(order.key.encode())[:NONCE_CHARACTERS],
        "enforce_nonce": True,
        # A model that was talked into it calls nobody.
        "allowed_mentions": {"parse": []},
    }
    if "reply_to" in order.arguments:
        message["message_reference"] = {"message_id": order.arguments["reply_to"]}
    return message
