"""What Ethereum does with secp256k1: addresses of keys, and recoverable signatures."""

from __future__ import annotations

import coincurve

from chassis.ethereum import ADDRESS_BYTES, keccak256

DIGEST_BYTES = 32

# Added to the recovery id in signatures of messages, as in Bitcoin, from where it comes.
RECOVERY_OFFSET = 27


def address_of(public_key: coincurve.PublicKey) -> str:
    """Return the address in lower case."""
    point = public_key.format(compressed=False)
    return "0x" + keccak256(point[1:])[-ADDRESS_BYTES:].hex()


def sign_recoverable(private: coincurve.PrivateKey, digest: bytes) -> tuple[bytes, int]:
    """Return r and s, 64 bytes with s in the lower half, and the recovery id, 0 or 1."""
    assert len(digest) == DIGEST_BYTES, "what is signed is a digest"
    signature = private.sign_recoverable(digest, hasher=None)
    return signature[:-1], signature[-1]


def sign_for_message(private: coincurve.PrivateKey, digest: bytes) -> bytes:
    """Return r, s and v, where v is 27 or 28, as wallets return it."""
    pair, recovery_id = sign_recoverable(private, digest)
    return pair + bytes([RECOVERY_OFFSET + recovery_id])
