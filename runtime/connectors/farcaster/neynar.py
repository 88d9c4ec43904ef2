"""Farcaster through Neynar, which keeps the signer of the user and takes an API key.

Source: Neynar's Farcaster API, version 3 (https://docs.neynar.com/reference). It takes an `idem`
with casts and reactions: what comes again with it is a retry of the same request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from pydantic import JsonValue

from chassis.canonical import canonical_json, sha256_hex

from ...egress import Lost, Refused
from ...egress.client import Egress
from ...ports import Signer, WebRequest
from .. import Order
from ..http import REFUSAL_CHARACTERS_MAX, is_done
from ..keyed import Keyed, base_of, object_of
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
from .casts import Cast, CastId, Reaction, Removal, Said

URL_DEFAULT = "https://api.neynar.com"
# Each cast comes with all that is known about its author.
ANSWER_BYTES_MAX = 1024 * 1024
# As Neynar recommends it.
IDEM_CHARACTERS = 16

_REASONS = {
    400: "INVALID_REQUEST",
    401: "NOT_AUTHORIZED",
    402: "CREDITS_EXHAUSTED",
    403: "NOT_AUTHORIZED",
    404: "NOT_FOUND",
    409: "CONFLICT",
}
_TIME = re.compile(r"[0-9T:.Z+-]{1,40}")


class Neynar:
    """Neynar, which signs in the name of the user whose signer it keeps."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._neynar = Keyed(PEER, egress, signer)

    async def publish(self, order: Order, said: Said) -> bytes:
        """Have something published; the `idem` makes a request that comes again the same."""
        common: dict[str, JsonValue] = {"signer_uuid": setting(order, "signer_uuid")}
        idem = sha256_hex(order.key.encode())[:IDEM_CHARACTERS]
        match said:
            case Cast():
                body = common | {"idem": idem} | _cast_body(said)
                value = await self._write(order, "POST", "cast", body)
                if value.get("success") is not True:
                    raise Lost(PEER)
                return hash_in(object_in(value, "cast"))
            case Reaction():
                body = common | {
                    "idem": idem,
                    "reaction_type": said.kind,
                    "target": said.target.hex,
                    "target_author_fid": said.target.fid,
                }
                _require_success(await self._write(order, "POST", "reaction", body))
            case Removal():
                body = common | {"target_hash": f"0x{said.hash.hex()}"}
                try:
                    _require_success(await self._write(order, "DELETE", "cast", body))
                except Refused as error:
                    # Maybe it was deleted by this call, whose first answer got lost.
                    if error.reason != "NOT_FOUND":
                        raise
        return b""

    async def user(self, order: Order, *, fid: int = 0, name: str = "") -> User:
        """Return a user."""
        if name:
            value = await self._read(order, "user/by_username", username=name)
            return _user(object_in(value, "user"))
        users = objects_in(await self._read(order, "user/bulk", fids=str(fid)), "users")
        if not users:
            raise Refused("NOT_FOUND", f"there is no user {fid}")
        return _user(users[0])

    async def casts(self, order: Order, fid: int, count: int) -> list[Found]:
        """Return the last casts of a user, answers among them."""
        value = await self._read(order, "feed/user/casts", fid=str(fid), limit=str(count))
        return _found(objects_in(value, "casts"), count)

    async def replies(self, order: Order, cast: CastId, count: int) -> list[Found]:
        """Return what answers a cast."""
        query = {"identifier": cast.hex, "type": "hash", "reply_depth": "1"}
        value = await self._read(
            order, "cast/conversation", **query, sort_type="desc_chron", limit=str(count)
        )
        told = object_in(object_in(value, "conversation"), "cast")
        return _found(objects_in(told, "direct_replies"), count)

    async def mentions(self, order: Order, count: int) -> list[Found]:
        """Return what mentions the own user."""
        query = {"fid": str(own_fid(order)), "type": "mentions", "limit": str(count)}
        value = await self._read(order, "notifications", **query)
        told = [one for one in objects_in(value, "notifications") if "cast" in one]
        return _found([object_in(one, "cast") for one in told], count)

    async def _read(self, order: Order, path: str, **query: str) -> Mapping[str, JsonValue]:
        return await self._ask(order, "GET", f"{path}/?{urlencode(query)}")

    async def _write(
        self, order: Order, method: str, path: str, body: Mapping[str, JsonValue]
    ) -> Mapping[str, JsonValue]:
        return await self._ask(order, method, f"{path}/", canonical_json(body))

    async def _ask(
        self, order: Order, method: str, target: str, body: bytes = b""
    ) -> Mapping[str, JsonValue]:
        url = f"{base_of(order, URL_DEFAULT)}/v2/farcaster/{target}"
        wanted = WebRequest("key_header", method, url, body, key_header="x-api-key")
        headers = {"content-type": "application/json"} if body else {}
        answer = await self._neynar.ask(order, wanted, headers=headers, bytes_max=ANSWER_BYTES_MAX)
        value = object_of(answer)
        if not is_done(PEER, answer):
            message = text_in(value or {}, "message") or f"HTTP status {answer.status}"
            reason = _REASONS.get(answer.status, "REFUSED")
            raise Refused(reason, message[:REFUSAL_CHARACTERS_MAX])
        if value is None:
            raise Lost(PEER)
        return value


def _cast_body(cast: Cast) -> dict[str, JsonValue]:
    """Return what is posted; of the names in its text, Neynar makes mentions itself."""
    embeds: list[JsonValue] = [{"url": url} for url in cast.urls]
    if cast.quote:
        embeds.append({"cast_id": {"fid": cast.quote.fid, "hash": cast.quote.hex}})
    body: dict[str, JsonValue] = {"text": cast.text}
    if embeds:
        body["embeds"] = embeds
    if cast.reply_to:
        body |= {"parent": cast.reply_to.hex, "parent_author_fid": cast.reply_to.fid}
    return body


def _require_success(value: Mapping[str, JsonValue]) -> None:
    # The specification lets an answer leave it out.
    if value.get("success") is False:
        raise Refused("REFUSED", text_in(value, "message")[:REFUSAL_CHARACTERS_MAX] or "not done")
    if value.get("success") is not True:
        raise Lost(PEER)


def _user(value: Mapping[str, JsonValue]) -> User:
    profile = value.get("profile")
    bio = profile.get("bio") if isinstance(profile, dict) else None
    return User(
        fid_in(value),
        text_in(value, "username"),
        text_in(value, "display_name"),
        text_in(bio, "text") if isinstance(bio, dict) else "",
    )


def _found(casts: list[Mapping[str, JsonValue]], count: int) -> list[Found]:
    return [_cast(one) for one in casts[:count]]


def _cast(value: Mapping[str, JsonValue]) -> Found:
    time = text_in(value, "timestamp")
    return Found(
        id=CastId(fid_in(object_in(value, "author")), hash_in(value)),
        text=text_in(value, "text"),
        time=time if _TIME.fullmatch(time) else "",
        parent=f"0x{hash_in(value, 'parent_hash').hex()}" if value.get("parent_hash") else "",
    )
