"""Farcaster through a node of its network: messages are signed here, and hubs drop duplicates.

Sources: the HTTP API of Hubble and of Snapchain, and the errors of hubs (`bad_request.duplicate`,
`bad_request.conflict`), https://github.com/farcasterxyz.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from httpx import codes
from pydantic import JsonValue

from chassis.errors import PeerUnavailable

from ...egress import Answer, Lost, Refused, Request
from ...egress.client import Egress
from ...ports import Signer
from .. import Order
from ..http import REFUSAL_CHARACTERS_MAX, is_done, preparing
from ..keyed import ask_bound, base_of, object_of
from .api import (
    PEER,
    Found,
    User,
    fid_in,
    hash_in,
    object_in,
    objects_in,
    own_fid,
    setting,
    text_in,
)
from .casts import Cast, CastId, Mention, Reaction, Said, with_mentions
from .wire import EPOCH, message, message_data

# A page of the longest casts, each with what it shows and who signed it.
ANSWER_BYTES_MAX = 512 * 1024
# A number of 32 bits.
SECONDS_MAX = 2**32 - 1

_DUPLICATE = ("bad_request.duplicate", "already been merged")
_REASONS = {
    "bad_request.conflict": "CONFLICT",
    "bad_request.prunable": "STORAGE_EXCEEDED",
    "not_found": "NOT_FOUND",
    "unauthenticated": "NOT_AUTHORIZED",
    "unauthorized": "NOT_AUTHORIZED",
}
_STATUSES = {400: "INVALID_REQUEST", 401: "NOT_AUTHORIZED", 403: "NOT_AUTHORIZED", 404: "NOT_FOUND"}
_TEXTS = {
    "USER_DATA_TYPE_USERNAME": "name",
    "USER_DATA_TYPE_DISPLAY": "display_name",
    "USER_DATA_TYPE_BIO": "bio",
}


class Hub:
    """A hub of Farcaster; it is given no key, and only what it is given is signed."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._egress = egress
        self._signer = signer

    async def publish(self, order: Order, said: Said) -> bytes:
        """Publish a message; the same content at the same time has the same hash."""
        fid, network = own_fid(order), str(order.settings.get("network", "mainnet"))
        data = message_data(said, fid=fid, time=order.time, network=network)
        async with preparing():
            signature = await self._signer.sign_farcaster(
                order.credential, data, account=order.account
            )
        url = f"{_base(order)}/v1/submitMessage"
        headers = {"content-type": "application/octet-stream"}
        request = Request("POST", url, headers=headers, body=message(data, signature))
        answer = await self._ask(request)
        if is_done(PEER, answer):
            # Somebody else may answer in its place.
            if hash_in(_object(answer)) != signature.hash:
                raise Lost(PEER)
        elif not _is_there(said, _problem(answer)):
            raise _refusal(said, answer)
        return signature.hash

    async def user(self, order: Order, *, fid: int = 0, name: str = "") -> User:
        """Return a user; who has said nothing about themselves is not found."""
        if name:
            fid = fid_in(await self._read(order, "userNameProofByName", name=name))
        texts = {}
        for one in objects_in(await self._read(order, "userDataByFid", fid=str(fid)), "messages"):
            body = object_in(object_in(one, "data"), "userDataBody")
            texts[_TEXTS.get(text_in(body, "type"), "")] = text_in(body, "value")
        if not texts:
            raise Refused("NOT_FOUND", f"nothing is known of a user {fid}")
        found = [texts.get(one, "") for one in ("name", "display_name", "bio")]
        return User(fid, *found)

    async def casts(self, order: Order, fid: int, count: int) -> list[Found]:
        """Return the last casts of a user."""
        return await self._casts(order, "castsByFid", count, fid=str(fid))

    async def replies(self, order: Order, cast: CastId, count: int) -> list[Found]:
        """Return what answers a cast."""
        return await self._casts(order, "castsByParent", count, fid=str(cast.fid), hash=cast.hex)

    async def mentions(self, order: Order, count: int) -> list[Found]:
        """Return what mentions the own user."""
        return await self._casts(order, "castsByMention", count, fid=str(own_fid(order)))

    async def _casts(self, order: Order, method: str, count: int, **query: str) -> list[Found]:
        page = {"pageSize": str(count), "reverse": "true"}
        value = await self._read(order, method, **query, **page)
        return [_cast(one) for one in objects_in(value, "messages")[:count]]

    async def _read(self, order: Order, method: str, **query: str) -> Mapping[str, JsonValue]:
        answer = await self._ask(Request("GET", f"{_base(order)}/v1/{method}", query))
        if not is_done(PEER, answer):
            raise _refusal(None, answer)
        return _object(answer)

    async def _ask(self, request: Request) -> Answer:
        answer = await ask_bound(PEER, self._egress, request, bytes_max=ANSWER_BYTES_MAX)
        if codes.is_client_error(answer.status) and "unavailable" in _problem(answer):
            raise Lost(PEER)
        return answer


def _base(order: Order) -> str:
    return base_of(order, setting(order, "url"))


def _object(answer: Answer) -> Mapping[str, JsonValue]:
    value = object_of(answer)
    if value is None:
        raise Lost(PEER)
    return value


def _problem(answer: Answer) -> str:
    """Return what a hub says about a refusal; Hubble and Snapchain have names of their own."""
    value = object_of(answer) or {}
    names = ("errCode", "error", "error_detail", "details", "message")
    return ": ".join(text for name in names if (text := text_in(value, name)))


def _is_there(said: Said, problem: str) -> bool:
    """Tell whether what was refused is nevertheless so."""
    if any(word in problem for word in _DUPLICATE):
        return True
    if "bad_request.conflict" not in problem:
        return False
    match said:
        case Cast():
            return False
        case Reaction():
            return "recent add" in problem
        case _:
            # It was removed by somebody with the same key, later.
            return True


def _refusal(said: Said | None, answer: Answer) -> Refused:
    problem = _problem(answer)
    status = _STATUSES.get(answer.status, "REFUSED")
    reason = next((name for code, name in _REASONS.items() if code in problem), status)
    if reason == "CONFLICT" and isinstance(said, Cast):
        return Refused("REMOVED", "the cast has been deleted since it was sent")
    message = problem or f"HTTP status {answer.status}"
    return Refused(reason, message[:REFUSAL_CHARACTERS_MAX])


def _cast(value: Mapping[str, JsonValue]) -> Found:
    data = object_in(value, "data")
    body = object_in(data, "castAddBody")
    fids, positions = body.get("mentions", []), body.get("mentionsPositions", [])
    if not (isinstance(fids, list) and isinstance(positions, list)):
        raise PeerUnavailable(PEER)
    mentions = [
        Mention(fid, position)
        for fid, position in zip(fids, positions, strict=False)
        if isinstance(fid, int) and isinstance(position, int)
    ]
    parent = body.get("parentCastId")
    return Found(
        id=CastId(fid_in(data), hash_in(value)),
        text=with_mentions(text_in(body, "text"), mentions),
        time=_time(fid_in(data, "timestamp")),
        parent=f"0x{hash_in(parent).hex()}" if isinstance(parent, dict) else "",
    )


def _time(seconds: int) -> str:
    if seconds > SECONDS_MAX:
        raise PeerUnavailable(PEER)
    return f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
