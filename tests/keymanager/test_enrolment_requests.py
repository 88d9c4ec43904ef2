"""Enrolment: what expired, was used, or is no request of a key is refused in any case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.certificates import certificate_request
from chassis.errors import InvalidField, ServiceError
from keymanager.errors import EvidenceRefused, NonceInvalid
from keymanager.identity.enrolment import Enrolment

from .test_enrolment import KEY, Bench


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
    "a day old": lambda bench: bench.clock.advance(timedelta(days=1)),
    "of yesterday": lambda bench: bench.clock.advance(timedelta(days=-1)),
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


def test_evidence_that_has_expired_is_refused_whatever_it_says() -> None:
    bench = Bench()
    evidence = bench.evidence
    bench.clock.advance(timedelta(seconds=60, microseconds=1))
    with pytest.raises(NonceInvalid, match="older"):
        bench.enrol(evidence)

    bench.clock.advance(timedelta(microseconds=-1))

    assert bench.enrol(evidence)


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
