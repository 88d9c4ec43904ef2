"""Asking a service over HTTP, and what its answer says about whether something happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from pydantic import JsonValue

from chassis.errors import PeerUnavailable

from ..egress import Answer, Lost
from ..jsontext import read_json
from ..ports import PersonAwaited
from . import Result, Unsent

# From the first byte sent to the last one received.
ANSWER_SECONDS_MAX = 10.0
ANSWER_BYTES_MAX = 64 * 1024
# A service that wants to be left alone for longer is asked again after so long.
RETRY_SECONDS_MAX = 3_600.0
REFUSAL_CHARACTERS_MAX = 300

# Before a connection stands, nothing was sent over it.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
# The service says that it did not do it. 5xx say nothing: who answers may not be who does it.
NOT_DONE = {httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}


@dataclass(frozen=True)
class Refusal:
    """What a service does not do, and why, in its own words."""

    status: int
    message: str

    def told(self, reason: str) -> Result:
        """Return what the model is told."""
        return Result({"error": reason, "message": self.message}, reason=reason)


@asynccontextmanager
async def preparing() -> AsyncGenerator[None, None]:
    """Around what comes before sending, such as signing: if that fails, nothing has happened."""
    try:
        yield
    except (PersonAwaited, Unsent):
        raise
    except PeerUnavailable as error:
        raise Unsent(error.peer) from error


async def ask(
    http: httpx.AsyncClient, request: httpx.Request, *, peer: str
) -> Mapping[str, JsonValue] | Refusal:
    """Return the JSON object of an answer, or what the service refuses.

    Raise `Unsent` where it certainly did nothing, with how long it wants to be left alone, and
    `PeerUnavailable` wherever nobody can know what it did.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            response = await http.send(request, stream=True)
            try:
                content = await _read(response, peer)
            finally:
                await response.aclose()
    except _UNSENT as error:
        raise Unsent(peer) from error
    except (httpx.HTTPError, TimeoutError) as error:
        raise PeerUnavailable(peer) from error
    if response.status_code in NOT_DONE:
        raise Unsent(peer, retry_seconds(response.headers))
    if is_uncertain(response.status_code):
        raise PeerUnavailable(peer)
    value = _object(content)
    if response.is_success:
        if value is None:
            raise PeerUnavailable(peer)
        return value
    told = value.get("error") if value else None
    message = told if isinstance(told, str) else f"HTTP status {response.status_code}"
    return Refusal(response.status_code, message[:REFUSAL_CHARACTERS_MAX])


def is_uncertain(status: int) -> bool:
    """Tell whether a status leaves open what was done."""
    return status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.REQUEST_TIMEOUT


def is_done(peer: str, answer: Answer, *, seconds: float | None = None) -> bool:
    """Tell whether a service did what it was asked for; else it refused.

    Raise `Unsent` where it did nothing and wants to be left alone, for `seconds` if the answer says
    so in a way of its own, and `Lost` where nobody can know.
    """
    if answer.status in NOT_DONE:
        raise Unsent(peer, retry_seconds(answer.headers) if seconds is None else seconds)
    if httpx.codes.is_client_error(answer.status) and not is_uncertain(answer.status):
        return False
    if not httpx.codes.is_success(answer.status):
        raise Lost(peer)
    return True


def retry_seconds(headers: Mapping[str, str]) -> float:
    """Return what `Retry-After` says, in seconds or as a date; 0 if it says nothing.

    Names of headers are lower-case, or found whatever their case.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # Python refuses to read numbers of thousands of digits.
        return min(float(text[:20]), RETRY_SECONDS_MAX)
    # By the clock of the service, which need not be ours.
    until, now = _time(text), _time(headers.get("date", ""))
    if until is None or now is None:
        return 0.0
    return min(max(0.0, (until - now).total_seconds()), RETRY_SECONDS_MAX)


def _time(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


async def _read(response: httpx.Response, peer: str) -> bytes:
    content = b""
    async for part in response.aiter_bytes():
        content += part
        if len(content) > ANSWER_BYTES_MAX:
            raise PeerUnavailable(peer)
    return content


def _object(content: bytes) -> Mapping[str, JsonValue] | None:
    try:
        value = read_json(content.decode())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
