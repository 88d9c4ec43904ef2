"""Who holds recovery shares: keys of people, and what is sealed to each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from .canonical import canonical_json

HOLDERS_MAX = 16
KEY_BYTES = 32
# Shares are sealed at one length, which tells nothing of them: 33 words of at most 8 letters.
SHARE_CHARACTERS_MAX = 33 * 9 - 1
HOLDER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_HPKE_INFO = b"actionvm/recovery-share/v1"


class HolderKeyInvalid(Exception):
    """A key that is no X25519 key."""


class SealedShareInvalid(Exception):
    """A share was sealed to another key, or what was sealed is damaged."""


class HoldersMalformed(Exception):
    """A file of holders that was not written here."""


@dataclass(frozen=True)
class Holder:
    """A person with a public key (X25519)."""

    name: str
    key: bytes


def read_holders(file: Path) -> tuple[Holder, ...]:
    """Return who is registered, by name; nobody where there is no file.

    Raise `HoldersMalformed`, so that a damaged file does not stand for nobody.
    """
    if not file.exists():
        return ()
    try:
        found = json.loads(file.read_bytes())
        holders = [Holder(name, bytes.fromhex(key)) for name, key in sorted(found.items())]
    except (AttributeError, OSError, RecursionError, TypeError, ValueError) as error:
        raise HoldersMalformed(str(file)) from error
    keys = {holder.key for holder in holders}
    well_formed = all(
        HOLDER_NAME.fullmatch(one.name) and len(one.key) == KEY_BYTES for one in holders
    )
    if len(keys) != len(holders) or not well_formed or len(holders) > HOLDERS_MAX:
        raise HoldersMalformed(str(file))
    return tuple(holders)


def format_holders(holders: Iterable[Holder]) -> bytes:
    """Return what `read_holders` reads."""
    return canonical_json({holder.name: holder.key.hex() for holder in holders}) + b"\n"


def new_private_key() -> bytes:
    """Return a new key that opens what is sealed to its public half."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_key_of(private_key: bytes) -> bytes:
    """Return the public half; raise `HolderKeyInvalid`."""
    try:
        return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    except ValueError as error:
        raise HolderKeyInvalid from error


def seal_share(share: str, key: bytes) -> bytes:
    """Encrypt a share to the key of its holder (RFC 9180, base mode); raise `HolderKeyInvalid`."""
    # The library draws the ephemeral key itself.
    text = share.ljust(SHARE_CHARACTERS_MAX).encode()
    try:
        return _HPKE.encrypt(text, X25519PublicKey.from_public_bytes(key), _HPKE_INFO)
    except ValueError as error:
        raise HolderKeyInvalid from error


def open_share(sealed: bytes, private_key: bytes) -> str:
    """Decrypt a share with the key of its holder, or raise `SealedShareInvalid`."""
    try:
        key = X25519PrivateKey.from_private_bytes(private_key)
        return _HPKE.decrypt(sealed, key, _HPKE_INFO).decode().strip()
    except (InvalidTag, ValueError) as error:
        raise SealedShareInvalid("this key does not open this share") from error
