"""Contract of uses of keys: every RPC is called, with each reason that it documents."""

from __future__ import annotations

import json

import pytest
from google.protobuf.duration_pb2 import Duration

from actionvm.action.v1 import action_pb2
from actionvm.keymanager.v1 import use_pb2 as pb
from actionvm.keymanager.v1 import use_pb2_grpc
from keymanager.secret import Kind
from keymanager.uses.envelopes import SAMPLE_CIPHERTEXT
from keymanager.uses.keys import load_key
from keymanager.uses.sigv4 import AwsPresign
from tests.contracts.contract import Call, make, refused_field
from tests.contracts.keymanagers import AWS, BANNED, RECIPIENT, host
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.keymanager.vaults import HandSetClock

URL = "https://api.example.com/2/tweets"
CONTEXT = "collections/brand"
UNKNOWN = "leases/00000000-0000-4000-8000-000000000000"
Scheme = pb.AuthorizeRequestRequest


def authorize(
    credential: str, scheme: Scheme.Scheme.ValueType, reason: str = "", /, **fields: object
) -> Call:
    request = Scheme(credential=credential, method="GET", url=URL, scheme=scheme)
    request.MergeFrom(Scheme(**fields))  # type: ignore[arg-type]  # of the message
    return Call("AuthorizeRequest", request, caller="runtime", reason=reason)


def knowledge(method: str, request: object, reason: str = "") -> Call:
    return Call(method, request, caller="knowledge", reason=reason)


def release(name: str, reason: str = "", version: int = 0) -> Call:
    request = pb.ReleaseSecretRequest(
        name=f"secrets/{name}", recipient_key=RECIPIENT, version=version
    )
    return Call("ReleaseSecret", request, caller="linker", reason=reason)


def lease(method: str, name: str, reason: str = "", caller: str = "linker") -> Call:
    kinds = {"RenewLease": pb.RenewLeaseRequest, "RevokeLease": pb.RevokeLeaseRequest}
    return Call(method, kinds[method](lease=name), caller=caller, reason=reason)


MINUTE = Duration(seconds=60)
DECRYPT = pb.DecryptRequest(context=CONTEXT, ciphertext=b"no", recipient_key=RECIPIENT)

