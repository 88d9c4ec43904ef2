"""What Ethereum does with secp256k1: Keccak, addresses and recoverable signatures."""

from __future__ import annotations

import re

import coincurve
from Crypto.Hash import keccak

ADDRESS_BYTES = 20
DIGEST_BYTES = 32

# Added to the recovery id in signatures of messages, as in Bitcoin, from where it comes.
RECOVERY_OFFSET = 27

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_LETTER_RAISED_FROM = 8


def keccak256(content: bytes) -> bytes:
    """Return the hash of Ethereum, which is not SHA3-256: the padding differs."""
    return keccak.new(digest_bits=256, data=content).digest()


def address_of(public_key: coincurve.PublicKey) -> str:
    """Return the address in lower case."""
    point = public_key.format(compressed=False)
    return "0x" + keccak256(point[1:])[-ADDRESS_BYTES:].hex()


def parse_address(text: str) -> bytes | None:
    """Return the 20 bytes, or None; mixed case must be the checksum of EIP-55."""
    if not _ADDRESS.fullmatch(text):
        return None
    digits = text[2:]
    is_one_case = digits in (digits.lower(), digits.upper())
    return bytes.fromhex(digits) if is_one_case or digits == _checksummed(digits) else None


def sign_recoverable(private: coincurve.PrivateKey, digest: bytes) -> tuple[bytes, int]:
    """Return r and s, 64 bytes with s in the lower half, and the recovery id, 0 or 1."""
    assert len(digest) == DIGEST_BYTES, "what is signed is a digest"
    signature = private.sign_recoverable(digest, hasher=None)
    return signature[:-1], signature[-1]


def sign_for_message(private: coincurve.PrivateKey, digest: bytes) -> bytes:
    """Return r, s and v, where v is 27 or 28, as wallets return it."""
    pair, recovery_id = sign_recoverable(private, digest)
    return pair + bytes([RECOVERY_OFFSET + recovery_id])


def _checksummed(digits: str) -> str:
    lower = digits.lower()
    nibbles = keccak256(lower.encode()).hex()
    return "".join(
        letter.upper() if int(nibble, 16) >= _LETTER_RAISED_FROM else letter
        for letter, nibble in zip(lower, nibbles, strict=False)
    )
