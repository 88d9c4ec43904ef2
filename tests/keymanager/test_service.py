"""Over real gRPC: answers say what they must, and bad input is refused by its field."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from chassis.server import Hosted
from tests.contracts.contract import error_info, refused_field
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.keymanager.authorities import host
from tests.keymanager.vaults import Bench

Stub: TypeAlias = keymanager_pb2_grpc.KeymanagerServiceStub

REQUEST = pb.PURPOSE_REQUEST
NUMBERS = iter(range(10**6))


@pytest.fixture(scope="module")
def hosted_service(tmp_path_factory: pytest.TempPathFactory) -> HostedFactory:
    path = tmp_path_factory.mktemp("keymanager") / "keymanager.db"

    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield host(Bench(path))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


@pytest.fixture
def runtime(grpc_stub_as: StubAs) -> Stub:
    stub: Stub = grpc_stub_as("runtime")
    return stub


@pytest.fixture
def signing_key(grpc_stub: Stub) -> str:
    """Return the name of a new key that no other test knows."""
    name = f"secrets/s{next(NUMBERS)}"
    grpc_stub.PutSecret(
        pb.PutSecretRequest(request_id=name, name=name, kind=pb.KIND_ED25519, generate=True)
    )
    return name


# --- Answers -------------------------------------------------------------------------------------


def test_a_secret_is_described_as_it_was_put(grpc_stub: Stub, signing_key: str) -> None:
    secret = grpc_stub.GetSecret(pb.GetSecretRequest(name=signing_key)).secret
    assert (secret.name, secret.kind, secret.version) == (signing_key, pb.KIND_ED25519, 1)


def test_a_secret_knows_when_it_was_put(grpc_stub: Stub, signing_key: str) -> None:
    secret = grpc_stub.GetSecret(pb.GetSecretRequest(name=signing_key)).secret
    assert secret.create_time.ToJsonString() == "2026-03-31T22:30:00.123456Z"


@pytest.mark.parametrize(
    ("caller", "key", "purpose", "prefix"),
    [
        ("assembler", "keys/bundles", pb.PURPOSE_BUNDLE, b"actionvm/bundle/v1\n"),
        ("runtime", "keys/receipts", pb.PURPOSE_RECEIPT, b"actionvm/receipt/v1\n"),
    ],
)
def test_the_public_key_of_a_service_checks_its_signature(
    grpc_stub_as: StubAs, caller: str, key: str, purpose: pb.Purpose.ValueType, prefix: bytes
) -> None:
    stub = grpc_stub_as(caller)
    request = pb.SignRequest(key=key, purpose=purpose, message=b"digest")
    signature = stub.Sign(request).signature
    public_key = stub.GetPublicKey(pb.GetPublicKeyRequest(key=key)).public_key

    Ed25519PublicKey.from_public_bytes(public_key).verify(signature.value, prefix + b"digest")


def test_a_signature_says_how_to_check_it(grpc_stub: Stub, runtime: Stub, signing_key: str) -> None:
    request = pb.SignRequest(key=signing_key, purpose=pb.PURPOSE_REQUEST, message=b"m")
    signature = runtime.Sign(request).signature
    found = grpc_stub.GetPublicKey(pb.GetPublicKeyRequest(key=signing_key))
    assert (signature.key, signature.algorithm, signature.public_key) == (
        signing_key,
        found.algorithm,
        found.public_key,
    )


def test_pages_of_one_give_the_whole_list(grpc_stub: Stub, signing_key: str) -> None:
    whole = grpc_stub.ListSecrets(pb.ListSecretsRequest()).secrets
    assert [page.secrets[0].name for page in _pages(grpc_stub)] == [one.name for one in whole]


def _pages(stub: Stub) -> Iterator[pb.ListSecretsResponse]:
    token = ""
    while True:
        page = stub.ListSecrets(pb.ListSecretsRequest(page_size=1, page_token=token))
        yield page
        if not (token := page.next_page_token):
            return


def test_a_secret_is_gone_after_a_shred(grpc_stub: Stub, signing_key: str) -> None:
    grpc_stub.ShredSecret(pb.ShredSecretRequest(name=signing_key))
    with pytest.raises(grpc.RpcError) as caught:
        grpc_stub.ShredSecret(pb.ShredSecretRequest(name=signing_key))
    assert error_info(caught.value).reason == "SECRET_NOT_FOUND"


def test_a_repeated_call_gives_the_same_answer(grpc_stub: Stub) -> None:
    name = f"secrets/s{next(NUMBERS)}"
    request = pb.PutSecretRequest(request_id=name, name=name, kind=pb.KIND_ED25519, generate=True)
    assert grpc_stub.PutSecret(request) == grpc_stub.PutSecret(request)


def test_the_version_before_signs_for_its_grace(
    grpc_stub: Stub, runtime: Stub, signing_key: str
) -> None:
    request = pb.SignRequest(key=signing_key, version=1, purpose=REQUEST, message=b"m")
    before = runtime.Sign(request)
    rotated = grpc_stub.RotateSecret(
        pb.RotateSecretRequest(
            request_id=f"rotate-{next(NUMBERS)}",
            name=signing_key,
            generate=True,
            grace=Duration(seconds=90),
        )
    ).secret
    assert (rotated.version, rotated.version_before) == (2, 1)
    assert rotated.grace_time.ToJsonString() == "2026-03-31T22:31:30.123456Z"
    assert runtime.Sign(request) == before


def test_the_default_key_for_data_is_rotated_and_its_version_before_stays(
    grpc_stub: Stub,
) -> None:
    request = pb.RotateSecretRequest(request_id="rotate", name="keys/knowledge", generate=True)
    rotated = grpc_stub.RotateSecret(request).secret
    assert (rotated.version, rotated.version_before) == (2, 1)
    assert not rotated.HasField("grace_time")
    assert grpc_stub.RotateSecret(request).secret == rotated
    grpc_stub.ShredSecret(pb.ShredSecretRequest(name="keys/knowledge", version=1))


@pytest.mark.parametrize("name", ["keys/bundles", "keys/audit", "keys/ca"])
def test_no_other_key_of_the_services_is_rotated(grpc_stub: Stub, name: str) -> None:
    request = pb.RotateSecretRequest(request_id="rotate", name=name, generate=True)
    assert refused_field(lambda: grpc_stub.RotateSecret(request)) == "name"


# --- Bad input -----------------------------------------------------------------------------------


def _put(**fields: object) -> pb.PutSecretRequest:
    good: dict[str, object] = {
        "request_id": f"bad-{next(NUMBERS)}",
        "name": "secrets/bad",
        "kind": pb.KIND_API_KEY,
        "value": b"value",
    }
    return pb.PutSecretRequest(**(good | fields))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"request_id": ""}, "request_id"),
        ({"request_id": "a b"}, "request_id"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"name": ""}, "name"),
        ({"name": "secrets/"}, "name"),
        ({"name": "secrets/A"}, "name"),
        ({"name": "secrets/a\n"}, "name"),
        ({"name": "secrets/" + "a" * 65}, "name"),
        ({"name": "keys/bundles"}, "name"),
        ({"name": "secrets/../keys/bundles"}, "name"),
        ({"kind": pb.KIND_UNSPECIFIED}, "kind"),
        ({"kind": 99}, "kind"),
        ({"value": b""}, "value"),
        ({"value": b"x" * (64 * 1024 + 1)}, "value"),
        ({"value": b"sk-1\n"}, "value"),
        ({"value": b"sk-1\0"}, "value"),
        ({"value": b"sk-1\xff"}, "value"),
        ({"value": b" sk-1"}, "value"),
        ({"kind": pb.KIND_ED25519}, "value"),
        ({"kind": pb.KIND_ED25519, "value": bytes(32), "generate": True}, "value"),
        ({"value": b"", "generate": True}, "generate"),
        ({"tenant": "tenants/system"}, "tenant"),
        ({"tenant": "tenants/" + "a" * 64}, "tenant"),
    ],
)
def test_a_bad_put_names_its_field(
    grpc_stub: Stub, fields: dict[str, object], refused: str
) -> None:
    assert refused_field(lambda: grpc_stub.PutSecret(_put(**fields))) == refused


@pytest.mark.parametrize("tenant", ["", "acme", "tenants/system"])
def test_a_bad_tenant_is_not_shredded(grpc_stub: Stub, tenant: str) -> None:
    request = pb.ShredTenantRequest(tenant=tenant)
    assert refused_field(lambda: grpc_stub.ShredTenant(request)) == "tenant"


def test_the_largest_value_is_accepted(grpc_stub: Stub) -> None:
    name = f"secrets/s{next(NUMBERS)}"
    response = grpc_stub.PutSecret(_put(name=name, value=b"x" * 64 * 1024))
    assert response.secret.name == name


@pytest.mark.parametrize(
    ("request_", "refused"),
    [
        (pb.SignRequest(purpose=REQUEST, message=b"m"), "key"),
        (pb.SignRequest(key="others/a", purpose=REQUEST, message=b"m"), "key"),
        (pb.SignRequest(key="secrets/a/b", purpose=REQUEST, message=b"m"), "key"),
        (pb.SignRequest(key="secrets/a", message=b"m"), "purpose"),
        (pb.SignRequest(key="secrets/a", purpose=9, message=b"m"), "purpose"),  # type: ignore[arg-type]  # no such number
        (pb.SignRequest(key="secrets/a", purpose=REQUEST), "message"),
        (pb.SignRequest(key="secrets/a", purpose=REQUEST, message=b"x" * 65_537), "message"),
    ],
)
def test_a_bad_request_to_sign_names_its_field(
    runtime: Stub, request_: pb.SignRequest, refused: str
) -> None:
    assert refused_field(lambda: runtime.Sign(request_)) == refused


@pytest.mark.parametrize(
    ("request_", "refused"),
    [
        (pb.ListSecretsRequest(page_size=-1), "page_size"),
        (pb.ListSecretsRequest(page_token="?"), "page_token"),
        (pb.ListSecretsRequest(page_token="WyJcdWQ4MDAiXQ=="), "page_token"),
    ],
)
def test_a_bad_page_names_its_field(
    grpc_stub: Stub, request_: pb.ListSecretsRequest, refused: str
) -> None:
    assert refused_field(lambda: grpc_stub.ListSecrets(request_)) == refused


NAMES = st.one_of(st.text(max_size=80), st.sampled_from(["secrets/a", "secrets/b", "keys/bundles"]))
REQUESTS = st.one_of(
    st.builds(
        pb.PutSecretRequest,
        request_id=st.text(max_size=6),
        name=NAMES,
        kind=st.integers(0, 10),
        value=st.binary(max_size=40),
        generate=st.booleans(),
    ),
    st.builds(
        pb.RotateSecretRequest,
        request_id=st.text(max_size=6),
        name=NAMES,
        value=st.binary(max_size=40),
        generate=st.booleans(),
    ),
    st.builds(pb.ShredSecretRequest, name=NAMES),
    st.builds(pb.GetSecretRequest, name=NAMES),
    st.builds(
        pb.ListSecretsRequest,
        page_size=st.integers(-(2**31), 2**31 - 1),
        page_token=st.text(max_size=40),
    ),
    st.builds(pb.GetPublicKeyRequest, key=NAMES),
)


@settings(max_examples=150, deadline=None)
@given(request=REQUESTS)
def test_no_input_is_a_bug(grpc_stub: Stub, request: Message) -> None:
    assert _reason(grpc_stub, request) != "INTERNAL"


@settings(max_examples=50, deadline=None)
@given(
    request=st.builds(
        pb.SignRequest, key=NAMES, purpose=st.integers(0, 5), message=st.binary(max_size=40)
    ),
    caller=st.sampled_from(["assembler", "runtime"]),
)
def test_no_input_to_sign_is_a_bug(
    grpc_stub_as: StubAs, request: pb.SignRequest, caller: str
) -> None:
    assert _reason(grpc_stub_as(caller), request) != "INTERNAL"


def _reason(stub: Stub, request: Message) -> str:
    method = getattr(stub, type(request).__name__.removesuffix("Request"))
    try:
        method(request, timeout=20)
    except grpc.RpcError as error:
        info = error_info(error)
        assert info.reason, error
        return info.reason
    return ""
