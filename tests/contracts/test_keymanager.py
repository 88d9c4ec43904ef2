"""Every RPC of the key manager is called over real gRPC and answers as its contract says."""

from __future__ import annotations

import hashlib

import pytest

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from keymanager.platform.port import Quote
from keymanager.platform.quotes import verify_quote
from keymanager.secret import Kind
from tests.contracts.contract import Call, make
from tests.contracts.keymanagers import host, open_bench
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.keymanager.vaults import OPERATOR, Bench

API_KEY = pb.KIND_API_KEY
ED25519 = pb.KIND_ED25519
LONG = b"x" * (64 * 1024 + 1)


def _public_key(key: str, reason: str) -> Call:
    return Call("GetPublicKey", pb.GetPublicKeyRequest(key=key), caller="viewer", reason=reason)


IMPLEMENTED = [
    Call(
        "PutSecret",
        pb.PutSecretRequest(request_id="1", name="secrets/new", kind=API_KEY, value=b"v"),
    ),
    Call(
        "PutSecret",
        pb.PutSecretRequest(request_id="2", name="secrets/made", kind=ED25519, generate=True),
    ),
    Call(
        "PutSecret",
        pb.PutSecretRequest(request_id="3", name="secrets/board", kind=API_KEY, value=b"v"),
        reason="SECRET_EXISTS",
    ),
    Call(
        "PutSecret",
        pb.PutSecretRequest(request_id="board", name="secrets/board", kind=API_KEY, value=b"other"),
        reason="REQUEST_ID_REUSED",
    ),
    Call(
        "PutSecret",
        pb.PutSecretRequest(request_id="4", name="secrets/x", kind=pb.KIND_OAUTH1, value=b"v"),
        reason="INVALID_FIELD",
    ),
    Call(
        "PutSecret", pb.PutSecretRequest(request_id="4", name="secrets/x"), reason="INVALID_FIELD"
    ),
    Call(
        "PutSecret",
        pb.PutSecretRequest(request_id="5", name="secrets/x", kind=API_KEY, value=LONG),
        reason="INVALID_FIELD",
    ),
    Call("PutSecret", pb.PutSecretRequest(), caller="runtime", reason="METHOD_DENIED"),
    Call("PutSecret", pb.PutSecretRequest(), caller="nobody", reason="TOKEN_INVALID"),
    Call(
        "RotateSecret",
        pb.RotateSecretRequest(request_id="6", name="secrets/board", generate=True),
    ),
    Call(
        "RotateSecret",
        pb.RotateSecretRequest(request_id="board", name="secrets/board", generate=True),
        reason="REQUEST_ID_REUSED",
    ),
    Call(
        "RotateSecret",
        pb.RotateSecretRequest(request_id="7", name="secrets/none", generate=True),
        reason="SECRET_NOT_FOUND",
    ),
    Call(
        "RotateSecret",
        pb.RotateSecretRequest(request_id="8", name="secrets/tampered", generate=True),
        reason="SEAL_BROKEN",
    ),
    Call("ShredSecret", pb.ShredSecretRequest(name="secrets/old")),
    Call("ShredSecret", pb.ShredSecretRequest(name="secrets/none"), reason="SECRET_NOT_FOUND"),
    Call("ListSecrets", pb.ListSecretsRequest(page_size=1)),
    Call("ListSecrets", pb.ListSecretsRequest(page_size=1_000), reason="SEAL_BROKEN"),
    Call("ListSecrets", pb.ListSecretsRequest(page_token="?"), reason="INVALID_FIELD"),
    Call("GetSecret", pb.GetSecretRequest(name="secrets/board"), caller="assembler"),
    Call("GetSecret", pb.GetSecretRequest(name="secrets/none"), reason="SECRET_NOT_FOUND"),
    Call("GetSecret", pb.GetSecretRequest(name="secrets/tampered"), reason="SEAL_BROKEN"),
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="keys/bundles")),
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="keys/receipts"), caller="runtime"),
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="secrets/board"), caller="runtime"),
    _public_key("secrets/none", "SECRET_NOT_FOUND"),
    _public_key("secrets/bearer", "KIND_UNSUITABLE"),
    _public_key("secrets/disabled", "SECRET_DISABLED"),
    _public_key("secrets/forbidden", "USE_DENIED"),
    _public_key("secrets/guarded", "APPROVAL_REQUIRED"),
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="secrets/none"), reason="SECRET_NOT_FOUND"),
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="secrets/disabled"), reason="SECRET_DISABLED"),
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="secrets/bearer"), reason="KIND_UNSUITABLE"),
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="secrets/tampered"), reason="SEAL_BROKEN"),
]


