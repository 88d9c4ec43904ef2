"""Enrolment: one kind of evidence is believed, and every other one refused, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.certificates import (
    certificate_request,
    enrolment_report,
    public_key_info,
    read_certificate,
)
from chassis.errors import InvalidField, ServiceError
from keymanager.errors import EvidenceRefused, NonceInvalid
from keymanager.identity.enrolment import Enrolment
from tests.fakes.quoting import FakePlatform, PlatformAppraiser, Quote

from .authorities import identity_parts
from .vaults import HandSetClock

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


@dataclass
class Bench:
    """An enrolment that would succeed, for a test to spoil."""

    clock: HandSetClock = field(default_factory=HandSetClock)
    platform: FakePlatform = field(default_factory=FakePlatform)

    def __post_init__(self) -> None:
        """Build the enrolment, and the three parts of a request that it accepts."""
        self.enrolment, self.revocations = identity_parts(self.clock, platform=self.platform)
        self.nonce = self.enrolment.challenge()
        self.request = certificate_request(KEY)
        self.quote = Quote("fake", self.platform.measurement, self.report())

    def report(self, *, key: ec.EllipticCurvePrivateKey = KEY, nonce: bytes = b"") -> bytes:
        """Return the report data for a key and a nonce."""
        return enrolment_report(nonce or self.nonce, public_key_info(key.public_key()))

    @property
    def evidence(self) -> bytes:
        """Return the quote, signed."""
        return self.platform.sign(self.quote).to_bytes()

    def enrol(self, evidence: bytes | None = None) -> bytes:
        """Enrol with what the test made of it."""
        evidence = self.evidence if evidence is None else evidence
        issued = self.enrolment.enrol(self.request, nonce=self.nonce, evidence=evidence)
        (der,) = issued.chain
        return der


def test_the_certificate_names_the_role_that_was_measured() -> None:
    der = Bench().enrol()

    found = x509.load_der_x509_certificate(der)
    assert read_certificate(found.public_bytes(Encoding.PEM)).role == "linker"
    assert found.public_key() == KEY.public_key()


def test_the_certificate_lives_ten_minutes() -> None:
    bench = Bench()
    found = x509.load_der_x509_certificate(bench.enrol())

    life = found.not_valid_after_utc - bench.clock.now()
    assert timedelta(minutes=9, seconds=59) <= life <= timedelta(minutes=10)


def test_the_names_of_a_request_do_not_count() -> None:
    bench = Bench()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "operator")])
    uri = x509.UniformResourceIdentifier("spiffe://actionvm/service/keymanager")
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=9), critical=True)
    bench.request = builder.sign(KEY, SHA256()).public_bytes(Encoding.DER)

    found = x509.load_der_x509_certificate(bench.enrol())

    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://actionvm/service/linker"
    ]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


Spoil = Callable[[Bench], bytes | None]


def measured(**changes: Any) -> Spoil:  # noqa: ANN401  # fields of a measurement
    """Let the platform measure something else."""

    def spoil(bench: Bench) -> None:
        measurement = replace(bench.quote.measurement, **changes)
        bench.quote = replace(bench.quote, measurement=measurement)

    return spoil


def quoted(**changes: Any) -> Spoil:  # noqa: ANN401  # fields of a quote
    """Let the platform quote something else."""

    def spoil(bench: Bench) -> None:
        bench.quote = replace(bench.quote, **changes)

    return spoil


def forged(**changes: Any) -> Spoil:  # noqa: ANN401  # fields of a quote
    """Change a quote after it was signed."""
    return lambda bench: replace(bench.platform.sign(bench.quote), **changes).to_bytes()


def forged_measurement(**changes: Any) -> Spoil:  # noqa: ANN401  # fields of a measurement
    """Change what was measured after it was signed."""

    def spoil(bench: Bench) -> bytes:
        measurement = replace(bench.quote.measurement, **changes)
        return replace(bench.platform.sign(bench.quote), measurement=measurement).to_bytes()

    return spoil


def report(make: Callable[[Bench], bytes]) -> Spoil:
    """Let the quote carry other report data."""

    def spoil(bench: Bench) -> None:
        bench.quote = replace(bench.quote, report_data=make(bench))

    return spoil


def flipped(position: int) -> Spoil:
    """Flip a bit of the evidence, at a thousandth of its length."""

    def spoil(bench: Bench) -> bytes:
        content = bytearray(bench.evidence)
        content[position * len(content) // 1_000] ^= 1
        return bytes(content)

    return spoil


def cut(position: int) -> Spoil:
    """Cut the evidence off at a thousandth of its length."""
    return lambda bench: bench.evidence[: position * len(bench.evidence) // 1_000]


def of_a_stranger(bench: Bench) -> bytes:
    stranger = FakePlatform(bench.platform.measurement)
    return stranger.sign(bench.quote).to_bytes()


def of_a_stranger_under_our_name(bench: Bench) -> bytes:
    stranger = FakePlatform(bench.platform.measurement)
    known = bench.platform.key.public_key().public_bytes_raw()
    return replace(stranger.sign(bench.quote), key=known).to_bytes()


def replayed(bench: Bench) -> bytes:
    """Enrol well, then send the same evidence with a new nonce."""
    evidence = bench.evidence
    bench.enrol()
    bench.nonce = bench.enrolment.challenge()
    return evidence


def relayed(bench: Bench) -> bytes:
    """Send the evidence of another process for a key of one's own."""
    evidence = bench.evidence
    bench.request = certificate_request(OTHER)
    return evidence


