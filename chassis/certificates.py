"""What a certificate says of who shows it: `spiffe://actionvm/service/<role>`, a number, an end."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from .errors import CertificateInvalid

NONCE_BYTES = 32

_PREFIX = "spiffe://actionvm/service/"
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,62}")
_CACHED_MAX = 1_000


@dataclass(frozen=True)
class Certificate:
    """What is known of a process after its handshake."""

    role: str
    serial: int
    not_after: datetime

    @property
    def identity(self) -> str:
        """Return the SPIFFE id."""
        return identity_of(self.role)


@dataclass(frozen=True)
class Revoked:
    """Whose certificates are refused before their time: SPIFFE ids, and single certificates."""

    identities: frozenset[str] = frozenset()
    serials: frozenset[int] = frozenset()

    def covers(self, certificate: Certificate) -> bool:
        """Tell whether a certificate is refused."""
        return certificate.serial in self.serials or certificate.identity in self.identities


def identity_of(role: str) -> str:
    """Return the SPIFFE id of a role, such as `gas`."""
    return _PREFIX + role


def role_of(identity: str) -> str:
    """Return the role that a SPIFFE id names, or raise ValueError."""
    role = identity.removeprefix(_PREFIX)
    if not identity.startswith(_PREFIX) or not _ROLE.fullmatch(role):
        raise ValueError(f"no identity of a service: {identity[:80]!r}")
    return role


def server_name(role: str) -> str:
    """Return the name that only this service can prove; an address may be another's tomorrow."""
    return f"{role}.actionvm"


def read_certificate(pem: bytes) -> Certificate:
    """Read what the handshake has verified; raise `CertificateInvalid` if it names no service."""
    try:
        found = x509.load_pem_x509_certificate(pem)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (identity,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        return Certificate(role_of(identity), found.serial_number, found.not_valid_after_utc)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise CertificateInvalid from error


class CertificateReader:
    """Reads each certificate once: with every call comes the one of its connection."""

    def __init__(self) -> None:
        self._known: dict[bytes, Certificate] = {}

    def __call__(self, pem: bytes) -> Certificate:
        """Return what a certificate says, as `read_certificate` does."""
        if (known := self._known.get(pem)) is not None:
            return known
        if len(self._known) >= _CACHED_MAX:
            self._known.clear()
        self._known[pem] = found = read_certificate(pem)
        return found


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key as gRPC takes it; for memory only, never for a file."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return what proves that the sender has the key, in DER; the issuer decides on all names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def public_key_info(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the DER of a public key, which a quote is bound to."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def enrolment_report(nonce: bytes, public_key: bytes) -> bytes:
    """Return the 64 bytes that a quote must carry for this key and no other, now and not later."""
    return hashlib.sha512(b"actionvm/enrol/v1" + nonce + public_key).digest()
