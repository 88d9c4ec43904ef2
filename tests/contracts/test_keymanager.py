"""Every RPC of the key manager is called over real gRPC and answers as its contract says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from chassis.server import Hosted
from keymanager.service import KeymanagerService, hosted
from tests.contracts.contract import Call, make
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.keymanager.vaults import Bench

API_KEY = pb.KIND_API_KEY
ED25519 = pb.KIND_ED25519
LONG = b"x" * (64 * 1024 + 1)

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
        reason="NOT_IMPLEMENTED",
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
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="secrets/none"), reason="SECRET_NOT_FOUND"),
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="secrets/bearer"), reason="KIND_UNSUITABLE"),
    Call("GetPublicKey", pb.GetPublicKeyRequest(key="secrets/tampered"), reason="SEAL_BROKEN"),
]


def _sign(
    key: str, purpose: pb.Purpose.ValueType, *, caller: str = "runtime", reason: str = ""
) -> Call:
    request = pb.SignRequest(key=key, purpose=purpose, message=b"message")
    return Call("Sign", request, caller=caller, reason=reason)


SIGNING = [
    _sign("keys/bundles", pb.PURPOSE_BUNDLE, caller="assembler"),
    _sign("keys/receipts", pb.PURPOSE_RECEIPT),
    _sign("secrets/board", pb.PURPOSE_REQUEST),
    _sign("secrets/none", pb.PURPOSE_REQUEST, reason="SECRET_NOT_FOUND"),
    _sign("secrets/bearer", pb.PURPOSE_REQUEST, reason="KIND_UNSUITABLE"),
    _sign("secrets/tampered", pb.PURPOSE_REQUEST, reason="SEAL_BROKEN"),
    _sign("keys/bundles", pb.PURPOSE_BUNDLE, reason="PURPOSE_DENIED"),
    _sign("keys/others", pb.PURPOSE_BUNDLE, reason="INVALID_FIELD"),
    _sign("keys/bundles", pb.PURPOSE_UNSPECIFIED, reason="INVALID_FIELD"),
    _sign("secrets/board", pb.PURPOSE_REQUEST, caller="operator", reason="METHOD_DENIED"),
]

NOT_IMPLEMENTED = [
    Call(method, request, reason="NOT_IMPLEMENTED")
    for method, request in {
        "DisableSecret": pb.DisableSecretRequest(),
        "ReleaseSecret": pb.ReleaseSecretRequest(),
        "SignBatch": pb.SignBatchRequest(),
        "AuthorizeRequest": pb.AuthorizeRequestRequest(),
        "GenerateDataKey": pb.GenerateDataKeyRequest(),
        "Encrypt": pb.EncryptRequest(),
        "Decrypt": pb.DecryptRequest(),
        "Rewrap": pb.RewrapRequest(),
        "EvaluateUse": pb.EvaluateUseRequest(),
        "Enrol": pb.EnrolRequest(),
        "RevokeIdentity": pb.RevokeIdentityRequest(),
        "GetQuote": pb.GetQuoteRequest(),
        "ListAuditRecords": pb.ListAuditRecordsRequest(),
        "Backup": pb.BackupRequest(),
        "Restore": pb.RestoreRequest(),
        "RotateRoot": pb.RotateRootRequest(),
    }.items()
]

CALLS = [*IMPLEMENTED, *SIGNING, *NOT_IMPLEMENTED]


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield hosted(KeymanagerService((await _bench()).vault))

    return build


async def _bench() -> Bench:
    bench = Bench()
    for name in ("board", "tampered", "old"):
        await bench.put(f"secrets/{name}")
    await bench.put("secrets/bearer", b"value")
    bench.write("secrets/tampered", version=2)
    return bench


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[keymanager_pb2_grpc.KeymanagerServiceStub]:
    return keymanager_pb2_grpc.KeymanagerServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'ok'}")
def test_a_call_answers_as_its_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)
