"""What the last commit left of secrets and approvals, read beside the writer."""

from __future__ import annotations

from datetime import datetime

from . import sql
from .approvals import Approval, ApprovalState, Place, approval_of
from .batch import Memory
from .errors import ApprovalNotFound, SealBroken, SecretNotFound
from .lifecycle import describe
from .register import is_authentic, place_of
from .rows import ApprovalRow, SecretRow, VersionRow
from .sealing import to_microseconds
from .secret import SYSTEM_TENANT, Secret
from .sql import Cursor, RowT


def read_secret(cursor: Cursor, memory: Memory, name: str) -> Secret:
    """Return what is known of a secret, or raise `SecretNotFound` or `SealBroken`."""
    row = sql.get(cursor, SecretRow, (name,))
    if row is None:
        if (SecretRow, (name,)) in memory.register.stamps:
            raise SealBroken(name)
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


def read_waiting(
    cursor: Cursor, memory: Memory, *, now: datetime, after: Place, limit: int
) -> list[Approval]:
    """Return the approvals that wait, oldest first, after a place."""
    where = (
        "WHERE (create_microseconds, name) > (?, ?) AND state = ? AND expire_microseconds > ? "
        "ORDER BY create_microseconds, name LIMIT ?"
    )
    values = (*after, int(ApprovalState.PENDING), to_microseconds(now), limit)
    found = sql.select(cursor, ApprovalRow, where, values)
    return [approval_of(_checked(row, memory, row.name)) for row in found]


def read_approval(
    cursor: Cursor, memory: Memory, name: str, *, now: datetime, of: str = ""
) -> Approval:
    """Return an approval, of a caller if one is named; raise `ApprovalNotFound`, `SealBroken`."""
    row = sql.get(cursor, ApprovalRow, (name,))
    is_over = row is None or row.expire_microseconds <= to_microseconds(now)
    if row is None or is_over or of not in {"", row.caller}:
        raise ApprovalNotFound(name)
    return approval_of(_checked(row, memory, name))


def _describe(cursor: Cursor, memory: Memory, row: SecretRow) -> Secret:
    _checked(row, memory, row.name)
    where = "WHERE secret_id = ? ORDER BY number"
    versions = sql.select(cursor, VersionRow, where, (row.id,))
    return describe(row, [_checked(version, memory, row.name) for version in versions])


def _checked(row: RowT, memory: Memory, name: str) -> RowT:
    """Return a row that is the latest of its place, or raise `SealBroken`."""
    is_latest = memory.register.stamps.get(place_of(row)) == row[-2:]
    if not is_latest or not is_authentic(row, memory.epochs):
        raise SealBroken(name)
    return row