def _sign(
    key: str, purpose: pb.Purpose.ValueType, *, caller: str = "runtime", reason: str = ""
) -> Call:
    request = pb.SignRequest(key=key, purpose=purpose, message=b"message")
    return Call("Sign", request, caller=caller, reason=reason)


def _payload(name: str, reason: str = "", /, **fields: object) -> Call:
    request = pb.SignRequest(key=f"secrets/{name}", purpose=pb.PURPOSE_REQUEST)
    request.MergeFrom(pb.SignRequest(**fields))  # type: ignore[arg-type]  # of the message
    return Call("Sign", request, caller="runtime", reason=reason)


SIGNING = [
    _sign("keys/bundles", pb.PURPOSE_BUNDLE, caller="assembler"),
    _sign("keys/receipts", pb.PURPOSE_RECEIPT),
    _sign("secrets/board", pb.PURPOSE_REQUEST),
    _sign("secrets/none", pb.PURPOSE_REQUEST, reason="SECRET_NOT_FOUND"),
    _sign("secrets/bearer", pb.PURPOSE_REQUEST, reason="KIND_UNSUITABLE"),
    _sign("secrets/tampered", pb.PURPOSE_REQUEST, reason="SEAL_BROKEN"),
    _sign("keys/others", pb.PURPOSE_REQUEST, reason="SECRET_NOT_FOUND"),
    _sign("keys/audit", pb.PURPOSE_REQUEST, reason="SECRET_NOT_FOUND"),
    _sign("others", pb.PURPOSE_REQUEST, reason="INVALID_FIELD"),
    _sign("keys/bundles", pb.PURPOSE_UNSPECIFIED, reason="INVALID_FIELD"),
    _sign("secrets/board", pb.PURPOSE_REQUEST, caller="operator", reason="METHOD_DENIED"),
]


def _batch(*keys: str, reason: str = "") -> Call:
    requests = [
        pb.SignRequest(key=key, purpose=pb.PURPOSE_REQUEST, message=b"message") for key in keys
    ]
    return Call("SignBatch", pb.SignBatchRequest(requests=requests), "runtime", reason)


SIGNING_OTHERWISE = [
    _payload("wallet", digest=bytes(32)),
    _payload("wallet", "INVALID_FIELD", digest=b"short"),
    _payload("wallet", "INVALID_FIELD", digest=bytes(32), message=b"both"),
    _payload("wallet", personal_message=b"hello"),
    _payload("wallet", "INVALID_FIELD", transaction=b"no transaction"),
    _payload("wallet", "INVALID_FIELD", typed_data="{}"),
    _payload("board", "INVALID_FIELD", farcaster_message=b"x"),
    _payload("board", "KIND_UNSUITABLE", hmac_sha256=b"x"),
    _payload("mac", hmac_sha256=b"x"),
    _payload("mac", hmac_sha512=b"x"),
    _payload("board", "SECRET_DISABLED", message=b"x", key="secrets/disabled"),
    _payload("board", "USE_DENIED", message=b"x", key="secrets/forbidden"),
    _payload("board", "APPROVAL_REQUIRED", message=b"x", key="secrets/guarded"),
    _payload("board", "VERSION_NOT_FOUND", message=b"x", version=7),
    _payload("board", "INVALID_FIELD", message=b"x", account="x"),
    _batch("secrets/board", "secrets/board"),
    _batch(reason="INVALID_FIELD"),
    _batch("secrets/board", "secrets/old", reason="INVALID_FIELD"),
]

