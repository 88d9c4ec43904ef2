"""What services of messages have in common: JSON both ways, and few words of it are told."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from chassis.canonical import canonical_json

from ...egress import Lost
from ...ports import WebRequest
from .. import Order, Result
from ..http import REFUSAL_CHARACTERS_MAX, RETRY_SECONDS_MAX, is_done
from ..keyed import Keyed, object_of, told

ANSWER_BYTES_MAX = 64 * 1024
_JSON = {"content-type": "application/json; charset=utf-8"}


def settings_schema(url: str, **properties: JsonValue) -> dict[str, JsonValue]:
    """Return the schema of settings: these, and where the service is if not at `url`."""
    names: list[JsonValue] = [*properties]
    place: JsonValue = {
        "type": "string",
        "pattern": "^https?://[^/?#@\\s]+$",
        "maxLength": 300,
        "description": f"Where the service is; {url} if nothing is said.",
    }
    return {
        "type": "object",
        "properties": {**properties, "url": place},
        "required": names,
        "additionalProperties": False,
    }


class Posting:
    """A service, asked to post one message."""

    def __init__(self, peer: str, keyed: Keyed) -> None:
        self._peer = peer
        self._keyed = keyed

    async def post(
        self, order: Order, wanted: WebRequest
    ) -> tuple[bool, Mapping[str, JsonValue], int]:
        """Return whether it was done, the object of the answer, and its status.

        Raise `Unsent` and `Lost`, the latter also for an answer that says nothing, and `Refused`.
        """
        answer = await self._keyed.ask(order, wanted, headers=_JSON, bytes_max=ANSWER_BYTES_MAX)
        value = object_of(answer)
        has_done = is_done(self._peer, answer, seconds=_seconds(value or {}))
        if has_done and value is None:
            raise Lost(self._peer)
        return has_done, value or {}, answer.status


def body_of(value: Mapping[str, JsonValue]) -> bytes:
    """Return what is sent; the same for the same value."""
    return canonical_json(value)


def _seconds(value: Mapping[str, JsonValue]) -> float | None:
    """Return how long to wait, at most an hour, as Discord and Telegram say it; None if not."""
    parameters = value.get("parameters")
    inner = parameters if isinstance(parameters, dict) else value
    seconds = inner.get("retry_after")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        return None
    return min(float(seconds), RETRY_SECONDS_MAX)


def refused(words: JsonValue, status: int, reasons: Mapping[int, str]) -> Result:
    """Return a refusal in the words of the service, if it has some."""
    message = words if isinstance(words, str) and words else f"HTTP status {status}"
    return told(reasons.get(status, "REFUSED"), message[:REFUSAL_CHARACTERS_MAX])
