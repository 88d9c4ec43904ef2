"""One record of the audit log, and the bytes that stand for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from chassis.canonical import Json, parse_time, time_text
from chassis.evidence.lines import CONTENT_BYTES_MAX, Entry
from chassis.evidence.log import chain

from ..errors import AuditBroken

Fact: TypeAlias = str | int | bool
# A list where one record is about several operations, with an item for each.
Facts: TypeAlias = Mapping[str, Fact | Sequence[Fact | None]]

SHA256_BYTES = 32
# Beyond this, JSON does not hold whole numbers exactly; an amount of wei is soon beyond it.
WHOLE_MAX = 2**53 - 1


@dataclass(frozen=True)
class Record:
    """One use of the key manager: who wanted what, what was decided, and what came of it.

    `sequence` counts from 1, without gaps. `outcome` is `OK` or the reason of an error. The
    request itself is there as its SHA-256 only; `facts` are what a policy looked at.
    """

    sequence: int
    time: datetime
    caller: str
    agent: str
    method: str
    secret: str
    version: int
    operation: str
    purpose: str
    verdict: str
    rule: str
    outcome: str
    request_sha256: bytes
    facts: Facts


# `json.dumps` would make another one each time.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def content_of(record: Record) -> bytes:
    """Return the canonical JSON (RFC 8785) of a record, which is what is hashed and exported.

    Numbers among the facts that JSON cannot hold exactly are written as text.
    """
    assert len(record.request_sha256) == SHA256_BYTES, "it is a SHA-256"
    written = {
        **vars(record),
        "facts": {name: _exact(value) for name, value in record.facts.items()},
        "request_sha256": record.request_sha256.hex(),
        "time": time_text(record.time),
    }
    # Without fractions, and with names in ASCII, this is RFC 8785, at a fifth of the cost.
    assert all(name.isascii() for name in record.facts), "names of facts are words of ours"
    content = _ENCODER.encode(written).encode()
    assert len(content) <= CONTENT_BYTES_MAX, "what goes into a record is limited"
    return content


def check_chain(entries: Iterable[Entry], *, after: int, head: bytes) -> Iterator[Entry]:
    """Yield stored records; `after` is the sequence before them, and `head` its chain hash.

    Raises `AuditBroken` at the first one that is not what was hashed. Who changed all hashes after
    it, too, is found by the next checkpoint.
    """
    for sequence, entry in enumerate(entries, start=after + 1):
        head = chain(head, entry.content)
        if head != entry.chain_hash:
            raise AuditBroken(sequence)
        yield entry


def record_of(content: bytes) -> Record:
    """Return the record that a content which was recorded stands for."""
    written = json.loads(content)
    time, digest = parse_time(written["time"]), bytes.fromhex(written["request_sha256"])
    return Record(**{**written, "time": time, "request_sha256": digest})


def _exact(value: Fact | Sequence[Fact | None] | None) -> Json:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= WHOLE_MAX else str(value)
    return [_exact(one) for one in value]
