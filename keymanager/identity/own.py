"""The certificate of the key manager itself, which it gives itself; its file for all others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from .authority import Authority

ROLE = "keymanager"


class OwnIssuer:
    """The ports `Issuer` and `Attester` for who holds the authority: it needs no evidence."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    async def challenge(self) -> bytes:
        """Return nothing: nobody else takes part."""
        return b""

    async def enrol(self, request: bytes, nonce: bytes, evidence: bytes) -> Sequence[bytes]:
        """Return a certificate for the key of the request."""
        del nonce, evidence
        public_key = x509.load_der_x509_csr(request).public_key()
        assert isinstance(public_key, ec.EllipticCurvePublicKey), "we made it"
        return [self._authority.issue(ROLE, public_key)]

    def authority(self) -> bytes:
        """Return the certificate that all others are checked against."""
        return self._authority.pem

    def quote(self, report_data: bytes) -> bytes:
        """Return nothing."""
        del report_data
        return b""


def publish(authority: Authority, file: Path) -> None:
    """Write the certificate of the authority, as a whole, where everybody looks for it."""
    if file.exists() and file.read_bytes() == authority.pem:
        return
    draft = file.with_name(f".{file.name}.new")
    with draft.open("wb") as target:
        target.write(authority.pem)
        target.flush()
        os.fsync(target.fileno())
    draft.replace(file)
