"""The actions `s3.…`: objects in one bucket of AWS S3, or of who speaks as it does."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from pydantic import JsonValue

from ..egress import Answer, Lost, Refused
from ..egress.addresses import read_url
from ..egress.client import Egress
from ..facts import Failure
from ..jsontext import write_json
from ..ports import RunFails, Signer, WebRequest
from . import Connector, Descriptor, Order, Result, Unsent
from .http import NOT_DONE, is_uncertain, preparing, retry_seconds
from .keyed import Keyed, told
from .s3schemas import (
    DELETE,
    GET,
    GET_BYTES_DEFAULT,
    KEY_BYTES_MAX,
    LIST,
    LIST_DEFAULT,
    PRESIGN,
    PRESIGN_SECONDS_DEFAULT,
    PUT,
    PUT_BYTES_MAX,
)
from .s3xml import XML_BYTES_MAX, Listing, NotUnderstood, read_error_code, read_listing

_TEXT_TYPE = "text/plain; charset=utf-8"
_BYTES_TYPE = "application/octet-stream"
_NOT_FOUND = 404
_REASONS = {"NoSuchKey": "NO_SUCH_KEY", "NoSuchBucket": "NO_SUCH_BUCKET"}
# Of all 5xx, this one says that the request was turned away at the door.
_TURNED_AWAY = "SlowDown"


@dataclass(frozen=True)
class Bucket:
    """Where the objects of an agent are; `prefix` is empty, or ends with a slash."""

    endpoint: str
    region: str
    name: str
    prefix: str

    def url(self, key: str = "", query: Mapping[str, str] | None = None) -> str:
        """Return an address, encoded as its signature has it."""
        pairs = sorted((query or {}).items())
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
        path = f"/{quote(self.name)}/{quote(key, safe='/')}" if key else f"/{quote(self.name)}"
        return f"{self.endpoint}{path}{'?' if text else ''}{text}"

    def require_own(self, key: str, *, whole: bool = True) -> str:
        """Return a key, or the beginning of keys, that the agent may touch; raise `Refused`."""
        problem = _problem(key, whole=whole)
        if not problem and not key.startswith(self.prefix):
            problem = f"does not begin with {self.prefix}"
        if problem:
            raise Refused("KEY_FORBIDDEN", f"the key {problem}; give another one")
        return key


class S3:
    """Asks a bucket with requests that the key manager signs."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._keyed = Keyed("s3", egress, signer)
        self._signer = signer

    async def ask(
        self,
        order: Order,
        bucket: Bucket,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        content_type: str = "",
    ) -> Answer:
        """Return an answer that says what was done; raise `Refused`, and as a connector does."""
        headers = {"content-type": content_type} if content_type else {}
        wanted = WebRequest(
            "aws_sigv4",
            method,
            url,
            body,
            headers=headers,
            region=bucket.region,
            service="s3",
        )
        answer = await self._keyed.ask(order, wanted, headers=headers, bytes_max=XML_BYTES_MAX)
        _require_told(answer)
        return answer

    async def presign(self, order: Order, bucket: Bucket, url: str, seconds: int) -> str:
        """Return an address that anybody can read an object with, for so long."""
        wanted = WebRequest(
            "aws_sigv4", "GET", url, region=bucket.region, service="s3", presign_seconds=seconds
        )
        async with preparing():
            signed = await self._signer.authorize_request(
                order.credential, wanted, account=order.account
            )
        return signed.url


@dataclass(frozen=True)
class S3Action:
    """One of the actions. A bucket holds what it was last given, however often that was."""

    descriptor: Descriptor
    s3: S3
    act: Callable[[S3, Order, Bucket], Awaitable[Result]]

    async def perform(self, order: Order) -> Result:
        """Do it, or tell why it was not done."""
        bucket = _bucket(order)
        try:
            return await self.act(self.s3, order, bucket)
        except Refused as error:
            return told(error.reason, error.message)

    async def find(self, order: Order) -> Result | None:
        """Never happens: all of them may be repeated."""
        raise AssertionError(order.key)


def s3_actions(egress: Egress, signer: Signer) -> tuple[Connector, ...]:
    """Return all of them."""
    s3 = S3(egress, signer)
    return (
        S3Action(PUT, s3, _put),
        S3Action(GET, s3, _get),
        S3Action(LIST, s3, _list),
        S3Action(DELETE, s3, _delete),
        S3Action(PRESIGN, s3, _presign),
    )


async def _put(s3: S3, order: Order, bucket: Bucket) -> Result:
    key = bucket.require_own(_text(order, "key"))
    body, usual_type = _content(order.arguments)
    content_type = str(order.arguments.get("content_type", usual_type)).strip()
    answer = await s3.ask(
        order, bucket, "PUT", bucket.url(key), body=body, content_type=content_type
    )
    _require_done(answer)
    return Result({"key": key, "bytes": len(body)})


async def _get(s3: S3, order: Order, bucket: Bucket) -> Result:
    key = bucket.require_own(_text(order, "key"))
    bytes_max = _number(order.settings.get("bytes_max", GET_BYTES_DEFAULT))
    answer = await s3.ask(order, bucket, "GET", bucket.url(key))
    _require_done(answer)
    instead = "ask for its address with s3.presign"
    if answer.is_cut or len(answer.body) > bytes_max:
        raise Refused("TOO_LARGE", f"the object is over {bytes_max} bytes; {instead}")
    try:
        text = answer.body.decode()
    except UnicodeDecodeError as error:
        raise Refused("OBJECT_BINARY", f"the object is no text in UTF-8; {instead}") from error
    if "\0" in text:
        raise Refused("OBJECT_BINARY", f"the object is no text in UTF-8; {instead}")
    # Once in JSON, a text may have six times as many bytes.
    if len(write_json(text).encode()) > bytes_max + 2:
        raise Refused("TOO_LARGE", f"the object is over {bytes_max} bytes as JSON; {instead}")
    return Result({"key": key, "text": text})


