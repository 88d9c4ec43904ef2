"""The audit log as it is stored, read beside the writer: records, proofs, an export.

What is stored must be what the writer knew when the reading began, or continue it; else somebody
changed the files while the key manager runs, and no proof or export is made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chassis.evidence.checkpoint import Checkpoint, verify_checkpoint
from chassis.evidence.lines import Entry, Header
from chassis.evidence.log import FIRST_HEAD, Log
from chassis.evidence.merkle import Tree, leaf_hash
from chassis.evidence.proofs import (
    consistency_proof,
    inclusion_proof,
    root_at,
    verify_consistency,
    verify_inclusion,
)

from .audit.record import WHOLE_MAX, Record, check_chain, record_of
from .batch import Memory
from .errors import AuditBroken
from .sealing import from_microseconds
from .sql import Cell, Cursor


@dataclass(frozen=True)
class Known:
    """How the log was at some time, and the key and the name that it has."""

    log: Log
    checkpoint: Checkpoint | None
    key: bytes
    ledger: str


def known_of(memory: Memory) -> Known:
    """Return what the writer knows; whoever reads must ask before, so that nothing is older."""
    key = memory.own.audit.public_key().public_bytes_raw()
    return Known(memory.anchor.log, memory.checkpoint, key, memory.own.ledger)


@dataclass(frozen=True)
class Recorded:
    """A record with the chain hash over it and all before it."""

    record: Record
    chain_hash: bytes


@dataclass(frozen=True)
class InclusionProof:
    """Proves that a record is in the log of a checkpoint."""

    checkpoint: Checkpoint
    content: bytes
    hashes: tuple[bytes, ...]


@dataclass(frozen=True)
class ConsistencyProof:
    """Proves that the log of a checkpoint begins with an earlier one."""

    checkpoint: Checkpoint
    hashes: tuple[bytes, ...]


@dataclass(frozen=True)
class Excerpt:
    """A part of the log to export: what stands before it, and the checkpoint at its end."""

    header: Header
    last: Checkpoint


class StoredLog:
    """What one transaction sees. Every method raises `AuditBroken` where that is not what was."""

    def __init__(self, cursor: Cursor, known: Known) -> None:
        self._cursor = cursor
        self._known = known

    def recorded(self, *, after: int, limit: int) -> list[Recorded]:
        """Return records after a sequence, in order."""
        entries = self.entries(after=after, limit=limit)
        return [Recorded(record_of(entry.content), entry.chain_hash) for entry in entries]

    def newest_checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint, or None before the first."""
        known = self._known.checkpoint
        found = _checkpoints(self._cursor, "ORDER BY size DESC LIMIT 1", ())
        if not found and known is None:
            return None
        broken = AuditBroken(known.size if known else found[0].size)
        if not found or (known is not None and found[0].size < known.size):
            raise broken
        (newest,) = found
        if known is not None and newest.size == known.size:
            if newest != known:
                raise broken
        elif not is_own(newest, self._known.key, self._known.ledger):
            raise broken
        if self._head_at(newest.size) != newest.head:
            raise AuditBroken(newest.size)
        return newest

    def prove_inclusion(self, sequence: int) -> InclusionProof | None:
        """Return a proof for a record that the newest checkpoint covers, else None."""
        checkpoint = self.newest_checkpoint()
        if checkpoint is None or not 1 <= sequence <= checkpoint.size:
            return None
        (entry,) = self.entries(after=sequence - 1, limit=1)
        index, size = sequence - 1, checkpoint.size
        hashes = inclusion_proof(self._node, index, size)
        leaf = leaf_hash(entry.content)
        if not verify_inclusion(leaf, index=index, size=size, root=checkpoint.root, proof=hashes):
            raise AuditBroken(sequence)
        return InclusionProof(checkpoint, entry.content, hashes)

    def prove_consistency(self, size: int) -> ConsistencyProof | None:
        """Return a proof that the newest checkpoint continues the log of a size, else None."""
        checkpoint = self.newest_checkpoint()
        if checkpoint is None or not 0 <= size <= checkpoint.size:
            return None
        hashes = consistency_proof(self._node, size, checkpoint.size)
        is_proof = verify_consistency(
            before=size,
            root_before=root_at(self._node, size),
            size=checkpoint.size,
            root=checkpoint.root,
            proof=hashes,
        )
        if not is_proof:
            raise AuditBroken(size)
        return ConsistencyProof(checkpoint, hashes)

    def excerpt(self, *, after: int) -> Excerpt | None:
        """Return what there is to export after a sequence: up to the newest checkpoint, or None."""
        checkpoint = self.newest_checkpoint()
        if checkpoint is None or after >= checkpoint.size:
            return None
        header = Header(self._known.ledger, self._known.key, self._log_at(after))
        return Excerpt(header, checkpoint)

    def checkpoints(self, *, after: int, before: int, limit: int) -> list[Checkpoint]:
        """Return checkpoints of logs longer than `after` and shorter than `before`, in order."""
        where = "WHERE size > ? AND size < ? ORDER BY size LIMIT ?"
        return _checkpoints(self._cursor, where, (after, before, limit))

    def entries(self, *, after: int, limit: int) -> list[Entry]:
        """Return records after a sequence, in order, each of which follows the one before."""
        statement = (
            "SELECT sequence, content, chain_hash FROM record "
            "WHERE sequence > ? ORDER BY sequence LIMIT ?"
        )
        self._cursor.execute(statement, (after, limit))
        rows = self._cursor.fetchall()
        if not rows and after >= self._known.log.size:
            return []
        found = list(check_chain(_entries(rows, after), after=after, head=self._head_at(after)))
        known, last = self._known.log, after + len(found)
        if len(found) < limit and last < known.size:
            raise AuditBroken(last + 1)
        if after < known.size <= last and found[known.size - after - 1].chain_hash != known.head:
            raise AuditBroken(known.size)
        return found

    def _log_at(self, size: int) -> Log:
        """Return the state that the log had when it had this many records."""
        if size == 0:
            return Log()
        frontier, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                frontier.append(self._node(level, start >> level))
                start += 1 << level
        return Log(self._head_at(size), Tree(size, tuple(frontier)))

    def _head_at(self, sequence: int) -> bytes:
        if sequence == 0:
            return FIRST_HEAD
        self._cursor.execute("SELECT chain_hash FROM record WHERE sequence = ?", (sequence,))
        return _bytes(self._cursor.fetchone(), sequence)

    def _node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree."""
        statement = "SELECT hash FROM node WHERE level = ? AND position = ?"
        self._cursor.execute(statement, (level, index))
        return _bytes(self._cursor.fetchone(), (index << level) + 1)


def is_own(checkpoint: Checkpoint, key: bytes, ledger: str) -> bool:
    """Tell whether a checkpoint is one that this key signed of this log."""
    return (checkpoint.key, checkpoint.ledger) == (key, ledger) and verify_checkpoint(checkpoint)


def _entries(rows: Sequence[Sequence[Cell]], after: int) -> Iterator[Entry]:
    for expected, (sequence, content, chain_hash) in enumerate(rows, start=after + 1):
        if sequence != expected or type(content) is not bytes or type(chain_hash) is not bytes:
            raise AuditBroken(expected)
        yield Entry(content, chain_hash)


def _checkpoints(cursor: Cursor, where: str, values: Sequence[Cell]) -> list[Checkpoint]:
    columns = "size, ledger, root, head, counter, microseconds, key, signature"
    cursor.execute(f"SELECT {columns} FROM checkpoint {where}", values)  # noqa: S608  # ours
    return [_checkpoint_of(row) for row in cursor.fetchall()]


def _checkpoint_of(row: Sequence[Cell]) -> Checkpoint:
    size, ledger, root, head, counter, microseconds, key, signature = row
    assert isinstance(size, int), "a key of SQLite is whole"
    match ledger, root, head, counter, microseconds, key, signature:
        case str(), bytes(), bytes(), int(), int(), bytes(), bytes() if (
            max(size, counter) <= WHOLE_MAX
        ):
            try:
                time = from_microseconds(microseconds)
            except OverflowError as error:
                raise AuditBroken(size) from error
            return Checkpoint(ledger, size, root, head, counter, time, key, signature)
    raise AuditBroken(size)


def _bytes(row: Sequence[Cell] | None, sequence: int) -> bytes:
    """Return the only cell of a row that stands for a record, or raise `AuditBroken`."""
    if row is None or type(row[0]) is not bytes:
        raise AuditBroken(sequence)
    return row[0]
