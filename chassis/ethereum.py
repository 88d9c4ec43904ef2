"""What all who speak of Ethereum agree on: its hash, and how an address is written."""

from __future__ import annotations

import re

from Crypto.Hash import keccak

ADDRESS_BYTES = 20

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_LETTER_RAISED_FROM = 8


def keccak256(content: bytes) -> bytes:
    """Return the hash of Ethereum, which is not SHA3-256: the padding differs."""
    return keccak.new(digest_bits=256, data=content).digest()


def parse_address(text: str) -> bytes | None:
    """Return the 20 bytes, or None; mixed case must be the checksum of EIP-55."""
    if not _ADDRESS.fullmatch(text):
        return None
    digits = text[2:]
    is_one_case = digits in (digits.lower(), digits.upper())
    return bytes.fromhex(digits) if is_one_case or digits == _checksummed(digits) else None


def _checksummed(digits: str) -> str:
    lower = digits.lower()
    nibbles = keccak256(lower.encode()).hex()
    return "".join(
        letter.upper() if int(nibble, 16) >= _LETTER_RAISED_FROM else letter
        for letter, nibble in zip(lower, nibbles, strict=False)
    )
