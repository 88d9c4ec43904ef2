"""Sealed storage: every version of a secret under a data key of its own, that key under the root.

Both layers are AES-256-GCM with random 96-bit nonces. NIST SP 800-38D allows 2^32 of these under
one key: a data key encrypts once, and the wrapping key wraps once for each version of each secret.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import SealBroken
from .secret import Secret

# `os.urandom`, or the bytes of a seeded generator in a simulation.
RandomBytes: TypeAlias = Callable[[int], bytes]

KEY_BYTES = 32
NONCE_BYTES = 12

_FORMAT = b"actionvm/keymanager/seal/v1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RootKey:
    """The one key that lies outside of the database; all others hang on it."""

    def __init__(self, content: bytes) -> None:
        assert len(content) == KEY_BYTES, "a root key has 32 bytes"
        self.wrapping = AESGCM(_derive(content, b"wrap"))
        self._tagging = _derive(content, b"tag")

    def tag(self, content: bytes) -> bytes:
        """Return a keyed hash, which tells nothing about the content without the root key."""
        return hmac.digest(self._tagging, content, "sha256")


@dataclass(frozen=True)
class SealedSecret:
    """A secret as it is stored; nobody can change a part of it without breaking the seal."""

    secret: Secret
    wrapped_key: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


def seal(root: RootKey, secret: Secret, value: bytes, random_bytes: RandomBytes) -> SealedSecret:
    """Encrypt a value under a fresh data key, bound to everything that is known about it."""
    data_key = random_bytes(KEY_BYTES)
    bound = _associated_data(secret)
    return SealedSecret(
        secret=secret,
        wrapped_key=_encrypt(root.wrapping, data_key, bound, random_bytes(NONCE_BYTES)),
        ciphertext=_encrypt(AESGCM(data_key), value, bound, random_bytes(NONCE_BYTES)),
    )


def unseal(root: RootKey, sealed: SealedSecret) -> bytes:
    """Return the value, or raise `SealBroken` if one bit of the row is not what was sealed."""
    cipher = AESGCM(_unwrap(root, sealed))
    bound = _associated_data(sealed.secret)
    return _decrypt(cipher, sealed.ciphertext, bound, name=sealed.secret.name)


def authenticate(root: RootKey, sealed: SealedSecret) -> Secret:
    """Return what is known about a secret, checked without decrypting its value."""
    _unwrap(root, sealed)
    return sealed.secret


def length_prefixed(*parts: bytes) -> bytes:
    """Join parts so that no other parts give the same bytes."""
    return b"".join(
        tag.to_bytes(1) + len(part).to_bytes(4) + part for tag, part in enumerate(parts, start=1)
    )


def to_microseconds(time: datetime) -> int:
    """Return the exact number of microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """Return the time; far away from the present it is an `OverflowError`."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _associated_data(secret: Secret) -> bytes:
    return length_prefixed(
        _FORMAT,
        secret.name.encode(),
        str(secret.version).encode(),
        str(int(secret.kind)).encode(),
        str(to_microseconds(secret.create_time)).encode(),
        str(to_microseconds(secret.rotate_time)).encode(),
    )


def _unwrap(root: RootKey, sealed: SealedSecret) -> bytes:
    bound = _associated_data(sealed.secret)
    return _decrypt(root.wrapping, sealed.wrapped_key, bound, name=sealed.secret.name)


def _encrypt(cipher: AESGCM, plaintext: bytes, bound: bytes, nonce: bytes) -> bytes:
    return nonce + cipher.encrypt(nonce, plaintext, bound)


def _decrypt(cipher: AESGCM, content: bytes, bound: bytes, *, name: str) -> bytes:
    nonce, ciphertext = content[:NONCE_BYTES], content[NONCE_BYTES:]
    try:
        return cipher.decrypt(nonce, ciphertext, bound)
    except (InvalidTag, ValueError) as error:  # ValueError: cut so short that the nonce is damaged
        raise SealBroken(name) from error


def _derive(root: bytes, purpose: bytes) -> bytes:
    info = b"actionvm/keymanager/" + purpose + b"/v1"
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(root)
