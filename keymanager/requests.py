"""Requests that may be repeated: a keyed hash of what was asked, and what was answered."""

from __future__ import annotations

import dataclasses
import hmac
import json
from dataclasses import dataclass
from typing import NamedTuple

from chassis.errors import RequestIdReused

from .batch import Batch
from .errors import SealBroken
from .rows import RequestRow, SecretRow
from .sealing import MAC_BYTES, from_microseconds, to_microseconds
from .secret import Kind, Secret, State, Version

_FORGOTTEN = bytes(MAC_BYTES)


@dataclass(frozen=True)
class Request:
    """An idempotency key, and what was asked under it, which is never stored as it is."""

    id: str
    content: bytes = dataclasses.field(repr=False)


class OldAnswer(NamedTuple):
    """What earlier releases kept of a request, from which not all of its answer can be told."""

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


def find_answer(batch: Batch, request: Request, *, name: str) -> Secret | None:
    """Return the first answer to a request about a secret, or None if it is new.

    Raise `RequestIdReused`, or `SealBroken` where the answer was changed.
    """
    row = _find(batch, request, name)
    return _parse(row.secret, row.answer) if row is not None else None


def answered(batch: Batch, request: Request, secret: Secret) -> None:
    """Remember the answer to a request."""
    batch.write(RequestRow(request.id, _tag(batch, request), secret.name, _text(secret)))


def is_repeat(batch: Batch, request: Request) -> bool:
    """Tell whether a request about no secret came before; raise as `find_answer` does."""
    return _find(batch, request, "request") is not None


def remember(batch: Batch, request: Request) -> None:
    """Remember a request about no secret."""
    batch.write(RequestRow(request.id, _tag(batch, request), secret="", answer=""))


def forget(batch: Batch, name: str) -> None:
    """Keep nothing of the values that a secret had; its requests fit no repeat any more."""
    batch.cursor.execute("SELECT id FROM request WHERE secret = ?", (name,))
    for (id_,) in batch.cursor.fetchall():
        if batch.has(RequestRow, id_):
            batch.write(RequestRow(str(id_), _FORGOTTEN, name, answer=""))


def take_over(batch: Batch, old: OldAnswer, *, is_genuine: bool = True) -> None:
    """Keep what an earlier release answered; what was changed since stays broken."""
    made = RequestRow(old.id, _FORGOTTEN, old.secret, answer="")
    try:
        row = batch.find(SecretRow, old.secret, name=old.secret)
    except SealBroken:
        row = None
    if row is not None:
        secret = Secret(
            name=row.name,
            kind=Kind(row.kind),
            version=old.version,
            create_time=from_microseconds(row.create_microseconds),
            rotate_time=from_microseconds(old.rotate_microseconds),
            tenant=row.tenant,
        )
        made = made._replace(tag=old.tag, answer=_text(secret))
    if is_genuine:
        batch.write(made)
    else:
        batch.write_broken(made)


def _text(secret: Secret) -> str:
    """Return all that was answered, none of which is a value."""
    versions = [
        (
            version.number,
            int(version.state),
            to_microseconds(version.create_time),
            to_microseconds(version.expire_time) if version.expire_time else 0,
        )
        for version in secret.versions
    ]
    times = to_microseconds(secret.create_time), to_microseconds(secret.rotate_time)
    head = (int(secret.kind), secret.version, secret.tenant, int(secret.state), *times)
    return json.dumps([*head, versions], separators=(",", ":"))


def _parse(name: str, text: str) -> Secret:
    kind, version, tenant, state, create_time, rotate_time, versions = json.loads(text)
    return Secret(
        name=name,
        kind=Kind(kind),
        version=version,
        create_time=from_microseconds(create_time),
        rotate_time=from_microseconds(rotate_time),
        tenant=tenant,
        state=State(state),
        versions=tuple(
            Version(
                number,
                State(state),
                from_microseconds(created),
                from_microseconds(end) if end else None,
            )
            for number, state, created, end in versions
        ),
    )


def _find(batch: Batch, request: Request, name: str) -> RequestRow | None:
    row = batch.find(RequestRow, request.id, name=name)
    if row is not None and not hmac.compare_digest(row.tag, _tag(batch, request)):
        raise RequestIdReused(request.id)
    return row


def _tag(batch: Batch, request: Request) -> bytes:
    return batch.digest(request.content)
