"""Signatures: who may sign what with which key, each purpose under a prefix of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .errors import PurposeDenied

SEED_BYTES = 32

# Made and used by the key manager itself; they are in no list and nobody can rotate them.
BUNDLES_KEY = "keys/bundles"
RECEIPTS_KEY = "keys/receipts"
SERVICE_KEYS = (BUNDLES_KEY, RECEIPTS_KEY)
# Used by the vault itself and by nobody else: for checkpoints, and for tags of requests.
AUDIT_KEY = "keys/audit"
REQUESTS_KEY = "keys/requests"


class Purpose(Enum):
    """Why something is signed; the value is part of what is signed."""

    BUNDLE = "bundle"
    RECEIPT = "receipt"
    REQUEST = "request"
    KNOWLEDGE = "knowledge"
    GENERATION = "generation"


@dataclass(frozen=True)
class Signature:
    """An Ed25519 signature with the public key that checks it."""

    key: str
    public_key: bytes
    value: bytes


# Purpose -> the only caller, and the key, or the start of the names of the keys.
_SIGNERS = {
    Purpose.BUNDLE: ("assembler", BUNDLES_KEY),
    Purpose.RECEIPT: ("runtime", RECEIPTS_KEY),
    Purpose.REQUEST: ("runtime", "secrets/"),
}


def check_purpose(purpose: Purpose, *, caller: str, key: str) -> None:
    """Refuse who may not; this looks at no secret, so the answer tells nothing about any."""
    signer, scope = _SIGNERS[purpose]
    is_in_scope = key.startswith(scope) if scope.endswith("/") else key == scope
    if caller != signer or not is_in_scope:
        raise PurposeDenied(caller=caller, key=key, purpose=purpose.value)


def sign(key: str, seed: bytes, purpose: Purpose, message: bytes) -> Signature:
    """Sign `actionvm/<purpose>/v1`, a line feed, and the message."""
    private_key = Ed25519PrivateKey.from_private_bytes(seed)
    return Signature(
        key=key,
        public_key=private_key.public_key().public_bytes_raw(),
        value=private_key.sign(signed_bytes(purpose, message)),
    )


def signed_bytes(purpose: Purpose, message: bytes) -> bytes:
    """Return what is signed, which can pass for no other purpose and for nothing outside."""
    return f"actionvm/{purpose.value}/v1\n".encode() + message


def public_key_of(seed: bytes) -> bytes:
    """Return the 32 raw bytes of the public key."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
