"""The action `slack.post`: a message in one channel, in the name of an app.

Source: Slack's Web API, `chat.postMessage`, and its page about rate limits.
"""

from __future__ import annotations

import re

from pydantic import JsonValue

from ...egress import Lost, Refused
from ...egress.client import Egress
from ...ports import Signer, WebRequest
from .. import Descriptor, Order, Quota, Result, Unsent, closed_object
from ..keyed import Keyed, base_of, told
from .posting import Posting, body_of, refused, settings_schema

URL_DEFAULT = "https://slack.com"
# What Slack advises; it cuts texts of more than 40,000.
TEXT_CHARACTERS_MAX = 4_000

_TIME = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}")
_CODE = re.compile(r"[a-z0-9_]{1,64}")
# Slack says of the first that a part may have been done nevertheless.
_UNCERTAIN = {"fatal_error", "internal_error", "request_timeout", "service_unavailable"}
_TOO_OFTEN = {"rate_limited", "ratelimited"}
_REASONS = {401: "NOT_AUTHORIZED", 403: "NOT_AUTHORIZED", 404: "CHANNEL_NOT_FOUND"}
_THREAD: JsonValue = {
    "type": "string",
    "pattern": "^[0-9]{1,12}\\.[0-9]{1,9}$",
    "description": "The id of the message that this one answers.",
}
_CHANNEL: JsonValue = {
    "type": "string",
    "pattern": "^[CDG][A-Z0-9]{1,20}$",
    "description": "The id of the channel, such as C0123456789.",
}

_DESCRIPTOR = Descriptor(
    name="slack.post",
    description="Posts a text in a channel of Slack. It mentions nobody.",
    parameters_schema={
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX},
            "reply_to": _THREAD,
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=True,
    settings_schema=settings_schema(URL_DEFAULT, channel=_CHANNEL),
    # Of one channel; we know no better than that all of a credential are one.
    quotas=(Quota("slack.messages", 1, 1.0),),
    output_schema=closed_object(posted={"type": "boolean"}, id={"type": "string"}),
)


class SlackPost:
    """Posts at most once: Slack documents no key that it would know a message again by."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._posting = Posting("slack", Keyed("slack", egress, signer))

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""
        return _DESCRIPTOR

    async def perform(self, order: Order) -> Result:
        """Post."""
        body: dict[str, JsonValue] = {
            "channel": order.settings["channel"],
            "text": _escaped(str(order.arguments["text"])),
        }
        if "reply_to" in order.arguments:
            body["thread_ts"] = order.arguments["reply_to"]
        url = f"{base_of(order, URL_DEFAULT)}/api/chat.postMessage"
        wanted = WebRequest("bearer", "POST", url, body_of(body))
        try:
            has_done, value, status = await self._posting.post(order, wanted)
        except Refused as error:
            return told(error.reason, error.message)
        code = value.get("error")
        if not has_done:
            return refused(code, status, _REASONS)
        if value.get("ok") is False and isinstance(code, str):
            return _refusal(code)
        found = value.get("ts")
        if value.get("ok") is not True or not isinstance(found, str) or not _TIME.fullmatch(found):
            raise Lost("slack")
        return Result({"posted": True, "id": found})

    async def find(self, order: Order) -> Result | None:
        """Never happens: a text in a channel is not certain to be of this call."""
        raise AssertionError(order.key)


def _refusal(code: str) -> Result:
    """Return what Slack refuses in an answer of status 200."""
    if code in _TOO_OFTEN:
        raise Unsent("slack")
    if code in _UNCERTAIN or not _CODE.fullmatch(code):
        raise Lost("slack")
    return told(code.upper(), f"Slack says {code}")


def _escaped(text: str) -> str:
    # In angle brackets, Slack reads whom to call.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
