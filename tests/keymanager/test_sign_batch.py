"""Signatures that are asked for together are all good, all decided and all on record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from chassis import rlp
from chassis.errors import InvalidField
from chassis.server import Hosted
from keymanager.audit.record import Record
from keymanager.audit.several import FACTS_BYTES_MAX
from keymanager.errors import UseDenied
from keymanager.journal import Asker
from keymanager.secret import Kind
from keymanager.uses.operation import FACT_CHARACTERS_MAX, Operation
from keymanager.uses.transactions import SignTransaction
from keymanager.uses.wallet import SignTypedData
from tests.contracts.contract import refused_field
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.keymanager.authorities import host
from tests.keymanager.uses import samples
from tests.keymanager.vaults import OPERATOR, Bench

AGENT = Asker("runtime", agent="agents/a", purpose="request")
KEY = "secrets/board"
WALLET = "secrets/wallet"


async def open_bench() -> Bench:
    bench = Bench()
    await bench.put(KEY)
    await bench.vault.put("w", WALLET, Kind.SECP256K1, b"", generate=True, by=OPERATOR)
    return bench


@pytest.fixture
async def bench() -> Bench:
    return await open_bench()


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield host(await open_bench())

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[keymanager_pb2_grpc.KeymanagerServiceStub]:
    return keymanager_pb2_grpc.KeymanagerServiceStub


def asking(**payload: object) -> pb.SignRequest:
    request = pb.SignRequest(key=WALLET, purpose=pb.PURPOSE_REQUEST)
    request.MergeFrom(pb.SignRequest(**payload))  # type: ignore[arg-type]  # by name
    return request


# --- Over gRPC -----------------------------------------------------------------------------------


def test_every_signature_of_a_batch_is_of_its_own_message(grpc_stub_as: StubAs) -> None:
    messages = [b"first", b"second", b"third"]
    requests = [asking(key=KEY, message=message) for message in messages]
    answer = grpc_stub_as("runtime").SignBatch(pb.SignBatchRequest(requests=requests))

    assert [one.signature for one in answer.responses] == list(answer.signatures)
    for signature, message in zip(answer.signatures, messages, strict=True):
        key = Ed25519PublicKey.from_public_bytes(signature.public_key)
        key.verify(signature.value, b"actionvm/request/v1\n" + message)


@pytest.mark.parametrize(
    ("second", "refused"),
    [
        (asking(message=b"m"), "requests[1].message"),
        (asking(digest=bytes(32)), "requests[1].digest"),
        (asking(personal_message=b"m", version=2), "requests[1].version"),
        (asking(personal_message=b"m", account="agents/b"), "requests[1].account"),
        (asking(personal_message=b""), "requests[1].message"),
    ],
)
def test_what_does_not_fit_into_a_batch_names_its_place(
    grpc_stub_as: StubAs, second: pb.SignRequest, refused: str
) -> None:
    batch = pb.SignBatchRequest(requests=[asking(personal_message=b"m"), second])
    assert refused_field(lambda: grpc_stub_as("runtime").SignBatch(batch)) == refused


def test_what_all_of_a_batch_have_wrong_names_the_first(grpc_stub_as: StubAs) -> None:
    batch = pb.SignBatchRequest(requests=[asking(message=b"m", key="x", purpose=3)] * 2)
    assert refused_field(lambda: grpc_stub_as("runtime").SignBatch(batch)) == "requests[0].key"


# --- On record -----------------------------------------------------------------------------------


def transfer(value: int) -> SignTransaction:
    rest = (b"\x02", b"\x52\x08", b"\x35" * 20, rlp.encode_integer(value), b"", ())
    return SignTransaction(b"\x02" + rlp.encode((b"\x01", b"", b"\x01", *rest)))


async def sign_all(bench: Bench, operations: Sequence[Operation[object]]) -> None:
    await bench.vault.use_all(WALLET, operations, method="SignBatch", by=AGENT)


def last_record(bench: Bench) -> Record:
    (last,) = bench.vault.records(after=bench.vault.sequence - 1, limit=1)
    return last.record


async def test_the_record_of_a_batch_has_the_facts_of_each(bench: Bench) -> None:
    await sign_all(bench, [transfer(1), transfer(2**60)])
    facts = last_record(bench).facts
    assert (facts["operations"], facts["to"]) == (2, "0x" + "35" * 20)
    assert facts["value"] == [1, str(2**60)]


async def test_the_record_of_a_batch_has_each_rule_that_decided(bench: Bench) -> None:
    rule = {"verdict": "allow", "callers": "*", "secrets": "*", "operations": "*", "purposes": "*"}
    rules = [
        {"name": "small", **rule, "when": {"value": {"at_most": 5}}},
        {"name": "medium", **rule, "when": {"value": {"at_most": 50}}},
    ]
    policy = json.dumps({"format": "actionvm.policy/v1", "rules": rules})
    await bench.vault.put_policy(policy, by=OPERATOR)

    await sign_all(bench, [transfer(1), transfer(10), transfer(2)])
    assert last_record(bench).facts["rules"] == ["small", "medium", "small"]
    with pytest.raises(UseDenied):
        await sign_all(bench, [transfer(1), transfer(100), transfer(2)])
    record = last_record(bench)
    assert (record.verdict, record.rule) == ("deny", "default")
    assert record.facts["rules"] == ["small", "default"]
    assert record.facts["value"] == [1, 100, 2]


async def test_a_batch_that_no_record_can_hold_is_refused(bench: Bench) -> None:
    content = json.loads(samples.TYPED_DATA)
    operations = []
    for number in range(FACTS_BYTES_MAX // FACT_CHARACTERS_MAX):
        content["domain"]["name"] = f"{number:0{FACT_CHARACTERS_MAX}}"
        operations.append(SignTypedData(json.dumps(content).encode()))
    with pytest.raises(InvalidField) as caught:
        await sign_all(bench, operations)
    assert caught.value.field == "requests"
    assert last_record(bench).outcome == "INVALID_FIELD"


async def test_256_transfers_fit_into_a_record(bench: Bench) -> None:
    await sign_all(bench, [transfer(10**17 + number) for number in range(256)])
    assert last_record(bench).facts["operations"] == 256
