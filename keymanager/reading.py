"""What the last commit left of secrets and approvals, read beside the writer."""

from __future__ import annotations

from . import sql
from .approvals import Approval, approval_of
from .batch import Memory
from .errors import SealBroken, SecretNotFound
from .lifecycle import describe
from .register import is_authentic
from .rows import ApprovalRow, SecretRow, VersionRow
from .secret import SYSTEM_TENANT, Secret
from .sql import Cursor, RowT


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
