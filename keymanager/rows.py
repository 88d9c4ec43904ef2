"""The rows of the key manager as values, and the tables that hold them.

A guarded row ends with the epoch whose key authenticates it, and with its MAC. The first columns
are its key. All guarded rows together have a sum, which the anchor holds (`register.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias, get_type_hints

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

# 1 had one row for each secret, under a root key in a file; 2 requests beside the anchor, and
# revocations in another file.
VERSION = 3

TABLES = MetaData()


class SecretRow(NamedTuple):
    """`version` is the present one, `state` a `State`; `id` is another after a shred."""

    name: str
    id: bytes
    tenant: str
    kind: int
    version: int
    state: int
    create_microseconds: int
    epoch: bytes = b""
    mac: bytes = b""


class VersionRow(NamedTuple):
    """The value of a secret, sealed; 0 microseconds of expiry are none."""

    secret_id: bytes
    number: int
    key_id: int
    state: int
    create_microseconds: int
    expire_microseconds: int
    ciphertext: bytes
    epoch: bytes = b""
    mac: bytes = b""


class KeyRow(NamedTuple):
    """A wrapped data key or tenant key; zeros where it was destroyed.

    Rows are added at the end, overwritten in their place and never deleted. So SQLite moves none
    of them, and leaves no copy of a key behind in a page that it rearranged.
    """

    id: int
    content: bytes
    epoch: bytes = b""
    mac: bytes = b""


class TenantRow(NamedTuple):
    """A generation of the key of a tenant, and how many keys it wrapped."""

    tenant: str
    generation: int
    key_id: int
    wraps: int
    create_microseconds: int
    epoch: bytes = b""
    mac: bytes = b""


class PolicyRow(NamedTuple):
    """What operators wrote; the highest version is in force."""

    version: int
    text: str
    author: str
    create_microseconds: int
    epoch: bytes = b""
    mac: bytes = b""


class ApprovalRow(NamedTuple):
    """A question to a person about one exact request, whose digest it has."""

    name: str
    digest: bytes
    secret: str
    operation: str
    caller: str
    agent: str
    purpose: str
    facts: str
    rule: str
    state: int
    decider: str
    create_microseconds: int
    expire_microseconds: int
    epoch: bytes = b""
    mac: bytes = b""


class LeaseRow(NamedTuple):
    """A value that somebody has for a time."""

    name: str
    secret: str
    version: int
    holder: str
    agent: str
    recipient_key: bytes
    state: int
    create_microseconds: int
    expire_microseconds: int
    epoch: bytes = b""
    mac: bytes = b""


class CountRow(NamedTuple):
    """What one operation adds to a limit, in the order in which they were.

    The amount is a text: it may be one of wei, which no number of SQLite holds.
    """

    id: int
    counter: str
    microseconds: int
    amount: str
    epoch: bytes = b""
    mac: bytes = b""


class RequestRow(NamedTuple):
    """A request that was answered: what was asked as a keyed tag, and the answer as JSON.

    The tag is zeros after the secret was shredded: then no repeat fits, and none brings it back.
    """

    id: str
    tag: bytes
    secret: str
    answer: str
    epoch: bytes = b""
    mac: bytes = b""


class RevocationRow(NamedTuple):
    """Who is refused: a SPIFFE id, or `certificate/<serial number>` until it would have ended.

    0 microseconds are no end.
    """

    subject: str
    end_microseconds: int
    epoch: bytes = b""
    mac: bytes = b""


Row: TypeAlias = (
    SecretRow
    | VersionRow
    | KeyRow
    | TenantRow
    | PolicyRow
    | ApprovalRow
    | LeaseRow
    | CountRow
    | RequestRow
    | RevocationRow
)


def _table(name: str, row: type[Row], *, keys: int) -> Table:
    hints = get_type_hints(row)
    kinds = {column: _TYPES[hints[column]] for column in row._fields}
    columns = [Column[object](column, kind, nullable=False) for column, kind in kinds.items()]
    return Table(name, TABLES, *columns, PrimaryKeyConstraint(*row._fields[:keys]))


_TYPES: dict[type, TypeEngine[object]] = {
    str: Text(),  # type: ignore[dict-item]  # what it is in Python does not matter here
    int: BigInteger().with_variant(Integer(), "sqlite"),  # type: ignore[dict-item]  # as above
    bytes: LargeBinary(),  # type: ignore[dict-item]  # as above
}

GUARDED: Mapping[type[Row], Table] = {
    SecretRow: _table("secret", SecretRow, keys=1),
    VersionRow: _table("version", VersionRow, keys=2),
    KeyRow: _table("wrapped_key", KeyRow, keys=1),
    TenantRow: _table("tenant_key", TenantRow, keys=2),
    PolicyRow: _table("policy", PolicyRow, keys=1),
    ApprovalRow: _table("approval", ApprovalRow, keys=1),
    LeaseRow: _table("lease", LeaseRow, keys=1),
    CountRow: _table("use_count", CountRow, keys=1),
    RequestRow: _table("request", RequestRow, keys=1),
    RevocationRow: _table("revocation", RevocationRow, keys=1),
}

# Sealed by the platform twice: for this very code, and for later releases of its signer.
EPOCH = Table(
    "epoch",
    TABLES,
    Column("id", LargeBinary, primary_key=True),
    Column("sealed_code", LargeBinary, nullable=False),
    Column("sealed_signer", LargeBinary, nullable=False),
    Column("create_microseconds", BigInteger, nullable=False),
)
ANCHOR = Table(
    "anchor",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("head", LargeBinary, nullable=False),
    Column("tree", LargeBinary, nullable=False),
    Column("counter", BigInteger, nullable=False),
    # The epoch in use first, then those that a rotation has not ended yet.
    Column("epochs", LargeBinary, nullable=False),
    # Up to here a person accepted that others saw more than there is.
    Column("accepted_sequence", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)
RECORD = Table(
    "record",
    TABLES,
    Column("sequence", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("chain_hash", LargeBinary, nullable=False),
)
# The inner nodes of the Merkle tree over the records, for proofs.
NODE = Table(
    "node",
    TABLES,
    Column("level", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("level", "position"),
    sqlite_with_rowid=False,
)
CHECKPOINT = Table(
    "checkpoint",
    TABLES,
    Column("size", Integer, primary_key=True),
    Column("ledger", Text, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("microseconds", BigInteger, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
Index("ix_secret_id", GUARDED[SecretRow].c.id)
Index("ix_secret_tenant", GUARDED[SecretRow].c.tenant)
Index("ix_request_secret", GUARDED[RequestRow].c.secret)
Index("ix_version_key", GUARDED[VersionRow].c.key_id)
Index("ix_approval_digest", GUARDED[ApprovalRow].c.digest)
_END = GUARDED[VersionRow].c.expire_microseconds
Index("ix_version_end", _END, sqlite_where=_END > 0)
