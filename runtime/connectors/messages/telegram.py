"""The action `telegram.send`: a message to one chat, in the name of a bot.

Source: Telegram's Bot API, `sendMessage` and `ResponseParameters`, and its FAQ about limits.
"""

from __future__ import annotations

from pydantic import JsonValue

from ...egress import Lost, Refused
from ...egress.client import Egress
from ...ports import Signer, WebRequest
from .. import Descriptor, Order, Quota, Result, closed_object
from ..keyed import PLACE, Keyed, base_of, told
from .posting import Posting, body_of, refused, settings_schema

URL_DEFAULT = "https://api.telegram.org"
TEXT_CHARACTERS_MAX = 4_096

_REASONS = {
    400: "INVALID_REQUEST",
    401: "NOT_AUTHORIZED",
    403: "NOT_AUTHORIZED",
    # Of a token that is none, too.
    404: "NOT_AUTHORIZED",
}
_CHAT: JsonValue = {
    "type": "string",
    "pattern": "^(-?[0-9]{1,19}|@[A-Za-z0-9_]{4,32})$",
    "description": "The id of the chat, or the @name of a channel.",
}
_MESSAGE: JsonValue = {
    "type": "integer",
    "minimum": 1,
    "maximum": 2**53 - 1,
    "description": "The id of the message that this one answers.",
}

_DESCRIPTOR = Descriptor(
    name="telegram.send",
    description="Sends a text to a chat of Telegram.",
    parameters_schema={
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX},
            "reply_to": _MESSAGE,
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=True,
    settings_schema=settings_schema(URL_DEFAULT, chat=_CHAT),
    # Of one bot; one chat takes about one a second, one group 20 a minute, which a 429 says.
    quotas=(Quota("telegram.messages", 30, 1.0),),
    output_schema=closed_object(sent={"type": "boolean"}, id={"type": "integer"}),
)


class TelegramSend:
    """Sends at most once: Telegram knows no key, and a bot cannot read what it has sent."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._posting = Posting("telegram", Keyed("telegram", egress, signer))

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""
        return _DESCRIPTOR

    async def perform(self, order: Order) -> Result:
        """Send."""
        body: dict[str, JsonValue] = {
            "chat_id": order.settings["chat"],
            "text": order.arguments["text"],
        }
        if "reply_to" in order.arguments:
            body["reply_parameters"] = {"message_id": order.arguments["reply_to"]}
        # The token of a bot is a part of the path.
        url = f"{base_of(order, URL_DEFAULT)}/bot{PLACE}/sendMessage"
        wanted = WebRequest("key_url", "POST", url, body_of(body))
        try:
            has_done, value, status = await self._posting.post(order, wanted)
        except Refused as error:
            return told(error.reason, error.message)
        if not has_done:
            return refused(value.get("description"), status, _REASONS)
        message = value.get("result")
        found = message.get("message_id") if isinstance(message, dict) else None
        if value.get("ok") is not True or isinstance(found, bool) or not isinstance(found, int):
            raise Lost("telegram")
        return Result({"sent": True, "id": found})

    async def find(self, order: Order) -> Result | None:
        """Never happens: a bot is not told of its own messages."""
        raise AssertionError(order.key)
