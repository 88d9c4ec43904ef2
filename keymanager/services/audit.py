"""The contract of the audit log: records, checkpoints, proofs, and an export."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from actionvm.keymanager.v1 import audit_pb2 as pb
from actionvm.keymanager.v1 import audit_pb2_grpc
from chassis.errors import InvalidField
from chassis.evidence.export import export_lines
from chassis.fields import page_limit, require_range
from chassis.identity import AUDITORS, OPERATOR, current_caller

from ..journal import Asker
from ..messages.audit import checkpoint_to_proto, record_to_proto
from ..stored_log import StoredLog
from ..vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from chassis.evidence.checkpoint import Checkpoint
    from chassis.evidence.lines import Entry
    from chassis.interceptors import Context


SEQUENCE_MAX = 2**53 - 1
PAGE = 1_024
PART_BYTES = 256 * 1024

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["AuditService"]

CALLERS = {
    "ListAuditRecords": AUDITORS,
    "GetCheckpoint": AUDITORS,
    "ProveInclusion": AUDITORS,
    "ProveConsistency": AUDITORS,
    "ExportAuditLog": AUDITORS,
    "AcceptRollback": frozenset({OPERATOR}),
}


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """Everybody who is trusted with it may check that nothing is missing."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def ListAuditRecords(
        self, request: pb.ListAuditRecordsRequest, context: Context
    ) -> pb.ListAuditRecordsResponse:
        require_range("after_sequence", request.after_sequence, least=0, most=SEQUENCE_MAX)
        limit = page_limit(request.page_size)
        after = request.after_sequence
        found = await asyncio.to_thread(self._vault.records, after=after, limit=limit)
        return pb.ListAuditRecordsResponse(records=map(record_to_proto, found))

    async def GetCheckpoint(
        self, request: pb.GetCheckpointRequest, context: Context
    ) -> pb.GetCheckpointResponse:
        found = await asyncio.to_thread(self._vault.checkpoint)
        if found is None:
            return pb.GetCheckpointResponse()
        return pb.GetCheckpointResponse(checkpoint=checkpoint_to_proto(found))

    async def ProveInclusion(
        self, request: pb.ProveInclusionRequest, context: Context
    ) -> pb.ProveInclusionResponse:
        require_range("sequence", request.sequence, least=1, most=SEQUENCE_MAX)
        proof = await asyncio.to_thread(self._vault.prove_inclusion, request.sequence)
        if proof is None:
            raise InvalidField("sequence", "is not below the newest checkpoint; try again later")
        return pb.ProveInclusionResponse(
            path=proof.hashes,
            content=proof.content,
            checkpoint=checkpoint_to_proto(proof.checkpoint),
        )

    async def ProveConsistency(
        self, request: pb.ProveConsistencyRequest, context: Context
    ) -> pb.ProveConsistencyResponse:
        require_range("size", request.size, least=1, most=SEQUENCE_MAX)
        proof = await asyncio.to_thread(self._vault.prove_consistency, request.size)
        if proof is None:
            raise InvalidField("size", "is not below the newest checkpoint; try again later")
        return pb.ProveConsistencyResponse(
            path=proof.hashes, checkpoint=checkpoint_to_proto(proof.checkpoint)
        )

    async def ExportAuditLog(
        self, request: pb.ExportAuditLogRequest, context: Context
    ) -> AsyncIterator[pb.ExportAuditLogResponse]:
        require_range("after_sequence", request.after_sequence, least=0, most=SEQUENCE_MAX)
        parts = export_parts(self._vault, request.after_sequence)
        while (part := await asyncio.to_thread(next, parts, b"")) != b"":
            yield pb.ExportAuditLogResponse(lines=part)

    async def AcceptRollback(
        self, request: pb.AcceptRollbackRequest, context: Context
    ) -> pb.AcceptRollbackResponse:
        require_range("sequence", request.sequence, least=1, most=SEQUENCE_MAX)
        await self._vault.accept_rollback(request.sequence, by=Asker(current_caller()))
        return pb.AcceptRollbackResponse()


def export_parts(vault: Vault, after: int) -> Iterator[bytes]:
    """Yield the export of the log from a sequence on, in parts of whole lines, a page at a time."""
    found = vault.read_log(lambda log: log.excerpt(after=after))
    if found is None:
        raise InvalidField("after_sequence", "is not below the newest checkpoint; nothing is new")
    end = found.last.size
    entries, checkpoints = _entries(vault, after, end), _checkpoints(vault, after, end)
    buffered = bytearray()
    for line in export_lines(
        found.header, entries, chain(checkpoints, [found.last]), vault.sign_export
    ):
        buffered += line
        if len(buffered) >= PART_BYTES:
            yield bytes(buffered)
            buffered.clear()
    yield bytes(buffered)


def _entries(vault: Vault, after: int, end: int) -> Iterator[Entry]:
    while after < end:
        read = partial(StoredLog.entries, after=after, limit=min(PAGE, end - after))
        yield from vault.read_log(read)
        after += PAGE


def _checkpoints(vault: Vault, after: int, end: int) -> Iterator[Checkpoint]:
    read = partial(StoredLog.checkpoints, before=end, limit=PAGE)
    while page := vault.read_log(partial(read, after=after)):
        yield from page
        after = page[-1].size
