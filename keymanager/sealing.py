"""Sealed storage: epoch key -> tenant keys -> data keys, and what each ciphertext is bound to.

Values are encrypted with AES-256-GCM under a data key that encrypts once. Keys are wrapped with
AES-256-GCM-SIV, which keeps its promise also where a nonce repeats: a wrapping key is used often,
and a machine that was cloned has the same dice. Neither cipher commits to its key, so a commitment
lies beside each wrapped key and is checked before the key is used.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import SealBroken

# `os.urandom`, or the bytes of a seeded generator in a simulation.
RandomBytes: TypeAlias = Callable[[int], bytes]

KEY_BYTES = 32
NONCE_BYTES = 12
MAC_BYTES = 32
# Of SHA-256, to which HMAC fills a key up.
_BLOCK_BYTES = 64
EPOCH_BYTES = 8

_FORMAT = b"actionvm/keymanager/seal/v2"
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Binding:
    """The one version of the one secret that a value and its data key are for."""

    tenant: str
    secret_id: bytes
    name: str
    kind: int
    version: int
    create_microseconds: int

    def data(self, purpose: bytes, *parts: bytes | str | int) -> bytes:
        """Return associated data; nothing else has the same."""
        return encode(
            _FORMAT,
            purpose,
            self.tenant,
            self.secret_id,
            self.name,
            self.kind,
            self.version,
            self.create_microseconds,
            *parts,
        )


class MacKey:
    """A key of HMAC-SHA256 (RFC 2104), begun once.

    `hmac.digest` begins anew each time, and gives the interpreter's lock away, for which it then
    waits if another thread works.
    """

    def __init__(self, key: bytes) -> None:
        assert len(key) <= _BLOCK_BYTES, "longer keys would have to be hashed first"
        block = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, content: bytes) -> bytes:
        """Return the 32 bytes of the MAC."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(content)
        outer.update(inner.digest())
        return outer.digest()


class EpochKey:
    """The random key on which everything hangs; the platform seals it, and a rotation ends it."""

    def __init__(self, epoch: bytes, content: bytes) -> None:
        assert len(content) == KEY_BYTES, "an epoch key has 32 bytes"
        self.epoch = epoch
        self.wrapping = AESGCMSIV(derive(content, b"wrap"))
        self._row_mac = MacKey(derive(content, b"row"))
        self._sum_mac = MacKey(derive(content, b"sum"))
        self._anchor_mac = MacKey(derive(content, b"anchor"))

    def row_mac(self, content: bytes) -> bytes:
        """Return what stands at the end of a row of this epoch."""
        return self._row_mac.digest(content)

    def addend(self, content: bytes) -> int:
        """Return the share of a row in the sum over all rows; nobody else can compute it."""
        return int.from_bytes(self._sum_mac.digest(content))

    def anchor_mac(self, content: bytes) -> bytes:
        """Return what makes an anchor authentic."""
        return self._anchor_mac.digest(content)


class TenantKey:
    """Wraps the data keys of one tenant."""

    def __init__(self, tenant: str, generation: int, epoch: bytes, content: bytes) -> None:
        self.tenant = tenant
        self.generation = generation
        self.epoch = epoch
        self.wrapping = AESGCMSIV(content)


@dataclass(frozen=True)
class WrappedKey:
    """A key as it is stored: always as many bytes, so that it can be overwritten in its place."""

    generation: int
    wrapped: bytes = field(repr=False)
    commitment: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        return _WRAPPED.pack(self.generation, self.wrapped, self.commitment)

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str) -> WrappedKey:
        """Return the key that was stored; destroyed ones are `SealBroken`, as are all others."""
        if len(content) != WRAPPED_BYTES:
            raise SealBroken(name)
        return cls(*_WRAPPED.unpack(content))


_WRAPPED = struct.Struct(f">Q{NONCE_BYTES + KEY_BYTES + 16}s{MAC_BYTES}s")
WRAPPED_BYTES = _WRAPPED.size
DESTROYED = bytes(WRAPPED_BYTES)


