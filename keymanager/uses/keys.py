"""Keys that are ready for use: parsed and checked once, so that a use costs no parsing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, TypeAlias

import coincurve
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chassis.errors import InvalidField

from ..sealing import RandomBytes
from ..secret import Kind
from .ethereum import address_of
from .values import HMAC_BYTES, KEY_BYTES, is_scalar, normalise


@dataclass(frozen=True, eq=False)
class LoadedKey:
    """A key of some kind; none of its secret parts is in its `repr`."""

    kind: ClassVar[Kind]


@dataclass(frozen=True, eq=False)
class ApiKey(LoadedKey):
    kind: ClassVar[Kind] = Kind.API_KEY
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class PublicKey:
    """The half of a key that everybody may see; `address` is for Ethereum only."""

    algorithm: str
    value: bytes
    address: str = ""


@dataclass(frozen=True, eq=False)
class Ed25519Key(LoadedKey):
    kind: ClassVar[Kind] = Kind.ED25519
    private: Ed25519PrivateKey = field(repr=False)

    @cached_property
    def public(self) -> PublicKey:
        """The public key, 32 raw bytes."""
        return PublicKey("ed25519", self.private.public_key().public_bytes_raw())


@dataclass(frozen=True, eq=False)
class Secp256k1Key(LoadedKey):
    """`address` is the Ethereum address in lower case."""

    kind: ClassVar[Kind] = Kind.SECP256K1
    private: coincurve.PrivateKey = field(repr=False)
    address: str

    @cached_property
    def public(self) -> PublicKey:
        """The public key, an uncompressed point of 65 bytes."""
        point = self.private.public_key.format(compressed=False)
        return PublicKey("secp256k1", point, self.address)


@dataclass(frozen=True, eq=False)
class P256Key(LoadedKey):
    kind: ClassVar[Kind] = Kind.P256
    private: ec.EllipticCurvePrivateKey = field(repr=False)

    @cached_property
    def public(self) -> PublicKey:
        """The public key, an uncompressed point of 65 bytes."""
        public = self.private.public_key()
        return PublicKey("p256", public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


@dataclass(frozen=True, eq=False)
class OAuth1Key(LoadedKey):
    kind: ClassVar[Kind] = Kind.OAUTH1
    consumer_key: str = field(repr=False)
    consumer_secret: str = field(repr=False)
    token: str = field(repr=False)
    token_secret: str = field(repr=False)


@dataclass(frozen=True, eq=False)
class OAuth2Key(LoadedKey):
    """What was not given is empty."""

    kind: ClassVar[Kind] = Kind.OAUTH2
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    token_type: str = field(default="", repr=False)
    expire_time: str = field(default="", repr=False)
    client_id: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)
    token_url: str = field(default="", repr=False)


@dataclass(frozen=True, eq=False)
class BasicKey(LoadedKey):
    kind: ClassVar[Kind] = Kind.BASIC
    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, eq=False)
class AwsKey(LoadedKey):
    """A key with a region works in that region only; one without works in all."""

    kind: ClassVar[Kind] = Kind.AWS
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    region: str = field(default="", repr=False)


@dataclass(frozen=True, eq=False)
class HmacKey(LoadedKey):
    kind: ClassVar[Kind] = Kind.HMAC
    value: bytes = field(repr=False)


@dataclass(frozen=True, eq=False)
class DataKey(LoadedKey):
    """The newest version encrypts; every one that is still there decrypts."""

    kind: ClassVar[Kind] = Kind.DATA
    versions: Mapping[int, bytes] = field(repr=False)

    def joined(self, other: DataKey) -> DataKey:
        """Return a key that also opens what the other one made."""
        return DataKey({**other.versions, **self.versions})


_Structured: TypeAlias = type[OAuth1Key] | type[OAuth2Key] | type[BasicKey] | type[AwsKey]
_STRUCTURED: Mapping[Kind, _Structured] = {
    Kind.OAUTH1: OAuth1Key,
    Kind.OAUTH2: OAuth2Key,
    Kind.BASIC: BasicKey,
    Kind.AWS: AwsKey,
}

# A generator that fails this often is broken: each try fails with a chance of 2^-32 at most.
_TRIES_MAX = 16


def load_key(kind: Kind, value: bytes, *, version: int = 1) -> LoadedKey:
    """Parse a stored value; `version` is the one of the secret, which `DATA` writes into texts."""
    content = normalise(kind, value)
    if kind in _STRUCTURED:
        return _STRUCTURED[kind](**json.loads(content))
    match kind:
        case Kind.ED25519:
            return Ed25519Key(Ed25519PrivateKey.from_private_bytes(content))
        case Kind.SECP256K1:
            private = coincurve.PrivateKey(content)
            return Secp256k1Key(private, address_of(private.public_key))
        case Kind.P256:
            return P256Key(ec.derive_private_key(int.from_bytes(content), ec.SECP256R1()))
        case Kind.HMAC:
            return HmacKey(content)
        case Kind.DATA:
            assert version >= 1, "versions of a secret count from 1"
            return DataKey({version: content})
    assert kind is Kind.API_KEY, "every kind is listed here"
    return ApiKey(content)


def generate(kind: Kind, random_bytes: RandomBytes) -> bytes:
    """Make a value that nobody ever sees."""
    if kind in (Kind.ED25519, Kind.DATA):
        return random_bytes(KEY_BYTES)
    if kind is Kind.HMAC:
        return random_bytes(HMAC_BYTES)
    if kind not in (Kind.SECP256K1, Kind.P256):
        raise InvalidField("generate", "is only for keys that sign or encrypt; send the value")
    for _ in range(_TRIES_MAX):
        value = random_bytes(KEY_BYTES)
        if is_scalar(kind, value):
            return value
    raise AssertionError("the random generator is broken")


# Those of which one half may be known.
PUBLIC_KINDS = frozenset({Kind.ED25519, Kind.SECP256K1, Kind.P256})


def public_key_of(key: LoadedKey) -> PublicKey:
    """Return the public half of a key; `InvalidField` if it has none."""
    if isinstance(key, Ed25519Key | Secp256k1Key | P256Key):
        return key.public
    raise InvalidField("key", f"is of kind {key.kind.name.lower()}, which has no public key")
