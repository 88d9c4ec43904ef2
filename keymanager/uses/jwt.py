"""JSON Web Tokens of the Coinbase Developer Platform, each for one request."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

import rfc8785

from chassis.canonical import Json, canonical_json, sha256_hex
from chassis.errors import InvalidField
from chassis.fields import require_match, require_size

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import Ed25519Key, LoadedKey, P256Key
from .operation import Facts, Headers, fitting
from .signatures import Encoding, sign_p256
from .strictjson import Value, parse_json
from .target import Target, parse_target

SECONDS = 120
BODY_BYTES_MAX = 64 * 1024

_KEY_ID = re.compile(r"[A-Za-z0-9/_-]{1,256}")
_NONCE_BYTES = 16


@dataclass(frozen=True)
class CdpJwt:
    """Authorize one request with an API key; `key_id` is what the platform calls the key."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.ED25519, Kind.P256})
    name: ClassVar[str] = "jwt"

    method: str
    url: str = field(repr=False)
    key_id: str
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        require_match(
            "key_id", self.key_id, _KEY_ID, example="8f6c1a6e-3c8e-4f3e-9d0b-6b0f3f6a2c11"
        )
        object.__setattr__(self, "target", parse_target(self.method, self.url))

    def facts(self) -> Facts:
        return {**self.target.facts(), "key_id": self.key_id}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> Headers:
        """Return the `Authorization` header, good for two minutes."""
        algorithm = "EdDSA" if isinstance(key, Ed25519Key) else "ES256"
        header = {
            "alg": algorithm,
            "kid": self.key_id,
            "typ": "JWT",
            "nonce": random_bytes(_NONCE_BYTES).hex(),
        }
        time = int(now.timestamp())
        uri = _uri(self.target)
        claims: Mapping[str, Json] = {
            "iss": "cdp",
            "sub": self.key_id,
            "iat": time,
            "nbf": time,
            "exp": time + SECONDS,
            # Older APIs of the platform read `uri`, newer ones `uris`; who knows one ignores the
            # other (RFC 7519, section 4).
            "uri": uri,
            "uris": [uri],
        }
        return Headers({"Authorization": f"Bearer {_token(key, header, claims)}"})


@dataclass(frozen=True)
class WalletJwt:
    """Authorize a request that moves funds with the wallet secret; `body` is its JSON or empty."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.P256})
    name: ClassVar[str] = "wallet-jwt"

    method: str
    url: str = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    target: Target = field(init=False)
    _body_hash: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", parse_target(self.method, self.url))
        object.__setattr__(self, "_body_hash", _body_hash(self.body))

    def facts(self) -> Facts:
        return self.target.facts()

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> Headers:
        """Return the `X-Wallet-Auth` header."""
        signing = fitting(key, P256Key)
        time = int(now.timestamp())
        claims: dict[str, Json] = {
            "iat": time,
            "nbf": time,
            "jti": str(uuid.UUID(bytes=random_bytes(_NONCE_BYTES), version=4)),
            "uris": [_uri(self.target)],
        }
        if self._body_hash:
            claims["reqHash"] = self._body_hash
        return Headers({"X-Wallet-Auth": _token(signing, {"alg": "ES256", "typ": "JWT"}, claims)})


def _uri(target: Target) -> str:
    return f"{target.method} {target.host}{target.path}"


def _token(key: LoadedKey, header: Mapping[str, Json], claims: Mapping[str, Json]) -> str:
    signed = b".".join(_base64(canonical_json(part)) for part in (header, claims))
    if isinstance(key, Ed25519Key):
        signature = key.private.sign(signed)
    else:
        signature = sign_p256(fitting(key, P256Key), signed, Encoding.P1363)
    return b".".join((signed, _base64(signature))).decode()


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def _body_hash(body: bytes) -> str:
    """Return the hash of the body with sorted members; an object without any has none."""
    if not body:
        return ""
    require_size("body", body, size_max=BODY_BYTES_MAX)
    content: Value = parse_json("body", body)
    if not isinstance(content, dict):
        raise InvalidField("body", "is no JSON object")
    try:
        # RFC 8785 is what `JSON.stringify` writes once the members are sorted.
        return sha256_hex(canonical_json(content)) if content else ""
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raise InvalidField("body", "has a number beyond 2^53 or half of a surrogate pair") from None
