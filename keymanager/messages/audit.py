"""The audit log as the contract has it."""

from __future__ import annotations

from actionvm.keymanager.v1 import audit_pb2 as pb
from chassis.canonical import canonical_json
from chassis.evidence.checkpoint import PREFIX, Checkpoint

from ..audit.record import content_of
from ..stored_log import Recorded
from .secrets import time_to_proto


def record_to_proto(recorded: Recorded) -> pb.AuditRecord:
    """Return a record, with the bytes that the chain covers."""
    record = recorded.record
    return pb.AuditRecord(
        sequence=record.sequence,
        caller=record.caller,
        method=record.method,
        secret=record.secret,
        chain_hash=recorded.chain_hash,
        create_time=time_to_proto(record.time),
        account=record.agent,
        version=record.version,
        operation=record.operation,
        purpose=record.purpose,
        verdict=record.verdict,
        rule=record.rule,
        outcome=record.outcome,
        content=content_of(record),
    )


def checkpoint_to_proto(checkpoint: Checkpoint) -> pb.Checkpoint:
    """Return a checkpoint, with the bytes that are signed."""
    return pb.Checkpoint(
        size=checkpoint.size,
        root=checkpoint.root,
        head=checkpoint.head,
        counter=checkpoint.counter,
        create_time=time_to_proto(checkpoint.time),
        public_key=checkpoint.key,
        signature=checkpoint.signature,
        content=PREFIX + canonical_json(checkpoint.facts),
        ledger=checkpoint.ledger,
    )
