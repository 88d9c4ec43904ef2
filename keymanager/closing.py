"""The last writes of a batch: its records, a checkpoint if one is due, and the anchor."""

from __future__ import annotations

from chassis.evidence.checkpoint import Checkpoint, is_checkpoint_due, sign_checkpoint

from . import sql
from .batch import Batch
from .register import Anchor, AnchorRow
from .rows import ANCHOR, CHECKPOINT, NODE, RECORD
from .sealing import to_microseconds


def is_checkpoint_needed(batch: Batch) -> bool:
    """Tell whether a checkpoint is due after this batch."""
    return is_checkpoint_due(batch.log, batch.memory.checkpoint, batch.now)


def close_batch(batch: Batch, counter: int) -> tuple[Anchor, bytes]:
    """Write what remains to be written; return the anchor with its MAC."""
    sql.insert(batch.cursor, RECORD, batch.records)
    sql.insert(batch.cursor, NODE, batch.nodes)
    if is_checkpoint_needed(batch):
        batch.checkpoint = make_checkpoint(batch)
        sql.upsert(batch.cursor, CHECKPOINT, [_row_of(batch.checkpoint)])
    anchor, mac = batch.anchor(counter)
    sql.upsert(batch.cursor, ANCHOR, [AnchorRow.of(anchor, mac)])
    return anchor, mac


def make_checkpoint(batch: Batch) -> Checkpoint:
    """Sign how the log is after this batch; the counter is the one that the platform has now."""
    own = batch.own
    return sign_checkpoint(
        batch.log,
        ledger=own.ledger,
        counter=batch.memory.anchor.counter,
        time=batch.now,
        key=own.audit.public_key().public_bytes_raw(),
        sign=own.audit.sign,
    )


def _row_of(checkpoint: Checkpoint) -> tuple[sql.Cell, ...]:
    return (
        checkpoint.size,
        checkpoint.ledger,
        checkpoint.root,
        checkpoint.head,
        checkpoint.counter,
        to_microseconds(checkpoint.time),
        checkpoint.key,
        checkpoint.signature,
    )