def wrap_tenant_key(
    epoch: EpochKey, tenant: str, generation: int, content: bytes, random_bytes: RandomBytes
) -> WrappedKey:
    """Wrap a tenant key under an epoch key."""
    bound = encode(_FORMAT, b"tenant-key", tenant, generation, epoch.epoch)
    return _wrap(epoch.wrapping, generation, content, bound, random_bytes(NONCE_BYTES))


def unwrap_tenant_key(epoch: EpochKey, tenant: str, wrapped: WrappedKey) -> TenantKey:
    """Return a tenant key, or raise `SealBroken`."""
    bound = encode(_FORMAT, b"tenant-key", tenant, wrapped.generation, epoch.epoch)
    content = _unwrap(epoch.wrapping, wrapped, bound, name=tenant)
    return TenantKey(tenant, wrapped.generation, epoch.epoch, content)


def wrap_data_key(
    key: TenantKey, binding: Binding, content: bytes, random_bytes: RandomBytes
) -> WrappedKey:
    """Wrap a data key under the key of its tenant."""
    bound = binding.data(b"data-key", key.epoch, key.generation)
    return _wrap(key.wrapping, key.generation, content, bound, random_bytes(NONCE_BYTES))


def unwrap_data_key(key: TenantKey, binding: Binding, wrapped: WrappedKey) -> bytes:
    """Return a data key, or raise `SealBroken`."""
    bound = binding.data(b"data-key", key.epoch, wrapped.generation)
    return _unwrap(key.wrapping, wrapped, bound, name=binding.name)


def seal_value(data_key: bytes, binding: Binding, value: bytes, random_bytes: RandomBytes) -> bytes:
    """Encrypt a value; a data key does this once."""
    nonce = random_bytes(NONCE_BYTES)
    return nonce + AESGCM(data_key).encrypt(nonce, value, binding.data(b"value"))


def open_value(data_key: bytes, binding: Binding, sealed: bytes) -> bytes:
    """Return the value, or raise `SealBroken` if one bit is not what was sealed."""
    return _decrypt(AESGCM(data_key), sealed, binding.data(b"value"), name=binding.name)


def encode(*parts: bytes | str | int) -> bytes:
    """Join parts so that no other parts, also of other types, give the same bytes."""
    encoded = b""
    for part in parts:
        if isinstance(part, str):
            # What somebody wrote into a file may be text that UTF-8 cannot hold.
            mark, content = b"s", part.encode("utf-8", "surrogatepass")
        elif isinstance(part, bytes):
            mark, content = b"b", part
        else:
            mark, content = b"i", b"%d" % part
        encoded += _PART.pack(mark, len(content)) + content
    return encoded


_PART = struct.Struct(">cI")


def derive(content: bytes, purpose: bytes) -> bytes:
    """Return a key for one purpose."""
    info = b"actionvm/keymanager/" + purpose + b"/v1"
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(content)


def to_microseconds(time: datetime) -> int:
    """Return the exact number of microseconds since 1970."""
    return (time - _BEGINNING) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """Return the time; far away from the present it is an `OverflowError`."""
    return _BEGINNING + timedelta(microseconds=microseconds)


def _wrap(
    cipher: AESGCMSIV, generation: int, content: bytes, bound: bytes, nonce: bytes
) -> WrappedKey:
    commitment = derive(content, b"commit")
    wrapped = nonce + cipher.encrypt(nonce, content, bound + commitment)
    return WrappedKey(generation, wrapped, commitment)


def _unwrap(cipher: AESGCMSIV, wrapped: WrappedKey, bound: bytes, *, name: str) -> bytes:
    content = _decrypt(cipher, wrapped.wrapped, bound + wrapped.commitment, name=name)
    if not hmac.compare_digest(derive(content, b"commit"), wrapped.commitment):
        raise SealBroken(name)
    return content


def _decrypt(cipher: AESGCM | AESGCMSIV, content: bytes, bound: bytes, *, name: str) -> bytes:
    nonce, ciphertext = content[:NONCE_BYTES], content[NONCE_BYTES:]
    try:
        return cipher.decrypt(nonce, ciphertext, bound)
    except (InvalidTag, ValueError) as error:  # ValueError: cut so short that the nonce is damaged
        raise SealBroken(name) from error
