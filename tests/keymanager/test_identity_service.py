"""Each reason of the identity methods, provoked once over real gRPC, and who may call them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from chassis.certificates import (
    certificate_request,
    enrolment_report,
    identity_of,
    public_key_info,
)
from chassis.server import Hosted
from keymanager.vault import Vault
from tests.contracts.contract import error_info, refused_field
from tests.fakes.platform import FakeAttester, FakePlatform
from tests.grpc_fixtures import HostedFactory, StubAs

from .authorities import host, identity_parts
from .vaults import Bench

Stub: TypeAlias = keymanager_pb2_grpc.KeymanagerServiceStub
KEY = ec.generate_private_key(ec.SECP256R1())
GAS = identity_of("gas")
SERIALS_MAX = 3


@dataclass(frozen=True)
class Bystander:
    """What a test reaches behind the back of the service."""

    platform: FakePlatform
    vault: Vault


@pytest.fixture(scope="module")
def inside() -> dict[str, Bystander]:
    return {}


@pytest.fixture(scope="module")
def hosted_service(inside: dict[str, Bystander]) -> HostedFactory:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        platform = FakePlatform()
        bench = Bench()
        parts = identity_parts(platform=platform, vault=bench.vault, serials_max=SERIALS_MAX)
        inside["it"] = Bystander(platform, bench.vault)
        yield host(bench, *parts)

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


@pytest.fixture
def stranger(grpc_stub_as: StubAs) -> Stub:
    """Return the stub of somebody with neither token nor certificate."""
    stub: Stub = grpc_stub_as("a stranger")
    return stub


def request_of(stub: Stub, platform: FakePlatform, role: str = "linker") -> pb.EnrolRequest:
    """Return a request that is granted."""
    nonce = stub.BeginEnrolment(pb.BeginEnrolmentRequest()).nonce
    report = enrolment_report(nonce, public_key_info(KEY.public_key()))
    return pb.EnrolRequest(
        certificate_request=certificate_request(KEY),
        nonce=nonce,
        quote=pb.Quote(content=FakeAttester(platform, role).quote(report)),
    )


def reason_of(stub: Stub, request: pb.EnrolRequest) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Enrol(request)
    return error_info(caught.value).reason


def test_a_stranger_with_evidence_gets_a_certificate(
    stranger: Stub, inside: dict[str, Bystander]
) -> None:
    answer = stranger.Enrol(request_of(stranger, inside["it"].platform))

    assert len(answer.certificates) == 1
    assert answer.validity.ToTimedelta() == timedelta(minutes=10)


def test_a_nonce_that_was_used_is_refused(stranger: Stub, inside: dict[str, Bystander]) -> None:
    request = request_of(stranger, inside["it"].platform)
    stranger.Enrol(request)

    assert reason_of(stranger, request) == "NONCE_INVALID"


def test_evidence_of_another_platform_is_refused(stranger: Stub) -> None:
    other = FakePlatform()
    other.key = Ed25519PrivateKey.generate()

    assert reason_of(stranger, request_of(stranger, other)) == "EVIDENCE_REFUSED"


def test_a_revoked_identity_gets_none_until_it_is_let_in_again(
    stranger: Stub, grpc_stub: Stub, inside: dict[str, Bystander]
) -> None:
    platform = inside["it"].platform
    grpc_stub.RevokeIdentity(pb.RevokeIdentityRequest(identity=GAS))
    grpc_stub.RevokeIdentity(pb.RevokeIdentityRequest(identity=GAS))
    request = request_of(stranger, platform, "gas")
    assert reason_of(stranger, request) == "IDENTITY_REVOKED"

    grpc_stub.ReinstateIdentity(pb.ReinstateIdentityRequest(identity=GAS))

    assert stranger.Enrol(request_of(stranger, platform, "gas")).certificates


def test_enrolments_and_revocations_are_on_record(
    stranger: Stub, grpc_stub: Stub, inside: dict[str, Bystander]
) -> None:
    vault, platform = inside["it"].vault, inside["it"].platform
    before = vault.sequence
    (der,) = stranger.Enrol(request_of(stranger, platform)).certificates
    serial = x509.load_der_x509_certificate(der).serial_number
    grpc_stub.RevokeIdentity(pb.RevokeIdentityRequest(identity=GAS))
    grpc_stub.ReinstateIdentity(pb.ReinstateIdentityRequest(identity=GAS))

    records = [one.record for one in vault.records(after=before, limit=10)]

    assert [(one.method, one.caller, one.facts) for one in records] == [
        ("Enrol", "linker", {"identity": identity_of("linker"), "serial_number": f"{serial:x}"}),
        ("RevokeIdentity", "operator", {"identity": GAS}),
        ("ReinstateIdentity", "operator", {"identity": GAS}),
    ]


def test_followers_see_the_state_and_every_change(grpc_stub: Stub, grpc_stub_as: StubAs) -> None:
    stream = grpc_stub_as("runtime").WatchRevocations(pb.WatchRevocationsRequest(), timeout=20)
    before = next(stream)
    grpc_stub.RevokeIdentity(pb.RevokeIdentityRequest(serial_number="0ABC"))

    after = next(stream)
    stream.cancel()

    assert "abc" not in before.serial_numbers
    assert "abc" in after.serial_numbers


WRONG = {
    "no nonce": ("nonce", {"nonce": b""}),
    "a short nonce": ("nonce", {"nonce": bytes(31)}),
    "a long nonce": ("nonce", {"nonce": bytes(33)}),
    "no request": ("certificate_request", {"certificate_request": b""}),
    "a huge request": ("certificate_request", {"certificate_request": bytes(4_097)}),
    "a request that is none": ("certificate_request", {"certificate_request": b"x"}),
    "no quote": ("quote.content", {"quote": pb.Quote()}),
    "a huge quote": ("quote.content", {"quote": pb.Quote(content=bytes(4_097))}),
}


@pytest.mark.parametrize(("field", "change"), WRONG.values(), ids=WRONG)
def test_a_malformed_enrolment_names_its_field(
    stranger: Stub, inside: dict[str, Bystander], field: str, change: dict[str, object]
) -> None:
    good = request_of(stranger, inside["it"].platform)
    parts = {
        "certificate_request": good.certificate_request,
        "nonce": good.nonce,
        "quote": good.quote,
        **change,
    }

    assert refused_field(lambda: stranger.Enrol(pb.EnrolRequest(**parts))) == field  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("identity", pb.RevokeIdentityRequest()),
        ("identity", pb.RevokeIdentityRequest(identity=GAS, serial_number="1")),
        ("identity", pb.RevokeIdentityRequest(identity="gas")),
        ("identity", pb.RevokeIdentityRequest(identity="spiffe://elsewhere/service/gas")),
        ("identity", pb.RevokeIdentityRequest(identity=GAS + "/")),
        ("identity", pb.RevokeIdentityRequest(identity=identity_of("keymanager"))),
        ("serial_number", pb.RevokeIdentityRequest(serial_number="xyz")),
        ("serial_number", pb.RevokeIdentityRequest(serial_number="-1")),
        ("serial_number", pb.RevokeIdentityRequest(serial_number="0x1")),
        ("serial_number", pb.RevokeIdentityRequest(serial_number="1" * 41)),
    ],
)
def test_a_malformed_revocation_names_its_field(
    grpc_stub: Stub, field: str, request_: pb.RevokeIdentityRequest
) -> None:
    assert refused_field(lambda: grpc_stub.RevokeIdentity(request_)) == field


@pytest.mark.parametrize("identity", ["", "gas", "spiffe://actionvm/service/operator"])
def test_a_malformed_reinstatement_names_its_field(grpc_stub: Stub, identity: str) -> None:
    request = pb.ReinstateIdentityRequest(identity=identity)

    assert refused_field(lambda: grpc_stub.ReinstateIdentity(request)) == "identity"


@pytest.mark.parametrize("caller", ["runtime", "auditor", "viewer"])
def test_only_an_operator_revokes(grpc_stub_as: StubAs, caller: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        grpc_stub_as(caller).RevokeIdentity(pb.RevokeIdentityRequest(identity=GAS))

    assert error_info(caught.value).reason == "METHOD_DENIED"


def test_more_revocations_than_can_be_kept_are_refused(grpc_stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        for number in range(SERIALS_MAX + 1):
            grpc_stub.RevokeIdentity(pb.RevokeIdentityRequest(serial_number=f"{number:x}"))

    assert error_info(caught.value).reason == "TOO_MANY_REVOCATIONS"