# Each call stands alone: they may run in any order, and on several machines.
CALLS = [
    authorize("secrets/oauth", Scheme.SCHEME_OAUTH1),
    authorize("secrets/aws", Scheme.SCHEME_AWS_SIGV4, region="us-east-1", service="s3"),
    authorize(
        *("secrets/aws", Scheme.SCHEME_AWS_SIGV4, "INVALID_FIELD"),
        region="us-east-1",
        service="s3",
        body_digest=action_pb2.Digest(sha256="x"),
    ),
    authorize("secrets/aws", Scheme.SCHEME_AWS_SIGV4, "INVALID_FIELD", service="s3"),
    authorize("secrets/login", Scheme.SCHEME_BASIC, "INVALID_FIELD", region="us-east-1"),
    authorize("secrets/es256", Scheme.SCHEME_CDP, key_id="8f6c1a6e-3c8e-4f3e-9d0b-6b0f3f6a2c11"),
    authorize("secrets/es256", Scheme.SCHEME_CDP_WALLET, body_json='{"to": "0x1"}'),
    authorize("secrets/login", Scheme.SCHEME_BASIC),
    authorize("secrets/bearer", Scheme.SCHEME_BEARER, token_type="Bot"),
    authorize("secrets/bearer", Scheme.SCHEME_BEARER, "INVALID_FIELD", token_type="Bot a"),
    authorize("secrets/bearer", Scheme.SCHEME_KEY_HEADER, key_header="x-api-key"),
    authorize("secrets/bearer", Scheme.SCHEME_KEY_HEADER, "INVALID_FIELD"),
    authorize("secrets/bearer", Scheme.SCHEME_KEY_URL, "INVALID_FIELD"),
    authorize("secrets/login", Scheme.SCHEME_BEARER, "KIND_UNSUITABLE"),
    authorize("secrets/login", Scheme.SCHEME_SMTP, "INVALID_FIELD"),
    authorize("secrets/login", Scheme.SCHEME_UNSPECIFIED, "INVALID_FIELD"),
    authorize("secrets/login", Scheme.SCHEME_BASIC, "INVALID_FIELD", account="nobody"),
    authorize("secrets/login", Scheme.SCHEME_BASIC, "VERSION_NOT_FOUND", version=7),
    authorize("secrets/none", Scheme.SCHEME_BASIC, "SECRET_NOT_FOUND"),
    authorize("secrets/board", Scheme.SCHEME_BASIC, "KIND_UNSUITABLE"),
    authorize("secrets/disabled", Scheme.SCHEME_CDP, "SECRET_DISABLED", key_id="a"),
    authorize("secrets/forbidden", Scheme.SCHEME_BASIC, "USE_DENIED"),
    authorize("secrets/guarded", Scheme.SCHEME_CDP, "APPROVAL_REQUIRED", key_id="a"),
    authorize("secrets/guarded", Scheme.SCHEME_BASIC, "KIND_UNSUITABLE"),
    knowledge(
        "GenerateDataKey", pb.GenerateDataKeyRequest(context=CONTEXT, recipient_key=RECIPIENT)
    ),
    knowledge(
        "GenerateDataKey",
        pb.GenerateDataKeyRequest(context=CONTEXT, recipient_key=b"short"),
        "INVALID_FIELD",
    ),
    knowledge("Encrypt", pb.EncryptRequest(context=CONTEXT, plaintext=b"value")),
    knowledge("Encrypt", pb.EncryptRequest(plaintext=b"value"), "INVALID_FIELD"),
    knowledge(
        "Encrypt",
        pb.EncryptRequest(context=CONTEXT, plaintext=b"v", key="secrets/board"),
        "KIND_UNSUITABLE",
    ),
    *(
        knowledge(method, request, "USE_DENIED")
        for method, request in (
            (
                "GenerateDataKey",
                pb.GenerateDataKeyRequest(context=CONTEXT, recipient_key=RECIPIENT, account=BANNED),
            ),
            ("Encrypt", pb.EncryptRequest(context=CONTEXT, plaintext=b"v", account=BANNED)),
            (
                "Decrypt",
                pb.DecryptRequest(
                    context=CONTEXT,
                    ciphertext=SAMPLE_CIPHERTEXT,
                    recipient_key=RECIPIENT,
                    account=BANNED,
                ),
            ),
            (
                "Rewrap",
                pb.RewrapRequest(context=CONTEXT, ciphertext=SAMPLE_CIPHERTEXT, account=BANNED),
            ),
        )
    ),
    knowledge(
        "Encrypt",
        pb.EncryptRequest(context=CONTEXT, plaintext=b"v", account="nobody"),
        "INVALID_FIELD",
    ),
    knowledge("Decrypt", DECRYPT, "INVALID_FIELD"),
    knowledge("Rewrap", pb.RewrapRequest(context=CONTEXT, ciphertext=b"no"), "INVALID_FIELD"),
    release("bearer"),
    release("bearer", "VERSION_NOT_FOUND", version=7),
    release("wallet", "KIND_UNSUITABLE"),
    release("forbidden", "USE_DENIED"),
    Call("ReleaseSecret", pb.ReleaseSecretRequest(), caller="runtime", reason="METHOD_DENIED"),
    lease("RenewLease", UNKNOWN, "LEASE_NOT_FOUND"),
    lease("RenewLease", "leases/1", "INVALID_FIELD"),
    lease("RevokeLease", UNKNOWN, "LEASE_NOT_FOUND"),
    lease("RevokeLease", UNKNOWN, "LEASE_NOT_FOUND", caller="operator"),
]


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    return host()


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[use_pb2_grpc.UseServiceStub]:
    return use_pb2_grpc.UseServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)


