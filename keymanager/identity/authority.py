"""The certificate authority of one system: made once, sealed, and the root of all certificates."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chassis.certificates import identity_of, server_name
from chassis.clock import Clock

from ..sealing import RandomBytes

# gRPC refuses Ed25519 certificates.
_CURVE = ec.SECP256R1()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SCALAR_BYTES = 32
_SERIAL_BYTES = 20

AUTHORITY_VALIDITY = timedelta(days=3_650)
# Clocks of two machines differ; a certificate is valid a little before it exists.
BACKDATED = timedelta(minutes=1)


class KeyShelf(Protocol):
    """Where the key of the authority lies sealed."""

    def load(self) -> bytes | None:
        """Return what was stored, or None."""

    def store(self, content: bytes) -> None:
        """Seal and keep it, durably."""


@dataclass(frozen=True)
class Authority:
    """A key that signs certificates of `validity`, and its own certificate."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate
    validity: timedelta
    clock: Clock
    random_bytes: RandomBytes

    @property
    def pem(self) -> bytes:
        """Return the certificate that everybody else must have."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(self, role: str, public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Return a certificate in DER for one role; it names nothing that the caller could choose.

        An address is in none: all services of a machine have the same, and each could pass for the
        others to whoever asks for nothing else.
        """
        now = self.clock.now()
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(identity_of(role)),
            x509.DNSName(server_name(role)),
        ]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            _builder(_name(server_name(role)), public_key, self.random_bytes)
            .issuer_name(self.certificate.subject)
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + self.validity)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.DER)


def open_authority(
    shelf: KeyShelf, *, validity: timedelta, clock: Clock, random_bytes: RandomBytes
) -> Authority:
    """Take the authority from the shelf; where there is none yet, make it."""
    content = shelf.load()
    if content is None:
        key = _draw_key(random_bytes)
        certificate = _own_certificate(key, clock.now(), random_bytes)
        scalar = key.private_numbers().private_value.to_bytes(_SCALAR_BYTES)
        content = scalar + certificate.public_bytes(Encoding.DER)
        shelf.store(content)
    scalar, der = content[:_SCALAR_BYTES], content[_SCALAR_BYTES:]
    key = ec.derive_private_key(int.from_bytes(scalar), _CURVE)
    certificate = x509.load_der_x509_certificate(der)
    assert certificate.public_key() == key.public_key(), "a seal holds both or none"
    return Authority(key, certificate, validity, clock, random_bytes)


def _draw_key(random_bytes: RandomBytes) -> ec.EllipticCurvePrivateKey:
    while not 0 < (scalar := int.from_bytes(random_bytes(_SCALAR_BYTES))) < _ORDER:
        continue
    return ec.derive_private_key(scalar, _CURVE)


def _own_certificate(
    key: ec.EllipticCurvePrivateKey, now: datetime, random_bytes: RandomBytes
) -> x509.Certificate:
    # Two systems on one machine have two authorities, which a person wants to tell apart.
    name = _name(f"ActionVM {random_bytes(4).hex()}")
    builder = (
        _builder(name, key.public_key(), random_bytes)
        .issuer_name(name)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + AUTHORITY_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return builder.sign(key, SHA256())


def _builder(
    name: x509.Name, public_key: ec.EllipticCurvePublicKey, random_bytes: RandomBytes
) -> x509.CertificateBuilder:
    # RFC 5280: positive, and at most 20 bytes long.
    serial = int.from_bytes(random_bytes(_SERIAL_BYTES)) >> 1 | 1
    return x509.CertificateBuilder().subject_name(name).public_key(public_key).serial_number(serial)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
