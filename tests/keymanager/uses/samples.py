"""One key of every kind, and one use of every operation, for tests that go through all of them."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chassis import rlp
from keymanager.secret import Kind
from keymanager.signing import Purpose
from keymanager.uses.basic import BasicHeaders
from keymanager.uses.bearer import BearerHeaders, KeyHeader, KeyUrl
from keymanager.uses.envelopes import Decrypt, Encrypt, GenerateDataKey, Rewrap
from keymanager.uses.farcaster import SignFarcaster
from keymanager.uses.handover import Release
from keymanager.uses.jwt import CdpJwt, WalletJwt
from keymanager.uses.keys import LoadedKey, load_key
from keymanager.uses.macs import Algorithm, Hmac
from keymanager.uses.oauth1 import OAuth1Headers
from keymanager.uses.operation import Operation
from keymanager.uses.public import ShowPublicKey
from keymanager.uses.signatures import SignDigest, SignMessage
from keymanager.uses.sigv4 import AwsHeaders, AwsPresign
from keymanager.uses.smtp import SmtpLogin
from keymanager.uses.transactions import SignTransaction
from keymanager.uses.wallet import SignPersonalMessage, SignTypedData

ResultT = TypeVar("ResultT")

NOW = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)
URL = "https://api.example.com/v1/things?a=b"
RECIPIENT = X25519PrivateKey.from_private_bytes(bytes(range(32)))
RECIPIENT_KEY = RECIPIENT.public_key().public_bytes_raw()

# Every one of them contains what a search for a leak finds.
CANARY = "canary"
VALUES: dict[Kind, bytes] = {
    Kind.API_KEY: b"sk-canary-1234567890",
    Kind.ED25519: b"canary-ed25519-seed-of-32-bytes!",
    Kind.SECP256K1: b"canary-secp256k1-key-of-32-byte!",
    Kind.P256: b"canary-p256-key-that-has-32-byte",
    Kind.OAUTH1: json.dumps(
        {
            "consumer_key": "canary-ck",
            "consumer_secret": "canary-cs",
            "token": "canary-t",
            "token_secret": "canary-ts",
        }
    ).encode(),
    Kind.OAUTH2: json.dumps({"access_token": "canary-at", "refresh_token": "canary-rt"}).encode(),
    Kind.BASIC: json.dumps({"username": "canary-user", "password": "canary password"}).encode(),
    Kind.AWS: json.dumps(
        {"access_key_id": "AKIACANARY1234567890", "secret_access_key": "canary/secret+key"}
    ).encode(),
    Kind.HMAC: b"canary-hmac-secret",
    Kind.DATA: b"canary-data-key-that-is-32-bytes",
}

TYPED_DATA = json.dumps(
    {
        "types": {"Note": [{"name": "text", "type": "string"}]},
        "primaryType": "Note",
        "domain": {"name": "Notes", "chainId": 1},
        "message": {"text": "hello"},
    }
).encode()
TRANSACTION = b"\x02" + rlp.encode(
    (b"\x01", b"", b"\x01", b"\x02", b"\x52\x08", b"\x35" * 20, b"\x05", b"", ())
)
# type=CAST_ADD, fid=2, timestamp=1, network=MAINNET, cast_add_body={text: "gm"}
CAST = bytes.fromhex("08011002180120012a042202676d")


def key_of(kind: Kind) -> LoadedKey:
    """Return the sample key of a kind."""
    return load_key(kind, VALUES[kind])


def perform(
    operation: Operation[ResultT], key: LoadedKey, *, now: datetime = NOW, seed: int = 1
) -> ResultT:
    """Use a key with seeded dice."""
    return operation.perform(key, now=now, random_bytes=random.Random(seed).randbytes)


CIPHERTEXT = perform(Encrypt("collections/brand", b"hello"), key_of(Kind.DATA))

OPERATIONS: tuple[Operation[object], ...] = (
    AwsHeaders("GET", URL, "s3", "us-east-1", bytes(32)),
    AwsPresign("GET", URL, "s3", "us-east-1", 60),
    BasicHeaders("GET", URL),
    BearerHeaders("GET", URL),
    CdpJwt("GET", URL, "organizations/1/apiKeys/2"),
    Decrypt("collections/brand", CIPHERTEXT, RECIPIENT_KEY),
    Encrypt("collections/brand", b"hello"),
    GenerateDataKey("collections/brand", RECIPIENT_KEY),
    Hmac(Algorithm.SHA256, b"hello"),
    KeyHeader("GET", URL, "x-api-key"),
    KeyUrl("GET", "https://api.example.com/bot{key}/send"),
    OAuth1Headers("GET", URL),
    Release("models/openai", RECIPIENT_KEY),
    ShowPublicKey(),
    Rewrap("collections/brand", CIPHERTEXT),
    SignDigest(bytes(32)),
    SignFarcaster(CAST),
    SignMessage(Purpose.REQUEST, b"hello"),
    SignPersonalMessage(b"hello"),
    SignTransaction(TRANSACTION),
    SignTypedData(TYPED_DATA),
    SmtpLogin("smtps://mail.example.com:465"),
    WalletJwt("POST", URL, b'{"a":1}'),
)
