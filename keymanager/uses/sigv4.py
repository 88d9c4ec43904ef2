"""AWS Signature Version 4: of a request in its headers, or of a URL."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import quote

from chassis.errors import InvalidField
from chassis.fields import require_match, require_range

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import AwsKey, LoadedKey
from .operation import Facts, Headers, fitting
from .target import Target, escape, parse_target

HEADERS_MAX = 64
HEADER_CHARACTERS_MAX = 4 * 1024
EXPIRE_SECONDS_MAX = 7 * 24 * 3600

_ALGORITHM = "AWS4-HMAC-SHA256"
_DIGEST_BYTES = 32
_SERVICE = re.compile(r"[a-z0-9-]{1,64}")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_HEADER_NAME = re.compile(r"[a-z0-9-]{1,64}")
_HEADER_VALUE = re.compile(rf"[ -~]{{0,{HEADER_CHARACTERS_MAX}}}")
# Made here, or changed on the way.
_NOT_SIGNED = frozenset(
    {
        *("authorization", "connection", "expect", "host", "transfer-encoding", "user-agent"),
        *("x-amz-content-sha256", "x-amz-date", "x-amz-security-token", "x-amzn-trace-id"),
    }
)
# Their paths are encoded once, all others twice.
_ENCODED_ONCE = ("s3", "s3-object-lambda", "s3-outposts")
_UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_QUERY_PREFIX = "x-amz-"


@dataclass(frozen=True)
class AwsHeaders:
    """Authorize one request; `headers` are those to be signed besides the ones made here.

    An empty region is that of the key.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.AWS})
    name: ClassVar[str] = "sigv4"

    method: str
    url: str = field(repr=False)
    service: str
    region: str
    body_sha256: bytes = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", _parse(self.method, self.url, self.service, self.region))
        if len(self.body_sha256) != _DIGEST_BYTES:
            raise InvalidField("body_sha256", f"has {len(self.body_sha256)} bytes instead of 32")
        _check_headers(self.headers)

    def facts(self) -> Facts:
        """Name the action too where the protocol of the service has it outside of the body."""
        action = dict(self.headers).get("x-amz-target", "")
        return {**_facts(self.target, self.service, self.region), "x_amz_target": action}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> Headers:
        """Return the headers to add, good for some minutes."""
        aws, region = _fitting(key, self.region)
        time = _time(now)
        body_hash = self.body_sha256.hex()
        made = {"X-Amz-Date": time}
        if aws.session_token:
            made["X-Amz-Security-Token"] = aws.session_token
        if self.service in _ENCODED_ONCE:
            made["X-Amz-Content-Sha256"] = body_hash
        signed = {
            **dict(self.headers),
            **{name.lower(): value for name, value in made.items()},
            "host": self.target.host,
        }
        scope = _scope(time, region, self.service)
        request = _canonical_request(self.target, self.service, (), signed, body_hash)
        signature = _sign(aws, scope, time, request)
        made["Authorization"] = (
            f"{_ALGORITHM} Credential={aws.access_key_id}/{scope}, "
            f"SignedHeaders={';'.join(sorted(signed))}, Signature={signature}"
        )
        return Headers(made)


@dataclass(frozen=True)
class AwsPresign:
    """Make a URL with which anybody can do this one request, until it expires.

    An empty region is that of the key.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.AWS})
    name: ClassVar[str] = "sigv4-presign"

    method: str
    url: str = field(repr=False)
    service: str
    region: str
    expire_seconds: int
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", _parse(self.method, self.url, self.service, self.region))
        require_range("expire_seconds", self.expire_seconds, least=1, most=EXPIRE_SECONDS_MAX)

    def facts(self) -> Facts:
        facts = _facts(self.target, self.service, self.region)
        return {**facts, "expire_seconds": self.expire_seconds}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> str:
        """Return the URL; it is as good as a password until it expires."""
        aws, region = _fitting(key, self.region)
        time = _time(now)
        scope = _scope(time, region, self.service)
        made = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{aws.access_key_id}/{scope}",
            "X-Amz-Date": time,
            "X-Amz-Expires": str(self.expire_seconds),
            "X-Amz-SignedHeaders": "host",
        }
        if aws.session_token:
            made["X-Amz-Security-Token"] = aws.session_token
        is_storage = self.service in _ENCODED_ONCE
        body_hash = _UNSIGNED_PAYLOAD if is_storage else hashlib.sha256(b"").hexdigest()
        signed = {"host": self.target.host}
        added = tuple(made.items())
        request = _canonical_request(self.target, self.service, added, signed, body_hash)
        query = _query((*self.target.parameters, *added))
        signature = _sign(aws, scope, time, request)
        return f"{self.target.base_url}?{query}&X-Amz-Signature={signature}"


def _parse(method: str, url: str, service: str, region: str) -> Target:
    target = parse_target(method, url)
    require_match("service", service, _SERVICE, example="s3")
    if region:
        require_match("region", region, _REGION, example="us-east-1")
    names = [name.lower() for name, _ in target.parameters]
    if any(name.startswith(_QUERY_PREFIX) for name in names):
        raise InvalidField("url", "has a parameter X-Amz-…, which is made here")
    if names.count("action") > 1:
        raise InvalidField("url", "has more than one Action")
    return target


def _facts(target: Target, service: str, region: str) -> Facts:
    """Return what is to be decided upon; the region of a key is no part of the request."""
    action = {name.lower(): value for name, value in target.parameters}.get("action", "")
    place = {"region": region} if region else {}
    return {**target.facts(), "service": service, **place, "action": action}


def _check_headers(headers: Sequence[tuple[str, str]]) -> None:
    if len(headers) > HEADERS_MAX:
        raise InvalidField("headers", f"has more than {HEADERS_MAX} of them")
    seen = set[str]()
    for index, (name, value) in enumerate(headers):
        if not _HEADER_NAME.fullmatch(name) or name in _NOT_SIGNED or name in seen:
            problem = "is not in lower case, is made here, changes on the way, or is there twice"
            raise InvalidField(f"headers[{index}].name", problem)
        if not _HEADER_VALUE.fullmatch(value):
            raise InvalidField(f"headers[{index}].value", "is too long, or not printable ASCII")
        seen.add(name)


def _fitting(key: LoadedKey, region: str) -> tuple[AwsKey, str]:
    aws = fitting(key, AwsKey)
    if not (region or aws.region):
        raise InvalidField("region", "is required, such as us-east-1: the key is for all of them")
    if region and aws.region not in ("", region):
        raise InvalidField("region", "is not the one that the key is for")
    return aws, region or aws.region


def _time(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _scope(time: str, region: str, service: str) -> str:
    return f"{time[:8]}/{region}/{service}/aws4_request"


def _query(parameters: Sequence[tuple[str, str]]) -> str:
    pairs = sorted((escape(name), escape(value)) for name, value in parameters)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _canonical_request(
    target: Target,
    service: str,
    added: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    body_hash: str,
) -> str:
    path = target.path if service in _ENCODED_ONCE else quote(target.path, safe="/~")
    lines = [f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers)]
    query = _query((*target.parameters, *added))
    names = ";".join(sorted(headers))
    return "\n".join((target.method, path, query, "".join(lines), names, body_hash))


def _sign(aws: AwsKey, scope: str, time: str, request: str) -> str:
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{aws.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"{_ALGORITHM}\n{time}\n{scope}\n{digest}"
    return hmac.digest(key, text.encode(), "sha256").hex()
