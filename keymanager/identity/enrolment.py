"""Enrolment: a process shows what it is, and gets a certificate for that role and no other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from chassis.certificates import (
    Certificate,
    enrolment_report,
    identity_of,
    public_key_info,
    read_certificate,
)
from chassis.errors import InvalidField

from ..errors import EvidenceRefused, IdentityRevoked
from .authority import Authority
from .nonces import Nonces
from .revocations import Revocations

_CURVE = ec.SECP256R1.name


class Appraiser(Protocol):
    """Who knows genuine evidence, and what it says."""

    def appraise(self, evidence: bytes, report_data: bytes) -> str:
        """Return the role that was measured.

        Raise `EvidenceRefused` unless the evidence is genuine, carries this report data, and is of
        code that may run here.
        """


@dataclass(frozen=True)
class Issued:
    """A new certificate, and its chain in DER, itself first."""

    certificate: Certificate
    chain: tuple[bytes, ...]


class Enrolment:
    """Gives certificates to those roles whose processes prove that they are theirs."""

    def __init__(
        self,
        authority: Authority,
        appraiser: Appraiser,
        nonces: Nonces,
        revocations: Revocations,
        *,
        roles: frozenset[str],
    ) -> None:
        self._authority = authority
        self._appraiser = appraiser
        self._nonces = nonces
        self._revocations = revocations
        self._roles = roles

    @property
    def validity(self) -> timedelta:
        """Return how long a certificate is good."""
        return self._authority.validity

    def challenge(self) -> bytes:
        """Return a nonce that one enrolment can use."""
        return self._nonces.issue()

    def enrol(self, request: bytes, *, nonce: bytes, evidence: bytes) -> Issued:
        """Return what is handed out once it is on record; what costs least is checked first."""
        self._nonces.check(nonce)
        public_key = _public_key_of(request)
        report = enrolment_report(nonce, public_key_info(public_key))
        role = self._appraiser.appraise(evidence, report)
        if role not in self._roles:
            raise EvidenceRefused("the role that was measured is none of this system")
        if self._revocations.is_barred(identity_of(role)):
            raise IdentityRevoked(identity_of(role))
        self._nonces.use(nonce)
        return _issued(self._authority.issue(role, public_key))


def _issued(der: bytes) -> Issued:
    pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    return Issued(read_certificate(pem), (der,))


def _public_key_of(request: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of a request, whose private half the sender has; its names do not count."""
    field = "certificate_request"
    try:
        parsed = x509.load_der_x509_csr(request)
        public_key = parsed.public_key()
        is_signed = parsed.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise InvalidField(field, "must be a certificate signing request in DER") from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != _CURVE:
        raise InvalidField(field, "must have a P-256 key")
    if not is_signed:
        raise InvalidField(field, "is not signed by its own key")
    return public_key
