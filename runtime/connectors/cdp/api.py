"""Asking Coinbase CDP: a request has its tokens, and its answer says what happened."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, TypeAlias
from urllib.parse import quote, urlencode

import rfc8785
from pydantic import JsonValue

from chassis.canonical import canonical_json
from chassis.errors import PeerUnavailable

from ...egress import Answer, Lost, Refused
from ...egress.client import Egress
from ...ports import Signer, WebRequest
from .. import Descriptor, Order, Result
from ..http import REFUSAL_CHARACTERS_MAX, is_done, preparing
from ..keyed import Keyed, base_of, object_of, told

URL_DEFAULT = "https://api.cdp.coinbase.com"
# Below the host, where the paths of the specification begin.
ROOT = "/platform"
# A page of a hundred balances, or a swap with its call data.
ANSWER_BYTES_MAX = 512 * 1024
# What the key manager makes the hash of, which goes into the token of a wallet.
BODY_BYTES_MAX = 64 * 1024

_REASONS = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    402: "PAYMENT_METHOD_REQUIRED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
}
_ERROR_TYPE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
_ERROR_TYPE_CHARACTERS_MAX = 60
_CONFLICT = 409
_TOO_MANY = 429

# The object of an answer, or what CDP refuses, as the model is told.
Said: TypeAlias = Mapping[str, JsonValue] | Result


class Api:
    """CDP, asked in the name of the project that the credential of an order belongs to."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._cdp = Keyed("cdp", egress, signer)
        self._signer = signer

    async def read(self, order: Order, path: str, **query: str) -> Said:
        """Read."""
        asked = f"{path}?{urlencode(query, quote_via=quote)}" if query else path
        return await self._ask(order, "GET", asked)

    async def post(self, order: Order, path: str, body: Mapping[str, JsonValue]) -> Said:
        """Ask with the API key alone; CDP does it again if it is asked again."""
        return await self._ask(order, "POST", path, body)

    async def use_wallet(
        self, order: Order, path: str, body: Mapping[str, JsonValue], *, is_part: bool = False
    ) -> Said:
        """Ask in the name of the wallet; within 24 hours, CDP does it once for an order.

        What `is_part` of an order may be asked for again with another body. Else CDP says of
        another body that its key is known, and does nothing.
        """
        return await self._ask(order, "POST", path, body, key="part" if is_part else "whole")

    async def _ask(
        self,
        order: Order,
        method: str,
        path: str,
        body: Mapping[str, JsonValue] | None = None,
        *,
        key: Literal["", "whole", "part"] = "",
    ) -> Said:
        try:
            content = b"" if body is None else canonical_json(body)
        except rfc8785.CanonicalizationError:
            return told("INVALID_REQUEST", "a number is beyond 2^53; write it as a text")
        if len(content) > BODY_BYTES_MAX:
            return told("TOO_LARGE", f"the request is over {BODY_BYTES_MAX} bytes; ask for less")
        url = base_of(order, URL_DEFAULT) + ROOT + path
        headers = {"content-type": "application/json"} if content else {}
        if key:
            headers |= await self._wallet_token(order, method, url, content)
            headers["x-idempotency-key"] = idempotency_key(
                order.key, content if key == "part" else b""
            )
        key_id = str(order.settings["key_id"])
        wanted = WebRequest("cdp", method, url, content, key_id=key_id)
        try:
            answer = await self._cdp.ask(order, wanted, headers=headers, bytes_max=ANSWER_BYTES_MAX)
        except Refused as error:
            return told(error.reason, error.message)
        return _said(answer)

    async def _wallet_token(
        self, order: Order, method: str, url: str, content: bytes
    ) -> dict[str, str]:
        wanted = WebRequest("cdp_wallet", method, url, body_json=content.decode())
        secret = f"secrets/{order.settings['wallet']}"
        async with preparing():
            token = await self._signer.authorize_request(secret, wanted, account=order.account)
        return {name.lower(): value for name, value in token.headers.items()}


@dataclass(frozen=True)
class CdpAction:
    """One action on CDP; none can be looked for, as nothing of CDP is found by its key."""

    descriptor: Descriptor
    api: Api
    act: Callable[[Api, Order], Awaitable[Result]]

    async def perform(self, order: Order) -> Result:
        """Perform it."""
        return await self.act(self.api, order)

    async def find(self, order: Order) -> Result | None:
        """Never happens: what can be repeated has its key, and the rest is not looked for."""
        raise AssertionError(order.key)


def idempotency_key(key: str, content: bytes = b"") -> str:
    """Return the key of a request in the one form that CDP takes, which is that of a UUID 4.

    https://docs.cdp.coinbase.com/api-reference/v2/idempotency
    """
    digest = sha256(key.encode() + b"\n" + content).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def text_of(order: Order, name: str) -> str:
    """Return an argument that is a text; the empty one if it was left out."""
    return str(order.arguments.get(name, ""))


def matching(value: Mapping[str, JsonValue], name: str, pattern: re.Pattern[str]) -> str:
    """Return a text of an answer; one of another form leaves open what was done."""
    found = value.get(name)
    if not isinstance(found, str) or not pattern.fullmatch(found):
        raise PeerUnavailable("cdp")
    return found


def object_in(value: object) -> Mapping[str, JsonValue]:
    """Return an object of an answer."""
    if not isinstance(value, Mapping):
        raise PeerUnavailable("cdp")
    return value


def _said(answer: Answer) -> Said:
    value = object_of(answer)
    kind = _error_type(value)
    if answer.status == _TOO_MANY and kind == "faucet_limit_exceeded":
        # Of a day, not of a moment: there is no waiting for it.
        return _refusal(answer, value, kind)
    if is_done("cdp", answer):
        if value is None:
            raise Lost("cdp")
        return value
    if kind == "idempotency_error" or (answer.status == _CONFLICT and not _is_name_taken(value)):
        # It is under way, or something else was done under this key.
        raise Lost("cdp")
    return _refusal(answer, value, kind)


def _error_type(value: Mapping[str, JsonValue] | None) -> str:
    kind = (value or {}).get("errorType")
    if not isinstance(kind, str) or len(kind) > _ERROR_TYPE_CHARACTERS_MAX:
        return ""
    return kind if _ERROR_TYPE.fullmatch(kind) else ""


def _is_name_taken(value: Mapping[str, JsonValue] | None) -> bool:
    """Tell whether a conflict is about a name; CDP has one code for that and for what is slow."""
    return "given name already exists" in str((value or {}).get("errorMessage")).lower()


def _refusal(answer: Answer, value: Mapping[str, JsonValue] | None, kind: str) -> Result:
    """Return a refusal in the words of CDP."""
    reason = kind.upper() or _REASONS.get(answer.status, "REFUSED")
    message = (value or {}).get("errorMessage")
    if not isinstance(message, str) or not message:
        message = f"HTTP status {answer.status}"
    return told(reason, message[:REFUSAL_CHARACTERS_MAX])
