"""Requests that may be repeated: a keyed hash of what was asked, and what was answered."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chassis.errors import RequestIdReused

from . import sql
from .batch import Batch
from .errors import SealBroken
from .rows import REQUEST, SecretRow
from .sealing import MAC_BYTES, encode, from_microseconds, to_microseconds
from .secret import Kind, Secret

_FORGOTTEN = bytes(MAC_BYTES)


@dataclass(frozen=True)
class Request:
    """An idempotency key, and what was asked under it, which is never stored as it is."""

    id: str
    content: bytes = dataclasses.field(repr=False)


class Answer(NamedTuple):
    """A request, and what it was answered: a version of a secret, and when that was made."""

    id: str
    tag: bytes
    secret: str
    version: int
    rotate_microseconds: int


def content_of(method: bytes, name: str, kind: str, value: bytes, *extras: str) -> bytes:
    """Return all that tells one request from another."""
    generates, *rest = (extra.encode() for extra in extras)
    # The first five are as in the first release: a repeat may come after the upgrade.
    return join(method, name.encode(), kind.encode(), generates, value, *rest)


def join(*parts: bytes) -> bytes:
    """Join parts so that no other parts give the same bytes, as the first release did."""
    return b"".join(
        place.to_bytes(1) + len(part).to_bytes(4) + part
        for place, part in enumerate(parts, start=1)
    )


def find_answer(batch: Batch, request: Request) -> Secret | None:
    """Return the first answer to a request, None if it is new, or raise `RequestIdReused`."""
    statement = (
        "SELECT id, tag, secret, version, rotate_microseconds, mac FROM request WHERE id = ?"
    )
    batch.cursor.execute(statement, (request.id,))
    found = batch.cursor.fetchone()
    if found is None:
        return None
    *answer, mac = found
    _, tag, name, version, rotate_microseconds = answer
    assert isinstance(tag, bytes), "the table says so"
    if _mac(batch, answer) != mac:
        raise SealBroken(str(name))
    if not hmac.compare_digest(tag, _tag(batch, request)):
        raise RequestIdReused(request.id)
    row = batch.get(SecretRow, str(name), name=str(name))
    return Secret(
        name=row.name,
        kind=Kind(row.kind),
        version=int(version),
        create_time=from_microseconds(row.create_microseconds),
        rotate_time=from_microseconds(int(rotate_microseconds)),
        tenant=row.tenant,
    )


def answered(batch: Batch, request: Request, secret: Secret) -> None:
    """Remember the answer to a request."""
    rotate_microseconds = to_microseconds(secret.rotate_time)
    tag = _tag(batch, request)
    write(batch, Answer(request.id, tag, secret.name, secret.version, rotate_microseconds))


def write(batch: Batch, answer: Answer) -> None:
    """Store a request with its answer."""
    sql.upsert(batch.cursor, REQUEST, [(*answer, _mac(batch, answer))])


def forget(batch: Batch, name: str) -> None:
    """Keep nothing of the values that a secret had; its requests fit no repeat any more."""
    statement = "SELECT id, tag, secret, version, rotate_microseconds FROM request WHERE secret = ?"
    batch.cursor.execute(statement, (name,))
    for id_, _, secret, version, time in batch.cursor.fetchall():
        write(batch, Answer(str(id_), _FORGOTTEN, str(secret), int(version), int(time)))


def _tag(batch: Batch, request: Request) -> bytes:
    return batch.digest(request.content)


def _mac(batch: Batch, answer: Sequence[sql.Cell]) -> bytes:
    return batch.digest(encode("request", *answer))
