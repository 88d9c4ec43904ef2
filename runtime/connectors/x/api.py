"""Asking X: a request is authenticated by the key manager, and its answer says what happened."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeAlias
from urllib.parse import quote, urlencode

from pydantic import JsonValue

from chassis.canonical import canonical_json
from chassis.errors import PeerUnavailable

from ...egress import Answer, Lost, Refused
from ...egress.client import Egress
from ...ports import Signer, WebRequest
from .. import Descriptor, Order, Result
from ..http import REFUSAL_CHARACTERS_MAX, RETRY_SECONDS_MAX, is_done
from ..keyed import Keyed, base_of, object_of, told

URL_DEFAULT = "https://api.x.com"
# A hundred posts of 280 characters, escaped, with their authors.
ANSWER_BYTES_MAX = 512 * 1024

SETTINGS_SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {
        "url": {
            "type": "string",
            "pattern": "^https?://[^/?#@\\s]+$",
            "maxLength": 300,
            "description": f"Where X is; {URL_DEFAULT} if nothing is said.",
        }
    },
    "additionalProperties": False,
}

_ID = re.compile(r"[0-9]{1,19}")
_REASONS = {
    400: "INVALID_REQUEST",
    401: "NOT_AUTHORIZED",
    402: "CREDITS_EXHAUSTED",
    403: "NOT_AUTHORIZED",
    404: "NOT_FOUND",
}
# What X says within an answer that is otherwise one.
_PROBLEMS = {
    "resource-not-found": "NOT_FOUND",
    "not-authorized-for-resource": "NOT_AUTHORIZED",
    "invalid-request": "INVALID_REQUEST",
}
_DUPLICATE = "duplicate content"

# The object of an answer, or what X refuses, as the model is told.
Said: TypeAlias = Mapping[str, JsonValue] | Result


class Api:
    """X, asked in the name of the user whom the credential of an order belongs to."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._x = Keyed("x", egress, signer)

    async def read(self, order: Order, path: str, **query: str) -> Said:
        """Read; an answer that has no data but problems is a refusal, too."""
        said = await self._ask(order, "GET", f"{path}?{_query(query)}" if query else path)
        if isinstance(said, Result) or "data" in said:
            return said
        problems = said.get("errors")
        if isinstance(problems, list) and problems and isinstance(problems[0], dict):
            kind = str(problems[0].get("type")).rpartition("/")[2]
            return _refusal(_PROBLEMS.get(kind, "REFUSED"), problems[0])
        return said

    async def write(
        self, order: Order, method: str, path: str, body: Mapping[str, JsonValue] | None = None
    ) -> Said:
        """Write; only `Unsent` and a refusal say that nothing was done."""
        return await self._ask(order, method, path, b"" if body is None else canonical_json(body))

    async def own_id(self, order: Order) -> str | Result:
        """Return the id of the user in whose name X is asked."""
        said = await self.read(order, "/2/users/me")
        return said if isinstance(said, Result) else id_of(data_of(said))

    async def _ask(self, order: Order, method: str, path: str, body: bytes = b"") -> Said:
        wanted = WebRequest("oauth1", method, base_of(order, URL_DEFAULT) + path, body)
        headers = {"content-type": "application/json"} if body else {}
        try:
            answer = await self._x.ask(order, wanted, headers=headers, bytes_max=ANSWER_BYTES_MAX)
        except Refused as error:
            return told(error.reason, error.message)
        return _said(answer)


@dataclass(frozen=True)
class XAction:
    """One action on X; none of them can be looked for after a lost answer."""

    descriptor: Descriptor
    api: Api
    act: Callable[[Api, Order], Awaitable[Result]]

    async def perform(self, order: Order) -> Result:
        """Perform it."""
        return await self.act(self.api, order)

    async def find(self, order: Order) -> Result | None:
        """Never happens: nothing that could be looked at is certain to be ours."""
        raise AssertionError(order.key)


def segment(order: Order, name: str) -> str:
    """Return an argument as a part of a path."""
    return quote(str(order.arguments[name]), safe="")


def data_of(said: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Return the one thing that an answer is about."""
    data = said.get("data")
    if not isinstance(data, dict):
        raise PeerUnavailable("x")
    return data


def id_of(value: Mapping[str, JsonValue], name: str = "id") -> str:
    """Return an id, which may become part of a path."""
    found = value.get(name)
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise PeerUnavailable("x")
    return found


def reset_seconds(headers: Mapping[str, str]) -> float:
    """Return when X takes more of this, in seconds, at most an hour; 0 if it says nothing.

    Several limits may be counted; the one that was reached has none remaining.
    """
    try:
        now = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return 0.0
    limits = ("x-rate-limit", "x-user-limit-24hour", "x-app-limit-24hour")
    reached = [one for one in limits if headers.get(f"{one}-remaining", "").strip() == "0"]
    times = [headers.get(f"{one}-reset", "").strip() for one in reached or limits[:1]]
    # Python refuses to read numbers of thousands of digits.
    resets = [float(text[:20]) for text in times if text.isascii() and text.isdigit()]
    return min(max(0.0, max(resets, default=0.0) - now), RETRY_SECONDS_MAX)


def _said(answer: Answer) -> Said:
    has_done = is_done("x", answer, seconds=reset_seconds(answer.headers))
    value = object_of(answer)
    if not has_done:
        reason = _REASONS.get(answer.status, "REFUSED")
        return _refusal(reason, value or {"title": f"HTTP status {answer.status}"})
    if value is None:
        raise Lost("x")
    return value


def _refusal(reason: str, problem: Mapping[str, JsonValue]) -> Result:
    """Return a refusal in the words of X."""
    errors = problem.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    inner = first if isinstance(first, dict) else {}
    words = (problem.get("detail"), inner.get("message"), problem.get("title"))
    message = next((word for word in words if isinstance(word, str) and word), "X gives no reason")
    if _DUPLICATE in message.lower():
        reason = "DUPLICATE_CONTENT"
    return told(reason, message[:REFUSAL_CHARACTERS_MAX])


def _query(query: Mapping[str, str]) -> str:
    return urlencode(query, quote_via=quote)
