"""Values that leave: sealed to the key of a recipient (RFC 9180), unreadable in between."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from chassis.errors import InvalidField
from chassis.fields import require_match

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import ApiKey, LoadedKey, OAuth2Key
from .operation import Facts, fitting

RECIPIENT_KEY_BYTES = 32

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

_PURPOSE = re.compile(r"[!-~]{1,256}")
# Any private key will do for the test of a public one.
_PROBE = X25519PrivateKey.from_private_bytes(b"\x42" * RECIPIENT_KEY_BYTES)


@dataclass(frozen=True)
class Recipient:
    """Who may open; `key` is a raw X25519 public key."""

    key: bytes
    public: X25519PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.key) != RECIPIENT_KEY_BYTES:
            raise InvalidField(
                "recipient_key", f"has {len(self.key)} bytes; X25519 has {RECIPIENT_KEY_BYTES}"
            )
        public = X25519PublicKey.from_public_bytes(self.key)
        try:
            _PROBE.exchange(public)
        except ValueError:
            # A point of small order: everybody knows the secret that is shared with it.
            raise InvalidField("recipient_key", "is a key of small order") from None
        object.__setattr__(self, "public", public)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the key, hexadecimal."""
        return hashlib.sha256(self.key).hexdigest()


@dataclass(frozen=True)
class Release:
    """Hand a bearer value to a recipient; of OAuth 2 only the access token leaves."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.API_KEY, Kind.OAUTH2})
    name: ClassVar[str] = "release"

    purpose: str
    recipient_key: bytes
    _recipient: Recipient = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_match("purpose", self.purpose, _PURPOSE, example="models/openai")
        object.__setattr__(self, "_recipient", Recipient(self.recipient_key))

    def facts(self) -> Facts:
        return {"purpose": self.purpose, "recipient": self._recipient.fingerprint}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> bytes:
        """Return the value as an HPKE ciphertext of `release` and the purpose."""
        if isinstance(key, OAuth2Key):
            value = key.access_token.encode()
        else:
            value = fitting(key, ApiKey).value
        return seal_to(self._recipient, value, operation=self.name, binding=self.purpose)


def seal_to(recipient: Recipient, value: bytes, *, operation: str, binding: str) -> bytes:
    """Return the HPKE ciphertext; its randomness is that of the cryptographic library."""
    return SUITE.encrypt(value, recipient.public, sealing_info(operation, binding))


def sealing_info(operation: str, binding: str) -> bytes:
    """Return the `info` without which a sealed value does not open: what it was made for."""
    assert "\n" not in operation, "the line feed ends the operation"
    return f"actionvm/hpke/{operation}/v1\n{binding}".encode()