async def _list(s3: S3, order: Order, bucket: Bucket) -> Result:
    prefix = bucket.require_own(str(order.arguments.get("prefix", bucket.prefix)), whole=False)
    count = _number(order.arguments.get("count", LIST_DEFAULT))
    query = {"encoding-type": "url", "list-type": "2", "max-keys": str(count), "prefix": prefix}
    if after := order.arguments.get("next"):
        query["continuation-token"] = str(after)
    answer = await s3.ask(order, bucket, "GET", bucket.url(query=query))
    _require_done(answer)
    listing = _listing(answer, prefix)
    objects: list[JsonValue] = [
        {"key": one.key, "bytes": one.size, "modified": one.modified} for one in listing.entries
    ]
    told: dict[str, JsonValue] = {"objects": objects}
    return Result(told | ({"next": listing.following} if listing.following else {}))


async def _delete(s3: S3, order: Order, bucket: Bucket) -> Result:
    key = bucket.require_own(_text(order, "key"))
    answer = await s3.ask(order, bucket, "DELETE", bucket.url(key))
    # S3 says 204 of what is not there; others say that it is not.
    if answer.status != _NOT_FOUND or read_error_code(answer.body) != "NoSuchKey":
        _require_done(answer)
    return Result({"key": key, "deleted": True})


async def _presign(s3: S3, order: Order, bucket: Bucket) -> Result:
    key = bucket.require_own(_text(order, "key"))
    seconds = _number(order.arguments.get("seconds", PRESIGN_SECONDS_DEFAULT))
    url = await s3.presign(order, bucket, bucket.url(key), seconds)
    return Result({"key": key, "url": url, "seconds": seconds})


def _require_told(answer: Answer) -> None:
    """Raise unless an answer says whether something was done."""
    if answer.status in NOT_DONE:
        raise Unsent("s3", retry_seconds(answer.headers))
    if is_uncertain(answer.status):
        if read_error_code(answer.body) == _TURNED_AWAY:
            raise Unsent("s3", retry_seconds(answer.headers))
        raise Lost("s3")


def _require_done(answer: Answer) -> None:
    """Raise `Refused` unless it was done."""
    if answer.status in (200, 204):
        return
    code = read_error_code(answer.body)
    reason = _REASONS.get(code, "ACCESS_DENIED" if answer.status == 403 else "S3_REFUSED")  # noqa: PLR2004  # as HTTP
    # Its words come from outside; its codes are known.
    words = f"the service answered with HTTP status {answer.status}"
    raise Refused(reason, f"{words} and the code {code}" if code else words)


def _listing(answer: Answer, prefix: str) -> Listing:
    try:
        # What was cut is no XML.
        listing = read_listing(answer.body)
    except NotUnderstood as error:
        raise Lost("s3") from error
    if any(not entry.key.startswith(prefix) for entry in listing.entries):
        # Whoever answers so has not read the question.
        raise Lost("s3")
    return listing


def _content(arguments: Mapping[str, JsonValue]) -> tuple[bytes, str]:
    """Return what is to be stored, and what it is if nobody says so."""
    if ("text" in arguments) == ("base64" in arguments):
        raise Refused("CONTENT_INVALID", "give the content as text or as base64, one of both")
    try:
        if "text" in arguments:
            body, content_type = str(arguments["text"]).encode(), _TEXT_TYPE
        else:
            body = base64.b64decode(str(arguments["base64"]), validate=True)
            content_type = _BYTES_TYPE
    except (binascii.Error, ValueError) as error:
        told = "the content is no base64, or has half of a surrogate pair; correct it"
        raise Refused("CONTENT_INVALID", told) from error
    if len(body) > PUT_BYTES_MAX:
        raise Refused("TOO_LARGE", f"the content is over {PUT_BYTES_MAX} bytes; store less")
    return body, content_type


def _problem(key: str, *, whole: bool) -> str:
    """Return why a key cannot be had in one spelling only; the empty text if it can."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "has half of a surrogate pair"
    if size > KEY_BYTES_MAX:
        return f"has more than {KEY_BYTES_MAX} bytes"
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in key):  # noqa: PLR2004  # ASCII
        return "has control characters"
    segments = key.split("/")
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        return "has '.', '..' or nothing between its slashes"
    return "is empty" if whole and not key else ""


def _bucket(order: Order) -> Bucket:
    settings = {name: str(value) for name, value in order.settings.items()}
    region, prefix = settings["region"], settings.get("prefix", "")
    endpoint = settings.get("endpoint", f"https://s3.{region}.amazonaws.com")
    try:
        url = read_url(endpoint)
    except Refused as error:
        raise _invalid(f"endpoint: {error.message}") from error
    if problem := _problem(prefix, whole=False):
        raise _invalid(f"prefix {problem}")
    return Bucket(f"{url.scheme}://{url.authority}", region, settings["bucket"], prefix)


def _invalid(problem: str) -> RunFails:
    told = f"the setting {problem}; correct it and assemble again"
    return RunFails(Failure("SETTINGS_INVALID", told))


def _text(order: Order, name: str) -> str:
    value = order.arguments[name]
    assert isinstance(value, str), "arguments are valid under the schema"
    return value


def _number(value: JsonValue) -> int:
    # JSON Schema takes 1.0 for an integer.
    assert isinstance(value, int | float), "arguments and settings are valid under their schemas"
    return int(value)
