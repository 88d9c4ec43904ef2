"""Leases: a bearer key is handed to a service for a time, sealed to a key of the service."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import ClassVar

from .batch import Batch
from .errors import LeaseExpired, LeaseNotFound, VersionNotFound
from .journal import Asker, Entry
from .lifecycle import existing, usable
from .policy.rule import Verdict
from .rows import LeaseRow
from .sealing import from_microseconds
from .signing import Purpose
from .uses.handover import Release
from .using import Use

LIFE = timedelta(minutes=10)
KEPT = timedelta(days=1)


class LeaseState(IntEnum):
    """Whether the holder may still keep the value."""

    ACTIVE = 1
    REVOKED = 2


@dataclass(frozen=True)
class Lease:
    """What a holder has; only the recipient's key opens `sealed_value`, empty on a renewal."""

    name: str
    secret: str
    version: int
    holder: str
    agent: str
    expire_time: datetime
    state: LeaseState
    sealed_value: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Lend:
    """Release a value for a time; the policy decides as about every use."""

    method: ClassVar[str] = "ReleaseSecret"

    by: Asker
    name: str
    release: Release
    life: timedelta = LIFE
    version: int = 0

    def decide(self, batch: Batch, entry: Entry) -> Lease:
        asked = Use(self.by, self.method, self.name, (self.release,), self.version)
        (sealed,) = asked.decide(batch, entry)
        assert isinstance(sealed, bytes), "a release is a ciphertext"
        row = LeaseRow(
            name=f"leases/{uuid.UUID(bytes=batch.random_bytes(16), version=4)}",
            secret=self.name,
            version=entry.version,
            holder=self.by.caller,
            agent=self.by.agent,
            recipient_key=self.release.recipient_key,
            state=LeaseState.ACTIVE,
            create_microseconds=batch.microseconds,
            expire_microseconds=batch.microseconds + self.life // timedelta(microseconds=1),
        )
        batch.write(row)
        return _lease_of(row, sealed)


@dataclass(frozen=True)
class Renew:
    """Keep a value for longer, if it would still be released; what was rotated is not renewed.

    A renewal is no release of its own: limits do not count it. Where a rule asks, a person has said
    yes to one lease, so the next one needs a release.
    """

    method: ClassVar[str] = "RenewLease"

    by: Asker
    name: str
    life: timedelta = LIFE

    def decide(self, batch: Batch, entry: Entry) -> Lease:
        row = _held(batch, self.name, self.by.caller)
        entry.secret, entry.version = row.secret, row.version
        if row.state != LeaseState.ACTIVE or row.expire_microseconds <= batch.microseconds:
            raise LeaseExpired(self.name)
        entry.by = Asker(row.holder, row.agent, Purpose.GENERATION.value)
        release = Release(Purpose.GENERATION.value, row.recipient_key)
        asked = Use(entry.by, self.method, row.secret, (release,), row.version)
        if asked.judge(batch, entry) is Verdict.ASK:
            raise LeaseExpired(self.name)
        secret = existing(batch, row.secret)
        if secret.version != row.version:
            raise VersionNotFound(row.secret, row.version)
        usable(batch, secret, row.version)
        end = batch.microseconds + self.life // timedelta(microseconds=1)
        row = row._replace(expire_microseconds=end)
        batch.write(row)
        return _lease_of(row)


@dataclass(frozen=True)
class Revoke:
    """End a lease; an operator may end those of all, which `is_operator` says."""

    method: ClassVar[str] = "RevokeLease"

    by: Asker
    name: str
    is_operator: bool = False

    def decide(self, batch: Batch, entry: Entry) -> Lease:
        row = _held(batch, self.name, "" if self.is_operator else self.by.caller)
        entry.secret, entry.version = row.secret, row.version
        row = row._replace(state=int(LeaseState.REVOKED))
        batch.write(row)
        return _lease_of(row)


def end_leases(batch: Batch, count_max: int) -> int:
    """Forget leases that ended long ago; until then their holders are told that they ended."""
    where = "WHERE expire_microseconds <= ? LIMIT ?"
    before = batch.microseconds - KEPT // timedelta(microseconds=1)
    ended = batch.select(LeaseRow, where, (before, count_max), name="leases")
    for row in ended:
        batch.delete(LeaseRow, row.name)
    return len(ended)


def _held(batch: Batch, name: str, holder: str) -> LeaseRow:
    row = batch.find(LeaseRow, name, name=name)
    if row is None or holder not in {"", row.holder}:
        raise LeaseNotFound(name)
    return row


def _lease_of(row: LeaseRow, sealed_value: bytes = b"") -> Lease:
    return Lease(
        name=row.name,
        secret=row.secret,
        version=row.version,
        holder=row.holder,
        agent=row.agent,
        expire_time=from_microseconds(row.expire_microseconds),
        state=LeaseState(row.state),
        sealed_value=sealed_value,
    )