REFUSED: dict[str, Spoil] = {
    "debugger": measured(debug=True),
    "other code": measured(code="beef"),
    "no code": measured(code=""),
    "other signer": measured(signer="me"),
    "no signer": measured(signer=""),
    "old code": measured(security_version=1),
    "ancient code": measured(security_version=0),
    "negative version": measured(security_version=-1),
    **{
        f"role {role!r}": measured(role=role)
        for role in (
            *("", "keymanager", "operator", "auditor", "viewer", "anyone", "root", "Linker"),
            *("linker ", " linker", "linker\n", "linker/gas", "../linker", "linker\x00", "*"),
            *("spiffe://actionvm/service/linker", "gas,linker", "l" * 64),
        )
    },
    "other platform": quoted(platform="cloud"),
    "no platform": quoted(platform=""),
    **{
        f"forged {name} after the signature": forged_measurement(**{name: value})
        for name, value in {
            "role": "gas",
            "code": "beef",
            "signer": "me",
            "security_version": 3,
            "debug": True,
        }.items()
    },
    "forged hardware": forged(hardware=True),
    "forged platform": forged(platform="cloud"),
    "no signature": forged(signature=b""),
    "zero signature": forged(signature=bytes(64)),
    "long signature": forged(signature=bytes(65)),
    "no key": forged(key=b""),
    "zero key": forged(key=bytes(32)),
    "platform of a stranger": of_a_stranger,
    "stranger under our name": of_a_stranger_under_our_name,
    "replayed": replayed,
    "relayed": relayed,
    "other key": report(lambda bench: bench.report(key=OTHER)),
    "other nonce": report(lambda bench: bench.report(nonce=bytes(32))),
    "later nonce": report(lambda bench: bench.report(nonce=bench.enrolment.challenge())),
    "empty report": report(lambda _: b""),
    "zero report": report(lambda _: bytes(64)),
    "short report": report(lambda bench: bench.report()[:63]),
    "long report": report(lambda bench: bench.report() + b"\0"),
    "half report": report(lambda bench: bench.report()[:32] + bytes(32)),
    "hash of another purpose": report(
        lambda bench: enrolment_report(b"", bench.nonce + public_key_info(KEY.public_key()))[::-1]
    ),
    **{f"bit flipped at {n} of 1000": flipped(n) for n in range(3, 1_000, 71)},
    **{f"cut off at {n} of 1000": cut(n) for n in range(0, 1_000, 143)},
    "empty": lambda _: b"",
    "no object": lambda _: b"[]",
    "deep": lambda _: b"[" * 4_000,
    "no text": lambda _: b"\xff\xfe",
    "something after it": lambda bench: bench.evidence + b" ",
    "another way to write it": lambda bench: b" " + bench.evidence,
    "twice": lambda bench: bench.evidence * 2,
}


def test_there_are_at_least_sixty_ways_to_be_refused() -> None:
    assert len(REFUSED) >= 60


@pytest.mark.parametrize("spoil", REFUSED.values(), ids=REFUSED)
def test_evidence_is_refused(spoil: Spoil) -> None:
    bench = Bench()
    evidence = spoil(bench)

    with pytest.raises(EvidenceRefused):
        bench.enrol(evidence)


