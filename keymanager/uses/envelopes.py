"""Encryption of knowledge: under a key that stays here, opened only towards a recipient."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chassis.errors import InvalidField
from chassis.fields import require_match, require_size

from ..sealing import KEY_BYTES, NONCE_BYTES, RandomBytes
from ..secret import Kind
from .handover import Recipient, seal_to
from .keys import DataKey, LoadedKey
from .operation import Facts, fitting

PLAINTEXT_BYTES_MAX = 64 * 1024
TAG_BYTES = 16

# Header: magic, version of the key, nonce. It is authenticated, as the context is.
_MAGIC = b"AVM1"
_VERSION_BYTES = 4
_HEADER_BYTES = len(_MAGIC) + _VERSION_BYTES + NONCE_BYTES
CIPHERTEXT_BYTES_MAX = _HEADER_BYTES + PLAINTEXT_BYTES_MAX + TAG_BYTES
# Of the first version, and nothing opens it: what a dry run is about where nobody has another.
SAMPLE_CIPHERTEXT = _MAGIC + (1).to_bytes(_VERSION_BYTES) + bytes(NONCE_BYTES + TAG_BYTES)

_CONTEXT = re.compile(r"[!-~]{1,256}")
_KINDS = frozenset({Kind.DATA})


@dataclass(frozen=True)
class Encrypt:
    """Encrypt a value; only who names the same context can have it decrypted."""

    kinds: ClassVar[frozenset[Kind]] = _KINDS
    name: ClassVar[str] = "encrypt"

    context: str
    plaintext: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_context(self.context)
        require_size("plaintext", self.plaintext, size_max=PLAINTEXT_BYTES_MAX)

    def facts(self) -> Facts:
        return {"context": self.context, "plaintext_bytes": len(self.plaintext)}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> bytes:
        """Return the ciphertext with its header."""
        return _encrypt(fitting(key, DataKey), self.context, self.plaintext, random_bytes)


@dataclass(frozen=True)
class Decrypt:
    """Open what `Encrypt` or `GenerateDataKey` made, and seal it to a recipient."""

    kinds: ClassVar[frozenset[Kind]] = _KINDS
    name: ClassVar[str] = "decrypt"

    context: str
    ciphertext: bytes = field(repr=False)
    recipient_key: bytes
    key_version: int = field(init=False)
    _recipient: Recipient = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_context(self.context)
        object.__setattr__(self, "key_version", _version_of(self.ciphertext))
        object.__setattr__(self, "_recipient", Recipient(self.recipient_key))

    def facts(self) -> Facts:
        return {
            "context": self.context,
            "key_version": self.key_version,
            "recipient": self._recipient.fingerprint,
        }

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> bytes:
        """Return the value as an HPKE ciphertext of `decrypt` and the context."""
        plaintext = _decrypt(fitting(key, DataKey), self.context, self.ciphertext)
        return seal_to(self._recipient, plaintext, operation=self.name, binding=self.context)


@dataclass(frozen=True)
class Rewrap:
    """Encrypt again under the newest version of the key, without showing the value."""

    kinds: ClassVar[frozenset[Kind]] = _KINDS
    name: ClassVar[str] = "rewrap"

    context: str
    ciphertext: bytes = field(repr=False)
    key_version: int = field(init=False)

    def __post_init__(self) -> None:
        _check_context(self.context)
        object.__setattr__(self, "key_version", _version_of(self.ciphertext))

    def facts(self) -> Facts:
        return {"context": self.context, "key_version": self.key_version}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> bytes:
        """Return the new ciphertext."""
        data_key = fitting(key, DataKey)
        plaintext = _decrypt(data_key, self.context, self.ciphertext)
        return _encrypt(data_key, self.context, plaintext, random_bytes)


@dataclass(frozen=True)
class WrappedDataKey:
    """A data key twice: for storage (`Decrypt` opens it again), and for the recipient now."""

    wrapped_key: bytes = field(repr=False)
    sealed_key: bytes = field(repr=False)


@dataclass(frozen=True)
class GenerateDataKey:
    """Make a key of 32 bytes with which a recipient encrypts what is too large to send here."""

    kinds: ClassVar[frozenset[Kind]] = _KINDS
    name: ClassVar[str] = "generate-data-key"

    context: str
    recipient_key: bytes
    _recipient: Recipient = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_context(self.context)
        object.__setattr__(self, "_recipient", Recipient(self.recipient_key))

    def facts(self) -> Facts:
        return {"context": self.context, "recipient": self._recipient.fingerprint}

    def perform(
        self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes
    ) -> WrappedDataKey:
        """Return it as a ciphertext, and as an HPKE ciphertext of this operation and context."""
        data_key = fitting(key, DataKey)
        made = random_bytes(KEY_BYTES)
        return WrappedDataKey(
            wrapped_key=_encrypt(data_key, self.context, made, random_bytes),
            sealed_key=seal_to(self._recipient, made, operation=self.name, binding=self.context),
        )


def _check_context(context: str) -> None:
    require_match("context", context, _CONTEXT, example="collections/brand")


def _version_of(ciphertext: bytes) -> int:
    """Return the version that the header names; nothing is authentic before it is opened."""
    require_size("ciphertext", ciphertext, size_max=CIPHERTEXT_BYTES_MAX)
    if len(ciphertext) < _HEADER_BYTES + TAG_BYTES or not ciphertext.startswith(_MAGIC):
        raise InvalidField("ciphertext", "is not one that Encrypt made")
    version = int.from_bytes(ciphertext[len(_MAGIC) : len(_MAGIC) + _VERSION_BYTES])
    if not version:
        raise InvalidField("ciphertext", "is not one that Encrypt made")
    return version


def _encrypt(key: DataKey, context: str, plaintext: bytes, random_bytes: RandomBytes) -> bytes:
    version = max(key.versions)
    nonce = random_bytes(NONCE_BYTES)
    header = _MAGIC + version.to_bytes(_VERSION_BYTES) + nonce
    cipher = _cipher(key.versions[version], context)
    return header + cipher.encrypt(nonce, plaintext, _bound(header, context))


def _decrypt(key: DataKey, context: str, ciphertext: bytes) -> bytes:
    version = _version_of(ciphertext)
    if version not in key.versions:
        raise InvalidField("ciphertext", f"needs version {version} of the key, which is gone")
    header, content = ciphertext[:_HEADER_BYTES], ciphertext[_HEADER_BYTES:]
    cipher = _cipher(key.versions[version], context)
    try:
        return cipher.decrypt(header[-NONCE_BYTES:], content, _bound(header, context))
    except InvalidTag:
        problem = "does not open: it was changed, or made with another key or for another context"
        raise InvalidField("ciphertext", problem) from None


def _cipher(secret: bytes, context: str) -> AESGCM:
    """Return the cipher of a context; NIST allows it 2^32 random nonces (SP 800-38D)."""
    info = b"actionvm/keymanager/data/v1\n" + context.encode()
    return AESGCM(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret))


def _bound(header: bytes, context: str) -> bytes:
    # The header has a fixed length, so nothing can move from one into the other.
    return header + context.encode()
