"""Tokens of the Coinbase Developer Platform say for which request they are, and who made them."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.uses.jwt import CdpJwt, WalletJwt
from keymanager.uses.keys import Ed25519Key, P256Key

from .samples import NOW, key_of, perform

URL = "https://api.cdp.coinbase.com/platform/v2/evm/accounts?pageSize=2"
URI = "api.cdp.coinbase.com/platform/v2/evm/accounts"
KEY_ID = "organizations/11111111-2222/apiKeys/33333333-4444"
TIME = int(NOW.timestamp())


def decoded(part: str) -> bytes:
    """Return what is in a part of a token."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def opened(kind: Kind, token: str) -> tuple[dict[str, object], dict[str, object]]:
    """Return header and claims of a token, after its signature was checked."""
    key = key_of(kind)
    assert "=" not in token
    header, claims, signature = token.split(".")
    content = f"{header}.{claims}".encode()
    if isinstance(key, Ed25519Key):
        key.private.public_key().verify(decoded(signature), content)
    else:
        assert isinstance(key, P256Key)
        r, s = (int.from_bytes(decoded(signature)[at : at + 32]) for at in (0, 32))
        public = key.private.public_key()
        public.verify(encode_dss_signature(r, s), content, ec.ECDSA(SHA256()))
    return json.loads(decoded(header)), json.loads(decoded(claims))


@pytest.mark.parametrize(("kind", "algorithm"), [(Kind.ED25519, "EdDSA"), (Kind.P256, "ES256")])
def test_a_token_is_for_one_request_and_two_minutes(kind: Kind, algorithm: str) -> None:
    headers = perform(CdpJwt("GET", URL, KEY_ID), key_of(kind)).values
    scheme, _, token = headers["Authorization"].partition(" ")
    header, claims = opened(kind, token)
    nonce = header.pop("nonce")
    assert scheme == "Bearer"
    assert isinstance(nonce, str)
    assert len(nonce) == 32
    assert header == {"alg": algorithm, "kid": KEY_ID, "typ": "JWT"}
    assert claims == {
        "iss": "cdp",
        "sub": KEY_ID,
        "iat": TIME,
        "nbf": TIME,
        "exp": TIME + 120,
        "uri": f"GET {URI}",
        "uris": [f"GET {URI}"],
    }


def test_the_facts_are_the_request_and_the_key() -> None:
    assert CdpJwt("GET", URL, KEY_ID).facts() == {
        "method": "GET",
        "host": "api.cdp.coinbase.com",
        "path": "/platform/v2/evm/accounts",
        "key_id": KEY_ID,
    }


def test_a_changed_token_is_not_valid() -> None:
    token = perform(CdpJwt("GET", URL, KEY_ID), key_of(Kind.ED25519)).values["Authorization"]
    header, claims, signature = token.removeprefix("Bearer ").split(".")
    other = base64.urlsafe_b64encode(decoded(claims).replace(b"GET", b"PUT")).decode().rstrip("=")
    with pytest.raises(InvalidSignature):
        opened(Kind.ED25519, f"{header}.{other}.{signature}")


def test_a_token_of_the_wallet_has_the_hash_of_the_sorted_body() -> None:
    body = '{"b": [1, {"d": 1.50, "c": null}], "a": "\u00e9"}'.encode()
    headers = perform(WalletJwt("POST", URL, body), key_of(Kind.P256)).values
    header, claims = opened(Kind.P256, headers["X-Wallet-Auth"])
    # What JSON.stringify writes of the same object with sorted members.
    canonical = '{"a":"\u00e9","b":[1,{"c":null,"d":1.5}]}'.encode()
    assert header == {"alg": "ES256", "typ": "JWT"}
    assert str(claims.pop("jti"))[14] == "4"
    assert claims == {
        "iat": TIME,
        "nbf": TIME,
        "uris": [f"POST {URI}"],
        "reqHash": hashlib.sha256(canonical).hexdigest(),
    }


@pytest.mark.parametrize("body", [b"", b"{}"], ids=["none", "empty"])
def test_a_request_without_a_body_has_no_hash(body: bytes) -> None:
    headers = perform(WalletJwt("DELETE", URL, body), key_of(Kind.P256)).values
    assert "reqHash" not in opened(Kind.P256, headers["X-Wallet-Auth"])[1]


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"[]",
        b"1",
        b'{"a":1,"a":2}',
        b'{"a":9007199254740993}',
        b'{"a":1e999}',
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b'{"a":"' + b"b" * 65_536 + b'"}',
        b'{"a":' * 40 + b"1" + b"}" * 40,
    ],
)
def test_a_body_that_has_no_one_hash_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidField, match="body"):
        WalletJwt("POST", URL, body)


@pytest.mark.parametrize("key_id", ["", "a b", 'a"', "a\n", "\u00e9", "a" * 257])
def test_the_id_of_a_key_is_plain(key_id: str) -> None:
    with pytest.raises(InvalidField, match="key_id"):
        CdpJwt("GET", URL, key_id)
