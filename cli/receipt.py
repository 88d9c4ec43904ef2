"""Checks a receipt without trusting whoever sent it: sums, digest, signature."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from actionvm.action.v1 import action_pb2
from chassis.canonical import canonical_json, sha256_hex

from .output import to_json

RECEIPT_KEY = "keys/receipts"
RECEIPT_PREFIX = b"actionvm/receipt/v1\n"
SIGNED_FIELDS = ("run", "account", "charges", "total_gas")


def find_flaw(receipt: action_pb2.Receipt, public_key: bytes) -> str:
    """Return what is wrong with a receipt; empty if `public_key` signed exactly these lines."""
    if sum(charge.gas for charge in receipt.charges) != receipt.total_gas:
        return "the lines do not add up to the total"
    fields = to_json(receipt)
    content = canonical_json({name: fields[name] for name in SIGNED_FIELDS})
    if sha256_hex(content) != receipt.digest.sha256:
        return "the digest does not fit the lines"
    if not receipt.HasField("signature"):
        return "it is not signed"
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(receipt.signature.value, RECEIPT_PREFIX + receipt.digest.sha256.encode())
    except (InvalidSignature, ValueError):
        return "the signature is not by the receipt key of this system"
    return ""
