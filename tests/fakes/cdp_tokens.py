"""Tokens of Coinbase CDP: made as the key manager makes them, and checked as CDP says that it does.

https://docs.cdp.coinbase.com/api-reference/v2/authentication
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from keymanager.secret import Kind
from keymanager.uses.jwt import CdpJwt, WalletJwt
from keymanager.uses.keys import load_key
from runtime.ports import WebRequest

KEY_ID, ECDSA_KEY_ID = "organizations/1/apiKeys/1", "organizations/1/apiKeys/2"
# What would be sent if a key were, not a signature by it.
SECRETS = {
    "api": b"canary-cdp-api-key-of-32-bytes-!",
    "ecdsa": b"canary-cdp-ecdsa-key-of-32-byte!",
    "wallet": b"canary-cdp-wallet-secret-32-byte",
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS_MAX = 120

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
_DICE = random.Random(1)


def public_keys() -> dict[str, PublicKey]:
    """Return the keys that CDP knows, by their names there; that of the wallet is `wallet`."""
    return {
        KEY_ID: Ed25519PrivateKey.from_private_bytes(SECRETS["api"]).public_key(),
        ECDSA_KEY_ID: _p256(SECRETS["ecdsa"]).public_key(),
        "wallet": _p256(SECRETS["wallet"]).public_key(),
    }


def cdp_headers(request: WebRequest) -> dict[str, str]:
    """Return the headers that the key manager gives for a request."""
    # It takes no other plain HTTP than of this machine, and tokens do not name the scheme.
    url = request.url.replace("http://", "https://", 1)
    if request.scheme == "cdp_wallet":
        wallet = WalletJwt(request.method, url, request.body_json.encode())
        key = load_key(Kind.P256, SECRETS["wallet"])
        headers = wallet.perform(key, now=NOW, random_bytes=_DICE.randbytes)
    else:
        api = CdpJwt(request.method, url, request.key_id)
        kind, name = Kind.ED25519, "api"
        if request.key_id == ECDSA_KEY_ID:
            kind, name = Kind.P256, "ecdsa"
        headers = api.perform(load_key(kind, SECRETS[name]), now=NOW, random_bytes=_DICE.randbytes)
    return dict(headers.values)


@dataclass
class Doorkeeper:
    """Says what is wrong with the tokens of a request; a wallet token opens once."""

    keys: Mapping[str, PublicKey] = field(default_factory=public_keys)
    now: Callable[[], datetime] = lambda: NOW
    _seen: set[str] = field(default_factory=set)

    def problem(
        self, method: str, where: str, headers: Mapping[str, str], body: bytes, *, is_wallet: bool
    ) -> str:
        """Return it; empty if there is none. `where` is host and path."""
        uri = f"{method} {where}"
        try:
            self._check_api(headers.get("authorization", ""), uri)
            if is_wallet:
                self._check_wallet(headers.get("x-wallet-auth", ""), uri, body)
        except (ValueError, KeyError, InvalidSignature) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _check_api(self, text: str, uri: str) -> None:
        scheme, _, token = text.partition(" ")
        header, claims = self._opened(token, "")
        self._require_time(claims)
        _require(scheme == "Bearer", "the scheme")
        _require((claims["iss"], claims["sub"]) == ("cdp", header["kid"]), "who asks")
        _require(len(header["nonce"]) >= 16, "the nonce")
        _require(uri == claims["uri"], "the request")

    def _check_wallet(self, token: str, uri: str, body: bytes) -> None:
        _, claims = self._opened(token, "wallet")
        self._require_time(claims)
        _require(claims["uris"] == [uri], "the request")
        content = json.loads(body or b"{}")
        sorted_body = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(sorted_body.encode()).hexdigest() if content else None
        _require(claims.get("reqHash") == digest, "the hash of the body")
        _require(claims["jti"] not in self._seen, "a token that was shown before")
        self._seen.add(claims["jti"])

    def _opened(self, token: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        header_text, claims_text, signature = token.split(".")
        header = json.loads(_bytes(header_text))
        key = self.keys[name or header["kid"]]
        signed = f"{header_text}.{claims_text}".encode()
        if isinstance(key, Ed25519PublicKey):
            _require(header["alg"] == "EdDSA", "the algorithm")
            key.verify(_bytes(signature), signed)
        else:
            _require(header["alg"] == "ES256", "the algorithm")
            r, s = (int.from_bytes(_bytes(signature)[at : at + 32]) for at in (0, 32))
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))
        return header, json.loads(_bytes(claims_text))

    def _require_time(self, claims: Mapping[str, Any]) -> None:
        now = self.now().timestamp()
        begins, issued = claims["nbf"], claims["iat"]
        _require(begins <= now < issued + SECONDS_MAX, "the time")
        _require(claims.get("exp", now + 1) > now, "the time")


def _p256(secret: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret), ec.SECP256R1())


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _require(is_right: object, what: str) -> None:
    if not is_right:
        raise ValueError(f"{what} is wrong")
