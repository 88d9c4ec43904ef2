"""What is signed to which end: each purpose has a prefix of its own, and some a key."""

from __future__ import annotations

from enum import Enum

from .secret import Kind

# Made and used by the key manager itself; they are in no list and nobody can rotate them.
BUNDLES_KEY = "keys/bundles"
RECEIPTS_KEY = "keys/receipts"
KNOWLEDGE_KEY = "keys/knowledge"
SERVICE_KEYS = {BUNDLES_KEY: Kind.ED25519, RECEIPTS_KEY: Kind.ED25519, KNOWLEDGE_KEY: Kind.DATA}
# Used by the vault itself and by nobody else: for checkpoints, and for tags of requests.
AUDIT_KEY = "keys/audit"
# Of the certificates of services.
AUTHORITY_KEY = "keys/ca"
REQUESTS_KEY = "keys/requests"


class Purpose(Enum):
    """Why something is signed; the value is part of what is signed."""

    BUNDLE = "bundle"
    RECEIPT = "receipt"
    REQUEST = "request"
    KNOWLEDGE = "knowledge"
    GENERATION = "generation"


def signed_bytes(purpose: Purpose, message: bytes) -> bytes:
    """Return what is signed, which can pass for no other purpose and for nothing outside."""
    return f"actionvm/{purpose.value}/v1\n".encode() + message