LIFE = [
    Call("DisableSecret", pb.DisableSecretRequest(name="secrets/idle")),
    Call("DisableSecret", pb.DisableSecretRequest(name="x"), reason="INVALID_FIELD"),
    Call("DisableSecret", pb.DisableSecretRequest(name="secrets/none"), reason="SECRET_NOT_FOUND"),
    Call("EnableSecret", pb.EnableSecretRequest(name="secrets/idle")),
    Call("EnableSecret", pb.EnableSecretRequest(name="secrets/none"), reason="SECRET_NOT_FOUND"),
    Call(
        "EnableSecret",
        pb.EnableSecretRequest(name="secrets/idle", version=9),
        reason="VERSION_NOT_FOUND",
    ),
    Call(
        "ShredSecret",
        pb.ShredSecretRequest(name="secrets/idle", version=1),
        reason="VERSION_IN_USE",
    ),
    Call("ShredTenant", pb.ShredTenantRequest(), reason="INVALID_FIELD"),
    Call("ShredTenant", pb.ShredTenantRequest(tenant="tenants/none"), reason="TENANT_NOT_FOUND"),
    Call("ShredTenant", pb.ShredTenantRequest(tenant="tenants/acme")),
]

QUOTES = [
    Call("GetQuote", pb.GetQuoteRequest(nonce=bytes(32)), caller="viewer"),
    Call("GetQuote", pb.GetQuoteRequest(nonce=b"short"), reason="INVALID_FIELD"),
]

GAS = "spiffe://actionvm/service/gas"
IDENTITY = [
    Call("BeginEnrolment", pb.BeginEnrolmentRequest(), caller="nobody"),
    Call("Enrol", pb.EnrolRequest(), caller="nobody", reason="INVALID_FIELD"),
    Call("RevokeIdentity", pb.RevokeIdentityRequest(), reason="INVALID_FIELD"),
    Call("RevokeIdentity", pb.RevokeIdentityRequest(identity=GAS)),
    Call(
        "RevokeIdentity",
        pb.RevokeIdentityRequest(serial_number="0b"),
        caller="auditor",
        reason="METHOD_DENIED",
    ),
    Call("ReinstateIdentity", pb.ReinstateIdentityRequest(identity=GAS)),
    Call("WatchRevocations", pb.WatchRevocationsRequest(), reason="METHOD_DENIED"),
]

CALLS = [*IMPLEMENTED, *SIGNING, *SIGNING_OTHERWISE, *LIFE, *IDENTITY, *QUOTES]


async def _bench() -> Bench:
    bench = await open_bench()
    for name in ("tampered", "idle"):
        await bench.put(f"secrets/{name}")
    await bench.vault.put(
        "acme", "secrets/acme", Kind.ED25519, b"", generate=True, by=OPERATOR, tenant="tenants/acme"
    )
    bench.write("secrets/tampered", version=2)
    return bench


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    return host(_bench)


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[keymanager_pb2_grpc.KeymanagerServiceStub]:
    return keymanager_pb2_grpc.KeymanagerServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'ok'}")
def test_a_call_answers_as_its_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)


def test_a_quote_says_that_an_emulation_is_no_hardware(grpc_stub_as: StubAs) -> None:
    nonce = bytes(range(32))
    found = grpc_stub_as("operator").GetQuote(pb.GetQuoteRequest(nonce=nonce)).quote
    report = hashlib.sha512(b"actionvm/quote-of-keymanager/v1" + nonce).digest()

    quote = Quote.from_bytes(found.content)

    verify_quote(
        quote, report_data=report, trusted_keys={quote.key}, allow_emulated=True, allow_debug=False
    )
    assert not found.hardware
