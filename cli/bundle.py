"""Checks bundles without trusting whoever sent them: name, digest, size, signature."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from actionvm.action.v1 import action_pb2
from chassis.canonical import sha256_hex

BUNDLE_KEY = "keys/bundles"
BUNDLE_PREFIX = b"actionvm/bundle/v1\n"


def find_bundle_flaw(bundle: action_pb2.Bundle, public_key: bytes) -> str:
    """Return what is wrong with a bundle; empty if `public_key` signed exactly this payload."""
    sha256 = sha256_hex(bundle.payload)
    if bundle.digest.sha256 != sha256:
        return "the digest is that of another payload"
    if bundle.digest.size_bytes != len(bundle.payload):
        return "the size is that of another payload"
    if bundle.name != f"bundles/{sha256}":
        return "the name is that of another payload"
    signature = bundle.signature
    if signature.key != BUNDLE_KEY or signature.algorithm != "ed25519":
        return f"it is not signed with {BUNDLE_KEY}"
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signature.value, BUNDLE_PREFIX + sha256.encode())
    except (InvalidSignature, ValueError):
        return "the signature is not that of the key"
    return ""
