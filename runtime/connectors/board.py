"""The action `board.post`: a short text on a message board, over HTTP, signed by its author."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import httpx
from pydantic import JsonValue

from chassis.canonical import canonical_json, sha256_hex
from chassis.errors import PeerUnavailable

from ..facts import Failure
from ..ports import RunFails, Signer
from . import Descriptor, Order, Result, closed_object
from .http import Refusal, ask, preparing

_DESCRIPTOR = Descriptor(
    name="board.post",
    description="Posts a short text on the board, where everybody can read it.",
    parameters_schema={
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 280}},
        "required": ["text"],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=True,
    settings_schema={
        "type": "object",
        "properties": {
            "url": {
                "type": "string",
                # What follows the host starts with /: two ways to read one text take forever.
                "pattern": "^https?://[^/?#\\s]+(/[^?#\\s]*)?$",
                "maxLength": 2048,
            }
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    is_idempotent=True,
    is_reconcilable=True,
    output_schema=closed_object(posted={"type": "boolean"}, id={"type": "string"}),
)


class BoardPost:
    """Posts with an idempotency key, and finds the post again by that key."""

    def __init__(self, http: httpx.AsyncClient, signer: Signer) -> None:
        self._http = http
        self._signer = signer

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""
        return _DESCRIPTOR

    async def perform(self, order: Order) -> Result:
        """Post; the key manager signs what identifies the request."""
        url = _posts_url(order)
        body = canonical_json({"text": order.arguments["text"]})
        message = "\n".join(["POST", url.raw_path.decode(), order.key, sha256_hex(body)])
        async with preparing():
            signature = await self._signer.sign_request(
                order.credential, message.encode(), account=order.account
            )
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": order.key,
            "Author-Key": base64.b64encode(signature.public_key).decode(),
            "Author-Signature": base64.b64encode(signature.value).decode(),
        }
        request = self._http.build_request("POST", url, content=body, headers=headers)
        answer = await ask(self._http, request, peer="board")
        if isinstance(answer, Refusal):
            return answer.told("POST_REFUSED")
        return _posted(answer)

    async def find(self, order: Order) -> Result | None:
        """Ask the board for the post with the key of the order."""
        request = self._http.build_request("GET", _posts_url(order), params={"key": order.key})
        answer = await ask(self._http, request, peer="board")
        if isinstance(answer, Refusal):
            # It refuses to say, which does not mean that there is none.
            raise PeerUnavailable("board")
        posts = answer.get("posts")
        if not isinstance(posts, list):
            raise PeerUnavailable("board")
        return next((_posted(post) for post in posts if isinstance(post, dict)), None)


def _posted(post: Mapping[str, JsonValue]) -> Result:
    """Tell the model no more of a post than its id: the rest comes from outside."""
    found = post.get("id")
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise PeerUnavailable("board")
    return Result({"posted": True, "id": str(found)[:100]})


def _posts_url(order: Order) -> httpx.URL:
    text = order.settings["url"]
    assert isinstance(text, str), "settings are valid under the schema"
    try:
        url = httpx.URL(f"{text.rstrip('/')}/posts")
        has_host = bool(url.host)
    # A host may have letters that no name has: `idna` raises a `UnicodeError` of its own.
    except (httpx.InvalidURL, UnicodeError):
        has_host = False
    if not has_host:
        told = "the setting url of board.post is no address; correct it and assemble again"
        raise RunFails(Failure("SETTINGS_INVALID", told))
    return url
