"""Plain signatures: of messages under a prefix of ours, and blindly of digests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from chassis.errors import InvalidField
from chassis.fields import require_size

from ..sealing import RandomBytes
from ..secret import Kind
from ..signing import Purpose, signed_bytes
from .ethereum import DIGEST_BYTES, sign_recoverable
from .keys import Ed25519Key, LoadedKey, P256Key, Secp256k1Key
from .operation import Facts, fitting

MESSAGE_BYTES_MAX = 64 * 1024

_COORDINATE_BYTES = 32


class Encoding(Enum):
    """How an ECDSA signature is written; Ed25519 has one form only."""

    DER = "der"
    # r and s, 32 bytes each, as JWT and WebCrypto have it.
    P1363 = "p1363"


@dataclass(frozen=True)
class SignMessage:
    """Sign a message under the prefix of a purpose, with Ed25519 or ECDSA P-256 SHA-256."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.ED25519, Kind.P256})
    name: ClassVar[str] = "sign-message"

    purpose: Purpose
    message: bytes = field(repr=False)
    encoding: Encoding = Encoding.DER

    def __post_init__(self) -> None:
        require_size("message", self.message, size_max=MESSAGE_BYTES_MAX)

    def facts(self) -> Facts:
        return {"purpose": self.purpose.value, "message_bytes": len(self.message)}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> bytes:
        """Return the signature."""
        content = signed_bytes(self.purpose, self.message)
        if isinstance(key, Ed25519Key):
            return key.private.sign(content)
        return sign_p256(fitting(key, P256Key), content, self.encoding)


@dataclass(frozen=True)
class SignDigest:
    """Sign 32 bytes that nobody can read: whoever may do this has the whole key."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.SECP256K1})
    name: ClassVar[str] = "sign-digest"

    digest: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.digest) != DIGEST_BYTES:
            raise InvalidField(
                "digest", f"has {len(self.digest)} bytes; a digest has {DIGEST_BYTES}"
            )

    def facts(self) -> Facts:
        return {}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> bytes:
        """Return r, s in the lower half, and the recovery id (0 or 1): 65 bytes."""
        pair, recovery_id = sign_recoverable(fitting(key, Secp256k1Key).private, self.digest)
        return pair + bytes([recovery_id])


def sign_p256(key: P256Key, content: bytes, encoding: Encoding) -> bytes:
    """Return a deterministic signature (RFC 6979): no bad dice can give the key away."""
    signature = key.private.sign(content, ec.ECDSA(SHA256(), deterministic_signing=True))
    if encoding is Encoding.DER:
        return signature
    r, s = decode_dss_signature(signature)
    return r.to_bytes(_COORDINATE_BYTES) + s.to_bytes(_COORDINATE_BYTES)
