"""Decides whether a quote is believed."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Collection

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from platformd import protocol

from ..errors import PlatformSilent
from .port import Platform, PlatformUnavailable, Quote, QuoteProblem, QuoteRefused
from .tpm_release import SELECTION

SOFT = "soft"
TPM2 = "tpm2"


def quote_over(platform: Platform, nonce: bytes) -> Quote:
    """Return a quote of this process for who sent a nonce; raise `PlatformSilent`.

    Its report data is SHA-512("actionvm/quote-of-keymanager/v1" || nonce).
    """
    try:
        return platform.quote(hashlib.sha512(b"actionvm/quote-of-keymanager/v1" + nonce).digest())
    except PlatformUnavailable as error:
        raise PlatformSilent from error


def verify_quote(
    quote: Quote,
    *,
    report_data: bytes,
    trusted_keys: Collection[bytes],
    allow_emulated: bool,
    allow_debug: bool,
    role: str | None = None,
    code: bytes | None = None,
    signer: bytes | None = None,
    security_version_min: int = 0,
) -> None:
    """Raise QuoteRefused with the first problem.

    `report_data` is what the verifier computes itself, from its nonce and the key of the peer.
    `allow_emulated` accepts a platform that is no hardware, and `allow_debug` then also code that
    nobody signed. None asks for nothing in particular. How old the nonce may be is for the caller
    to say.
    """
    measured = quote.measurement
    checks = (
        (quote.key in trusted_keys, QuoteProblem.KEY),
        (_is_signed(quote), QuoteProblem.SIGNATURE),
        (hmac.compare_digest(quote.report_data, report_data), QuoteProblem.REPORT_DATA),
        (quote.hardware or allow_emulated, QuoteProblem.EMULATED),
        (not measured.debug or (allow_debug and not quote.hardware), QuoteProblem.DEBUG),
        (role is None or measured.role == role, QuoteProblem.ROLE),
        (code is None or measured.code == code, QuoteProblem.CODE),
        (signer is None or measured.signer == signer, QuoteProblem.SIGNER),
        (measured.security_version >= security_version_min, QuoteProblem.SECURITY_VERSION),
    )
    for holds, problem in checks:
        if not holds:
            raise QuoteRefused(problem)


def _is_signed(quote: Quote) -> bool:
    """Tell whether the key of the quote has signed all of it."""
    content = protocol.quoted(protocol.decode(quote.to_bytes()))
    try:
        if quote.platform == SOFT:
            # What a process signs is never called hardware.
            Ed25519PublicKey.from_public_bytes(quote.key).verify(quote.signature, content)
            return not quote.hardware
        if quote.platform == TPM2:
            return _is_signed_by_tpm(quote, content)
    except (InvalidSignature, ValueError, struct.error):
        pass
    return False


# --- TPM 2.0: the signature is `TPMS_ATTEST`, behind its length, and an ECDSA signature in DER. ---

_MAGIC, _ATTEST_QUOTE = 0xFF544347, 0x8018


def _is_signed_by_tpm(quote: Quote, content: bytes) -> bool:
    (length,) = struct.unpack_from(">H", quote.signature)
    attested, signature = quote.signature[2 : 2 + length], quote.signature[2 + length :]
    key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), quote.key)
    key.verify(signature, attested, ECDSA(SHA256()))
    magic, kind = struct.unpack_from(">IH", attested)
    _, rest = _sized(attested[6:])
    extra, rest = _sized(rest)
    # Clock (17 bytes) and version of the firmware (8).
    selection, rest = rest[25 : 25 + len(SELECTION)], rest[25 + len(SELECTION) :]
    digest, rest = _sized(rest)
    return (
        (magic, kind) == (_MAGIC, _ATTEST_QUOTE)
        and extra == hashlib.sha256(content).digest()
        and selection == SELECTION
        and digest == hashlib.sha256(quote.measurement.code).digest()
        and not rest
    )


def _sized(content: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack_from(">H", content)
    if len(content) < 2 + length:
        raise ValueError("truncated")
    return content[2 : 2 + length], content[2 + length :]