def test_what_was_encrypted_is_rewrapped_and_decrypted(grpc_stub_as: StubAs) -> None:
    stub = grpc_stub_as("knowledge")
    ciphertext = stub.Encrypt(pb.EncryptRequest(context=CONTEXT, plaintext=b"value")).ciphertext
    again = stub.Rewrap(pb.RewrapRequest(context=CONTEXT, ciphertext=ciphertext)).ciphertext
    asked = pb.DecryptRequest(context=CONTEXT, ciphertext=again, recipient_key=RECIPIENT)

    assert again != ciphertext
    assert len(stub.Decrypt(asked).sealed_value) > len(b"value")


def test_another_context_does_not_open_it(grpc_stub_as: StubAs) -> None:
    stub = grpc_stub_as("knowledge")
    ciphertext = stub.Encrypt(pb.EncryptRequest(context=CONTEXT, plaintext=b"value")).ciphertext
    asked = pb.DecryptRequest(context="x", ciphertext=ciphertext, recipient_key=RECIPIENT)

    make(grpc_stub_as, knowledge("Decrypt", asked, "INVALID_FIELD"))


@pytest.mark.parametrize(
    ("scheme", "fields", "refused"),
    [
        (Scheme.SCHEME_OAUTH1, {"headers": {"a": "b"}}, "headers"),
        (Scheme.SCHEME_CDP, {"form": {"a": "b"}}, "form"),
        (Scheme.SCHEME_CDP, {"body_json": "{}"}, "body_json"),
        (Scheme.SCHEME_CDP_WALLET, {"key_id": "a"}, "key_id"),
        (Scheme.SCHEME_BASIC, {"service": "s3"}, "service"),
        (Scheme.SCHEME_BASIC, {"presign": MINUTE}, "presign"),
        (Scheme.SCHEME_BEARER, {"key_header": "a"}, "key_header"),
        (Scheme.SCHEME_KEY_URL, {"token_type": "Bot"}, "token_type"),
        (Scheme.SCHEME_AWS_SIGV4, {"presign": MINUTE, "headers": {"a": "b"}}, "headers"),
    ],
)
def test_what_a_scheme_does_not_sign_is_refused(
    grpc_stub_as: StubAs, scheme: Scheme.Scheme.ValueType, fields: dict[str, object], refused: str
) -> None:
    call = authorize("secrets/login", scheme, "", **fields)
    assert refused_field(lambda: grpc_stub_as("runtime").AuthorizeRequest(call.request)) == refused


@pytest.mark.parametrize(
    ("credential", "region", "expected"),
    [("aws", "us-east-1", "us-east-1"), ("aws-home", "", "eu-west-1")],
)
def test_a_url_is_signed_for_so_long_and_for_this_region(
    grpc_stub_as: StubAs, credential: str, region: str, expected: str
) -> None:
    fields = {"service": "s3", "region": region, "presign": MINUTE}
    call = authorize(f"secrets/{credential}", Scheme.SCHEME_AWS_SIGV4, "", **fields)
    answer = grpc_stub_as("runtime").AuthorizeRequest(call.request)

    operation = AwsPresign("GET", URL, "s3", expected, 60)
    key = load_key(Kind.AWS, json.dumps(AWS).encode())
    wanted = operation.perform(key, now=HandSetClock().now(), random_bytes=bytes)
    assert (answer.url, dict(answer.headers), answer.authorization) == (wanted, {}, "")


def test_headers_are_signed_for_the_region_of_the_credential(grpc_stub_as: StubAs) -> None:
    call = authorize("secrets/aws-home", Scheme.SCHEME_AWS_SIGV4, "", service="s3")
    answer = grpc_stub_as("runtime").AuthorizeRequest(call.request)
    assert "/eu-west-1/s3/aws4_request" in answer.authorization


def test_a_lease_is_renewed_and_revoked(grpc_stub_as: StubAs) -> None:
    stub = grpc_stub_as("linker")
    request = pb.ReleaseSecretRequest(name="secrets/bearer", recipient_key=RECIPIENT)
    held = stub.ReleaseSecret(request).lease
    stub.RenewLease(pb.RenewLeaseRequest(lease=held))
    stub.RevokeLease(pb.RevokeLeaseRequest(lease=held))

    make(grpc_stub_as, lease("RenewLease", held, "LEASE_EXPIRED"))
