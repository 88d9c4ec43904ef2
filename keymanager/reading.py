"""What the last commit left, read beside the writer: secrets without values, records, proofs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chassis.evidence.checkpoint import Checkpoint
from chassis.evidence.lines import Entry, Header
from chassis.evidence.log import FIRST_HEAD, Log
from chassis.evidence.merkle import Tree
from chassis.evidence.proofs import consistency_proof, inclusion_proof

from . import sql
from .approvals import Approval, approval_of
from .audit.record import Record, read_records
from .batch import Memory
from .errors import SealBroken, SecretNotFound
from .lifecycle import describe
from .register import is_authentic
from .rows import ApprovalRow, SecretRow, VersionRow
from .sealing import from_microseconds
from .secret import SYSTEM_TENANT, Secret
from .sql import Cursor, RowT


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
class ExportPage:
    """A part of the log, with its checkpoints; `header` says how the log was before it."""

    header: Header
    entries: tuple[Entry, ...]
    checkpoints: tuple[Checkpoint, ...]


def read_secret(cursor: Cursor, memory: Memory, name: str) -> Secret:
    """Return what is known of a secret, or raise `SecretNotFound` or `SealBroken`."""
    row = sql.get(cursor, SecretRow, (name,))
    if row is None:
        raise SecretNotFound(name)
    return _describe(cursor, memory, row)


def read_secrets(
    cursor: Cursor, memory: Memory, *, after: str, limit: int, tenant: str
) -> list[Secret]:
    """Return secrets by name; the keys of services are not among them."""
    where = "WHERE name > ? AND tenant = ?" if tenant else "WHERE name > ? AND tenant != ?"
    found = sql.select(
        cursor,
        SecretRow,
        f"{where} ORDER BY name LIMIT ?",
        (after, tenant or SYSTEM_TENANT, limit),
    )
    return [_describe(cursor, memory, row) for row in found]


def read_approvals(cursor: Cursor, memory: Memory, *, after: str, limit: int) -> list[Approval]:
    """Return approvals by name, whatever their state."""
    where = "WHERE name > ? ORDER BY name LIMIT ?"
    found = sql.select(cursor, ApprovalRow, where, (after, limit))
    return [approval_of(_checked(row, memory, row.name)) for row in found]


def _describe(cursor: Cursor, memory: Memory, row: SecretRow) -> Secret:
    _checked(row, memory, row.name)
    where = "WHERE secret_id = ? ORDER BY number"
    versions = sql.select(cursor, VersionRow, where, (row.id,))
    return describe(row, [_checked(version, memory, row.name) for version in versions])


def _checked(row: RowT, memory: Memory, name: str) -> RowT:
    if not is_authentic(row, memory.epochs):
        raise SealBroken(name)
    return row


def read_recorded(cursor: Cursor, *, after: int, limit: int) -> list[Recorded]:
    """Return records after a sequence, in order, or raise `AuditBroken`."""
    entries = _entries(cursor, after, limit)
    checked = read_records(entries, after=after, head=_head_at(cursor, after))
    return [Recorded(one, entry.chain_hash) for one, entry in zip(checked, entries, strict=True)]


def last_checkpoint(cursor: Cursor) -> Checkpoint | None:
    """Return the newest checkpoint, or None."""
    found = _checkpoints(cursor, "ORDER BY size DESC LIMIT 1", ())
    return found[0] if found else None


def prove_inclusion(cursor: Cursor, sequence: int) -> InclusionProof | None:
    """Return a proof for a record that the newest checkpoint covers, else None."""
    checkpoint = last_checkpoint(cursor)
    if checkpoint is None or not 1 <= sequence <= checkpoint.size:
        return None
    (entry,) = _entries(cursor, sequence - 1, 1)
    hashes = inclusion_proof(_node_reader(cursor), sequence - 1, checkpoint.size)
    return InclusionProof(checkpoint, entry.content, hashes)


def prove_consistency(cursor: Cursor, size: int) -> ConsistencyProof | None:
    """Return a proof that the newest checkpoint continues the log of a size, else None."""
    checkpoint = last_checkpoint(cursor)
    if checkpoint is None or not 0 <= size <= checkpoint.size:
        return None
    return ConsistencyProof(
        checkpoint, consistency_proof(_node_reader(cursor), size, checkpoint.size)
    )


def read_export(cursor: Cursor, memory: Memory, *, after: int, limit: int) -> ExportPage:
    """Return records after a sequence up to a checkpoint, for `chassis.evidence.export`."""
    key = memory.own.audit.public_key().public_bytes_raw()
    header = Header(memory.own.ledger, key, _log_at(cursor, after))
    where = "WHERE size > ? AND size <= ? ORDER BY size"
    checkpoints = _checkpoints(cursor, where, (after, after + limit))
    if not checkpoints:
        # A checkpoint may be further away than a page is long.
        checkpoints = _checkpoints(cursor, "WHERE size > ? ORDER BY size LIMIT 1", (after,))
    end = checkpoints[-1].size if checkpoints else after
    return ExportPage(header, tuple(_entries(cursor, after, end - after)), tuple(checkpoints))


def _entries(cursor: Cursor, after: int, limit: int) -> list[Entry]:
    statement = (
        "SELECT content, chain_hash FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?"
    )
    cursor.execute(statement, (after, limit))
    return [Entry(_bytes(content), _bytes(head)) for content, head in cursor.fetchall()]


def _log_at(cursor: Cursor, size: int) -> Log:
    """Return the state that the log had when it had this many records."""
    if size == 0:
        return Log()
    read, frontier, start = _node_reader(cursor), [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            frontier.append(read(level, start >> level))
            start += 1 << level
    return Log(_head_at(cursor, size), Tree(size, tuple(frontier)))


def _head_at(cursor: Cursor, sequence: int) -> bytes:
    cursor.execute("SELECT chain_hash FROM record WHERE sequence = ?", (sequence,))
    (head,) = cursor.fetchone() or (FIRST_HEAD,)
    return _bytes(head)


def _node_reader(cursor: Cursor) -> NodeReader:
    return NodeReader(cursor)


class NodeReader:
    """Reads hashes of the tree, as proofs want them."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree."""
        statement = "SELECT hash FROM node WHERE level = ? AND position = ?"
        self._cursor.execute(statement, (level, index))
        (found,) = self._cursor.fetchone() or (b"",)
        return _bytes(found)


def _checkpoints(cursor: Cursor, where: str, values: Sequence[sql.Cell]) -> list[Checkpoint]:
    columns = "size, ledger, root, head, counter, microseconds, key, signature"
    cursor.execute(f"SELECT {columns} FROM checkpoint {where}", values)  # noqa: S608  # ours
    return list(_checkpoints_of(cursor.fetchall()))


def _checkpoints_of(rows: list[tuple[sql.Cell, ...]]) -> Iterator[Checkpoint]:
    for size, ledger, root, head, counter, microseconds, key, signature in rows:
        yield Checkpoint(
            ledger=str(ledger),
            size=int(size),
            root=_bytes(root),
            head=_bytes(head),
            counter=int(counter),
            time=from_microseconds(int(microseconds)),
            key=_bytes(key),
            signature=_bytes(signature),
        )


def _bytes(cell: sql.Cell) -> bytes:
    assert isinstance(cell, bytes), "the table says so"
    return cell
