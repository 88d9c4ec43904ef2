"""Checks the ledger without trusting whoever sent it: recomputes its chain of hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import rfc8785

from actionvm.gas.v1 import gas_pb2
from chassis.canonical import Json, canonical_json

from .output import to_json

FIRST_HASH = bytes(32)
CHAINED_FIELDS = (
    "cause",
    "credit_account",
    "debit_account",
    "gas",
    "hold",
    "item",
    "kind",
    "line",
    "price_version",
    "sequence",
    "usages",
)


@dataclass(frozen=True)
class Anchor:
    """A hash that somebody kept from an earlier look: everything up to it must be as it was."""

    sequence: int
    chain_hash: bytes


@dataclass(frozen=True)
class Chain:
    """What a look at a ledger found; `flaw` is empty if all of it fits together."""

    count: int
    head: bytes
    flaw: str


def verify(entries: Iterable[gas_pb2.Entry], anchor: Anchor | None = None) -> Chain:
    """Recompute every hash from the first entry on."""
    count, head = 0, FIRST_HASH
    kept = anchor is None
    for entry in entries:
        if entry.sequence != count + 1:
            return Chain(count, head, f"entry {count + 1} is missing: {entry.sequence} follows")
        if _hash(head, entry) != entry.chain_hash:
            return Chain(count, head, f"entry {entry.sequence} was changed: its hash does not fit")
        count, head = entry.sequence, entry.chain_hash
        if anchor is not None and count == anchor.sequence:
            if head != anchor.chain_hash:
                return Chain(count, head, f"entry {count} or one before it is not what it was")
            kept = True
    return Chain(count, head, "" if kept else f"it ends before the entry that was kept: at {count}")


def _hash(before: bytes, entry: gas_pb2.Entry) -> bytes:
    """Return the hash of an entry as the contract defines it; of what no ledger holds, none."""
    fields = to_json(entry)
    content: dict[str, Json] = {name: fields[name] for name in CHAINED_FIELDS}
    content["create_time"] = _time(entry)
    if entry.HasField("fee"):
        content["fee"] = fields["fee"]
    try:
        return hashlib.sha256(before + canonical_json(content)).digest()
    except rfc8785.CanonicalizationError:
        return b""


def _time(entry: gas_pb2.Entry) -> str:
    # All six digits, also zeros, which the JSON of protobuf leaves out.
    return f"{entry.create_time.ToDatetime():%Y-%m-%dT%H:%M:%S.%fZ}"
