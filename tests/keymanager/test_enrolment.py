"""Enrolment: one kind of evidence is believed, and every other one refused, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from chassis.certificates import (
    certificate_request,
    enrolment_report,
    public_key_info,
    read_certificate,
)
from keymanager.errors import EvidenceRefused
from keymanager.identity.quotes import QuoteAppraiser
from keymanager.platform.port import Quote, QuoteProblem, QuoteRefused
from tests.fakes.platform import FakePlatform

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
        measured = self.platform.running("linker").measure()
        self.quote = Quote("soft", measured, self.report(), hardware=False, signature=b"", key=b"")

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
    stranger = FakePlatform()
    stranger.key = ed25519.Ed25519PrivateKey.generate()
    return stranger.sign(bench.quote).to_bytes()


def of_a_stranger_under_our_name(bench: Bench) -> bytes:
    stranger = FakePlatform()
    stranger.key = ed25519.Ed25519PrivateKey.generate()
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
    "no code": measured(code=b""),
    "other signer": measured(signer=bytes(32)),
    "no signer": measured(signer=b""),
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
    "as if of a TPM": quoted(platform="tpm2"),
    "hardware that signs like software": quoted(hardware=True),
    "no platform": quoted(platform=""),
    **{
        f"forged {name} after the signature": forged_measurement(**{name: value})
        for name, value in {
            "role": "gas",
            "code": bytes(32),
            "signer": bytes(32),
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


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("debugger", QuoteProblem.DEBUG),
        ("other signer", QuoteProblem.SIGNER),
        ("old code", QuoteProblem.SECURITY_VERSION),
        ("platform of a stranger", QuoteProblem.KEY),
        ("other platform", QuoteProblem.SIGNATURE),
        ("as if of a TPM", QuoteProblem.SIGNATURE),
        ("hardware that signs like software", QuoteProblem.SIGNATURE),
        ("forged role after the signature", QuoteProblem.SIGNATURE),
        ("replayed", QuoteProblem.REPORT_DATA),
        ("relayed", QuoteProblem.REPORT_DATA),
        ("half report", QuoteProblem.REPORT_DATA),
        ("twice", QuoteProblem.MALFORMED),
    ],
)
def test_a_refusal_says_what_is_wrong(name: str, problem: QuoteProblem) -> None:
    bench = Bench()
    evidence = REFUSED[name](bench)

    with pytest.raises(EvidenceRefused, match=str(QuoteRefused(problem))):
        bench.enrol(evidence)


def test_other_code_of_our_signer_that_is_not_older_may_enrol() -> None:
    bench = Bench()
    measured(code=bytes(32), security_version=3)(bench)

    assert bench.enrol()


def test_code_that_nobody_signed_may_enrol_where_the_key_manager_is_unsigned_too() -> None:
    assert Bench(platform=FakePlatform(is_signed=False)).enrol()


def test_an_emulation_is_refused_where_hardware_is_demanded() -> None:
    platform = FakePlatform()
    own = replace(platform.quote(bytes(64)), hardware=True)
    evidence = platform.running("linker").quote(bytes(64)).to_bytes()

    with pytest.raises(EvidenceRefused, match=str(QuoteRefused(QuoteProblem.EMULATED))):
        QuoteAppraiser(own).appraise(evidence, bytes(64))