def test_an_emulation_is_refused_where_hardware_is_demanded() -> None:
    appraiser = PlatformAppraiser(FakePlatform(), allow_emulated=False)
    evidence = appraiser.platform.quote(bytes(64))

    with pytest.raises(EvidenceRefused, match="emulation"):
        appraiser.appraise(evidence, bytes(64))


def _use_it_twice(bench: Bench) -> None:
    bench.enrol()


def _wait(bench: Bench) -> None:
    bench.clock.advance(timedelta(seconds=61))


def _turn_the_clock_back(bench: Bench) -> None:
    bench.clock.advance(timedelta(seconds=-1))


def _restart(bench: Bench) -> None:
    bench.enrolment = Bench(platform=bench.platform).enrolment
    nonces: Any = bench.enrolment
    nonces._nonces._key = bytes(32)


def _forge(bench: Bench) -> None:
    bench.nonce = bench.nonce[:-1] + bytes([bench.nonce[-1] ^ 1])


def _make_it_younger(bench: Bench) -> None:
    time = int.from_bytes(bench.nonce[:8]) + 1
    bench.nonce = time.to_bytes(8) + bench.nonce[8:]


NONCES = {
    "used": _use_it_twice,
    "a minute old": _wait,
    "of the future": _turn_the_clock_back,
    "of the last start": _restart,
    "forged": _forge,
    "made younger": _make_it_younger,
    "of zeros": lambda bench: setattr(bench, "nonce", bytes(32)),
    "empty": lambda bench: setattr(bench, "nonce", b""),
    "short": lambda bench: setattr(bench, "nonce", bench.nonce[:31]),
    "long": lambda bench: setattr(bench, "nonce", bench.nonce + b"\0"),
}


@pytest.mark.parametrize("spoil", NONCES.values(), ids=NONCES)
def test_a_nonce_is_refused(spoil: Callable[[Bench], None]) -> None:
    bench = Bench()
    spoil(bench)
    bench.quote = replace(bench.quote, report_data=bench.report(nonce=bench.nonce))

    with pytest.raises(NonceInvalid):
        bench.enrol()


def test_a_nonce_whose_evidence_was_refused_can_be_used() -> None:
    bench = Bench()
    with pytest.raises(EvidenceRefused):
        bench.enrol(b"{}")

    bench.enrol()


REQUESTS = {
    "empty": b"",
    "no DER": b"certificate",
    "cut off": certificate_request(KEY)[:-1],
    "of P-384": certificate_request(ec.generate_private_key(ec.SECP384R1())),
    "of secp256k1": certificate_request(ec.generate_private_key(ec.SECP256K1())),
    "of RSA": x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(rsa.generate_private_key(65_537, 2_048), SHA256())
    .public_bytes(Encoding.DER),
    "of Ed25519": x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(ed25519.Ed25519PrivateKey.generate(), None)
    .public_bytes(Encoding.DER),
    "with another signature": certificate_request(KEY)[:-8] + bytes(8),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_request_that_does_not_prove_a_key_is_refused(request_: bytes) -> None:
    bench = Bench()
    bench.request = request_

    with pytest.raises(InvalidField, match="certificate_request"):
        bench.enrol()


@settings(max_examples=200)
@given(st.binary(max_size=300), st.binary(max_size=40), st.binary(max_size=300))
def test_noise_is_refused_in_words(request_: bytes, nonce: bytes, evidence: bytes) -> None:
    with pytest.raises(ServiceError):
        _SHARED.enrol(request_, nonce=nonce, evidence=evidence)


def test_no_changed_bit_of_a_request_gives_a_certificate_for_another_key() -> None:
    bench = Bench()
    request, evidence = bench.request, bench.evidence
    for bit in range(8 * len(request)):
        content = bytearray(request)
        content[bit // 8] ^= 1 << bit % 8
        bench.request = bytes(content)
        try:
            der = bench.enrol(evidence)
        except ServiceError:
            continue
        # How the signature is written is not signed, so there may be one other way.
        assert x509.load_der_x509_certificate(der).public_key() == KEY.public_key()
        bench = Bench()
        evidence = bench.evidence


_SHARED: Enrolment = Bench().enrolment
