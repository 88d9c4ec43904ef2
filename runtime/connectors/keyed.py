"""Asking a service that wants a key: one request, to where the key manager let it be used."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote

from pydantic import JsonValue

from ..egress import Answer, Lost, Refused, Request, Unreached
from ..egress.addresses import HostRule, read_url
from ..egress.client import Egress
from ..facts import Failure
from ..jsontext import read_json
from ..ports import Authorized, RunFails, Signer, WebRequest
from . import Order, Result, Unsent
from .http import preparing

# Stands in the path of a URL where its key belongs.
PLACE = "{key}"
# These schemes send the key itself.
_AS_IT_IS = {"bearer", "key_header", "key_url", "smtp"}
_HIDDEN = b"(the key)"
# Nothing that short is a key, and a text that has it by chance would be torn up.
_KEY_CHARACTERS_MIN = 6


class Keyed:
    """A service that is asked through the egress, with keys of the key manager.

    The key goes to the host and path that were asked for, in this one request: no redirect is
    followed, and where an answer repeats the key, it is cut out.
    """

    def __init__(self, peer: str, egress: Egress, signer: Signer) -> None:
        self._peer = peer
        self._egress = egress
        self._signer = signer

    async def ask(
        self,
        order: Order,
        wanted: WebRequest,
        *,
        headers: Mapping[str, str] | None = None,
        bytes_max: int,
    ) -> Answer:
        """Return an answer, whatever its status; names of `headers` are lower-case.

        Raise `Refused` where nothing was done, `Unsent` and `Lost` as connectors do, and what
        `Signer` does.
        """
        async with preparing():
            authorized = await self._signer.authorize_request(
                order.credential, wanted, account=order.account
            )
        shown = {name.lower(): value for name, value in authorized.headers.items()}
        request = Request(
            wanted.method,
            authorized.url or wanted.url,
            headers={**(headers or {}), **shown},
            body=wanted.body,
        )
        # The host that was asked about, whatever the answer says.
        where = wanted.url.replace(PLACE, "key")
        answer = await ask_bound(
            self._peer, self._egress, request, where=where, bytes_max=bytes_max
        )
        # Its address may have the key in it.
        return replace(answer, body=hidden(answer.body, wanted, authorized), url="")


async def ask_bound(
    peer: str, egress: Egress, request: Request, *, where: str = "", bytes_max: int
) -> Answer:
    """Ask the host of `where`, or of the request itself, and let no redirect lead away from it.

    Raise as `Keyed.ask`.
    """
    url = read_url(where or request.url)
    rule = HostRule(url.host, url.port, is_wildcard=False)
    try:
        return await egress.ask(replace(request, is_bound=True), [rule], bytes_max=bytes_max)
    except Unreached as error:
        raise Unsent(peer) from error
    except Refused as error:
        if error.reason.startswith("ANSWER_"):
            # It was sent, and nobody reads what came of it.
            raise Lost(peer) from error
        raise


def base_of(order: Order, usual: str) -> str:
    """Return where a service is: the setting `url`, else the usual place; without a path."""
    try:
        url = read_url(str(order.settings.get("url", usual)))
    except Refused as error:
        told = f"the setting url: {error.message}; correct it and assemble again"
        raise RunFails(Failure("SETTINGS_INVALID", told)) from error
    return f"{url.scheme}://{url.authority}"


def told(reason: str, message: str) -> Result:
    """Return what the model is told of what was not done."""
    return Result({"error": reason, "message": message}, reason=reason)


def object_of(answer: Answer) -> Mapping[str, JsonValue] | None:
    """Return the JSON object of an answer, if it is one; what was cut is none."""
    try:
        value = read_json(answer.body.decode())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def hidden(content: bytes, wanted: WebRequest, authorized: Authorized) -> bytes:
    """Return what was answered without the key, should it have been repeated."""
    for key in _keys(wanted, authorized):
        content = content.replace(key, _HIDDEN)
    return content


def _keys(wanted: WebRequest, authorized: Authorized) -> set[bytes]:
    """Return what must not come back; a signature is of no use to who reads it."""
    if wanted.scheme not in _AS_IT_IS:
        return set()
    keys = {value.rpartition(" ")[2] for value in authorized.headers.values()}
    before, place, after = wanted.url.partition(PLACE)
    if authorized.url and place:
        key = authorized.url.removeprefix(before).removesuffix(after)
        keys |= {key, unquote(key)}
    if wanted.scheme == "smtp":
        # RFC 4616: who, and the password.
        keys |= {base64.b64decode(key).decode().rpartition("\0")[2] for key in keys}
    return {key.encode() for key in keys if len(key) >= _KEY_CHARACTERS_MIN}
