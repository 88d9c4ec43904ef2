"""Contract of the audit log: every RPC is called, with each reason that it documents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest

from actionvm.keymanager.v1 import audit_pb2 as pb
from actionvm.keymanager.v1 import audit_pb2_grpc
from chassis.evidence.checkpoint import is_signed
from chassis.evidence.log import Log
from chassis.evidence.merkle import leaf_hash
from chassis.evidence.proofs import verify_consistency, verify_inclusion
from chassis.server import Hosted
from tests.contracts.contract import Call, error_info, make
from tests.contracts.keymanagers import open_bench
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.keymanager.authorities import host as host_bench

# Each call stands alone: they may run in any order, and on several machines.
CALLS = [
    Call("ListAuditRecords", pb.ListAuditRecordsRequest(page_size=3)),
    Call("ListAuditRecords", pb.ListAuditRecordsRequest(after_sequence=-1), reason="INVALID_FIELD"),
    Call("ListAuditRecords", pb.ListAuditRecordsRequest(page_size=1_000), reason="AUDIT_BROKEN"),
    Call(
        "ListAuditRecords", pb.ListAuditRecordsRequest(), caller="runtime", reason="METHOD_DENIED"
    ),
    Call("GetCheckpoint", pb.GetCheckpointRequest()),
    Call("ProveInclusion", pb.ProveInclusionRequest(sequence=1)),
    Call("ProveInclusion", pb.ProveInclusionRequest(sequence=999), reason="INVALID_FIELD"),
    Call("ProveInclusion", pb.ProveInclusionRequest(), reason="INVALID_FIELD"),
    Call("ProveConsistency", pb.ProveConsistencyRequest(size=2)),
    Call("ProveConsistency", pb.ProveConsistencyRequest(size=999), reason="INVALID_FIELD"),
    Call("ProveConsistency", pb.ProveConsistencyRequest(size=-1), reason="INVALID_FIELD"),
    Call("ExportAuditLog", pb.ExportAuditLogRequest(after_sequence=999), reason="INVALID_FIELD"),
    Call("ExportAuditLog", pb.ExportAuditLogRequest(after_sequence=-1), reason="INVALID_FIELD"),
    Call("AcceptRollback", pb.AcceptRollbackRequest(sequence=1)),
    Call("AcceptRollback", pb.AcceptRollbackRequest(), reason="INVALID_FIELD"),
]


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        bench = await open_bench()
        bench.clock.advance(timedelta(seconds=2))
        await bench.put("secrets/last", b"value")
        # The last record is one that somebody has changed.
        ((last,),) = bench.execute("SELECT max(sequence) FROM record")
        bench.execute("UPDATE record SET content = ? WHERE sequence = ?", (b"{}", last))
        yield host_bench(bench)

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[audit_pb2_grpc.AuditServiceStub]:
    return audit_pb2_grpc.AuditServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)


def test_a_record_is_proved_to_be_in_the_log(grpc_stub_as: StubAs) -> None:
    stub = grpc_stub_as("operator")
    (record,) = stub.ListAuditRecords(pb.ListAuditRecordsRequest(page_size=1)).records

    proof = stub.ProveInclusion(pb.ProveInclusionRequest(sequence=1))

    assert record.content == proof.content
    assert verify_inclusion(
        leaf_hash(proof.content),
        index=0,
        size=proof.checkpoint.size,
        root=proof.checkpoint.root,
        proof=tuple(proof.path),
    )


@pytest.mark.parametrize("size", range(1, 8))
def test_the_log_is_proved_to_continue_what_it_was(grpc_stub_as: StubAs, size: int) -> None:
    stub = grpc_stub_as("operator")
    before = Log()
    for record in stub.ListAuditRecords(pb.ListAuditRecordsRequest(page_size=size)).records:
        before, _ = before.append(record.content)

    proof = stub.ProveConsistency(pb.ProveConsistencyRequest(size=size))

    newest = proof.checkpoint
    assert newest == stub.GetCheckpoint(pb.GetCheckpointRequest()).checkpoint
    assert is_signed(newest.content, newest.signature, newest.public_key)
    assert verify_consistency(
        before=size,
        root_before=before.root,
        size=newest.size,
        root=newest.root,
        proof=tuple(proof.path),
    )


def test_no_export_is_signed_of_what_was_changed_on_the_disk(grpc_stub_as: StubAs) -> None:
    parts = grpc_stub_as("operator").ExportAuditLog(pb.ExportAuditLogRequest())
    with pytest.raises(grpc.RpcError) as caught:
        list(parts)
    assert error_info(caught.value).reason == "AUDIT_BROKEN"
