"""The life of a secret: put, rotated, disabled, shredded; each an operation of the writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from chassis.errors import InvalidField

from .batch import Batch
from .errors import (
    SealBroken,
    SecretDisabled,
    SecretExists,
    SecretNotFound,
    TenantNotFound,
    TooManyVersions,
    VersionInUse,
    VersionNotFound,
)
from .journal import Asker, Entry
from .keyring import destroy_tenant_keys, destroy_version, seal_version
from .requests import Request, answered, find_answer, forget
from .rows import KeyRow, SecretRow, VersionRow
from .sealing import from_microseconds
from .secret import DEFAULT_TENANT, Kind, Secret, State, Version, require_tenant
from .uses.keys import generate
from .uses.values import accept

GRACE_MAX = timedelta(days=30)
VERSIONS_MAX = 100
ID_BYTES = 16


@dataclass(frozen=True)
class Put:
    """Seal a new secret."""

    method: ClassVar[str] = "PutSecret"

    by: Asker
    request: Request
    name: str
    kind: Kind
    value: bytes = field(repr=False)
    generate: bool
    tenant: str = DEFAULT_TENANT

    def decide(self, batch: Batch, entry: Entry) -> Secret:
        entry.secret = self.name
        require_tenant(self.tenant)
        value = value_of(batch, self.kind, self.value, generates=self.generate)
        if (answer := find_answer(batch, self.request, name=self.name)) is not None:
            entry.version = answer.version
            return answer
        if batch.has(SecretRow, self.name):
            raise SecretExists(self.name)
        entry.version = 1
        made = add_secret(batch, self.name, self.kind, value, tenant=self.tenant)
        answered(batch, self.request, made)
        return made


@dataclass(frozen=True)
class Rotate:
    """Seal a new value; the one before stays usable for a while, and is destroyed then.

    Without a grace, a key for data stays until it is shredded, because it still opens what it
    encrypted.
    """

    method: ClassVar[str] = "RotateSecret"

    by: Asker
    request: Request
    name: str
    value: bytes = field(repr=False)
    generate: bool
    grace: timedelta = timedelta()

    def decide(self, batch: Batch, entry: Entry) -> Secret:
        entry.secret = self.name
        if (answer := find_answer(batch, self.request, name=self.name)) is not None:
            entry.version = answer.version
            return answer
        row = existing(batch, self.name)
        value = value_of(batch, Kind(row.kind), self.value, generates=self.generate)
        versions = versions_of(batch, row)
        if len(versions) >= VERSIONS_MAX:
            raise TooManyVersions(self.name, VERSIONS_MAX)
        entry.version = row.version + 1
        self._end(batch, row, versions)
        new = VersionRow(
            row.id, row.version + 1, 0, State.ENABLED, batch.microseconds, 0, ciphertext=b""
        )
        rotated = row._replace(version=new.number)
        batch.write(rotated)
        seal_version(batch, rotated, new, value)
        batch.touched.add(self.name)
        made = describe(rotated, versions_of(batch, rotated))
        answered(batch, self.request, made)
        return made

    def _end(self, batch: Batch, row: SecretRow, versions: list[VersionRow]) -> None:
        end = batch.microseconds + self.grace // timedelta(microseconds=1)
        for version in versions:
            if version.number != row.version:
                if 0 < version.expire_microseconds <= batch.microseconds:
                    destroy_version(batch, version)
            elif self.grace:
                batch.write(version._replace(expire_microseconds=end))
            elif row.kind != Kind.DATA:
                destroy_version(batch, version)


@dataclass(frozen=True)
class SetState:
    """Stop or allow the use of a secret, or of one of its versions; version 0 is all of it."""

    by: Asker
    name: str
    state: State
    version: int = 0

    @property
    def method(self) -> str:
        return "DisableSecret" if self.state is State.DISABLED else "EnableSecret"

    def decide(self, batch: Batch, entry: Entry) -> Secret:
        entry.secret, entry.version = self.name, self.version
        row = existing(batch, self.name)
        if self.version:
            version = _version(batch, row, self.version)
            batch.write(version._replace(state=int(self.state)))
        else:
            row = row._replace(state=int(self.state))
            batch.write(row)
        batch.touched.add(self.name)
        return describe(row, versions_of(batch, row))


@dataclass(frozen=True)
class Shred:
    """Destroy a secret with all its versions, whether or not their seals are whole."""

    method: ClassVar[str] = "ShredSecret"

    by: Asker
    name: str

    def decide(self, batch: Batch, entry: Entry) -> None:
        entry.secret = self.name
        if not batch.has(SecretRow, self.name):
            raise SecretNotFound(self.name)
        shred(batch, self.name)


@dataclass(frozen=True)
class ShredVersion:
    """Destroy a version that is not the present one."""

    method: ClassVar[str] = "ShredVersion"

    by: Asker
    name: str
    version: int

    def decide(self, batch: Batch, entry: Entry) -> Secret:
        entry.secret, entry.version = self.name, self.version
        row = existing(batch, self.name)
        if self.version == row.version:
            raise VersionInUse(self.name, self.version)
        destroy_version(batch, _version(batch, row, self.version))
        batch.touched.add(self.name)
        return describe(row, versions_of(batch, row))


@dataclass(frozen=True)
class ShredTenant:
    """Destroy the keys of a tenant, and all its secrets with them."""

    method: ClassVar[str] = "ShredTenant"

    by: Asker
    tenant: str

    def decide(self, batch: Batch, entry: Entry) -> int:
        entry.secret = self.tenant
        require_tenant(self.tenant)
        batch.cursor.execute("SELECT name FROM secret WHERE tenant = ?", (self.tenant,))
        names = [str(name) for (name,) in batch.cursor.fetchall()]
        if not names:
            raise TenantNotFound(self.tenant)
        for name in names:
            shred(batch, name)
        destroy_tenant_keys(batch, self.tenant)
        return len(names)


def add_secret(batch: Batch, name: str, kind: Kind, value: bytes, *, tenant: str) -> Secret:
    """Seal a secret whose name is free."""
    now = batch.microseconds
    row = SecretRow(name, batch.random_bytes(ID_BYTES), tenant, int(kind), 1, State.ENABLED, now)
    version = VersionRow(row.id, 1, 0, State.ENABLED, now, 0, ciphertext=b"")
    batch.write(row)
    seal_version(batch, row, version, value)
    batch.touched.add(name)
    return describe(row, [version])


def shred(batch: Batch, name: str) -> None:
    """Destroy what is there of a secret; what was changed, as far as it can be found."""
    batch.cursor.execute("SELECT id FROM secret WHERE name = ?", (name,))
    (id_,) = batch.cursor.fetchone() or (b"",)
    batch.cursor.execute("SELECT number, key_id FROM version WHERE secret_id = ?", (id_,))
    for number, key_id in batch.cursor.fetchall():
        if batch.has(KeyRow, key_id):
            batch.free_key(int(key_id))
        batch.delete(VersionRow, id_, number)
    batch.delete(SecretRow, name)
    forget(batch, name)
    batch.touched.add(name)
    batch.erases = True


def existing(batch: Batch, name: str) -> SecretRow:
    """Return a secret, or raise `SecretNotFound`."""
    row = batch.find(SecretRow, name, name=name)
    if row is None:
        raise SecretNotFound(name)
    return row


def usable(batch: Batch, row: SecretRow, number: int) -> VersionRow:
    """Return a version that may be used now; 0 is the present one."""
    version = _version(batch, row, number or row.version)
    if State.DISABLED in (row.state, version.state):
        raise SecretDisabled(row.name)
    return version


def versions_of(batch: Batch, row: SecretRow) -> list[VersionRow]:
    """Return what there is of the values of a secret, the newest last."""
    where = "WHERE secret_id = ? ORDER BY number"
    return batch.select(VersionRow, where, (row.id,), name=row.name)


def value_of(batch: Batch, kind: Kind, value: bytes, *, generates: bool) -> bytes:
    """Return what is to be sealed, in the form in which it is stored."""
    if generates:
        if value:
            raise InvalidField("value", "is set together with generate; leave one of them out")
        return generate(kind, batch.random_bytes)
    if not value:
        raise InvalidField("value", "is required")
    return accept(kind, value)


def describe(row: SecretRow, versions: Sequence[VersionRow]) -> Secret:
    """Return what everybody may know of a secret."""
    present = next((one for one in versions if one.number == row.version), None)
    if present is None:
        raise SealBroken(row.name)
    return Secret(
        name=row.name,
        kind=Kind(row.kind),
        version=row.version,
        create_time=from_microseconds(row.create_microseconds),
        rotate_time=from_microseconds(present.create_microseconds),
        tenant=row.tenant,
        state=State(row.state),
        versions=tuple(map(_describe_version, versions)),
    )


def _describe_version(row: VersionRow) -> Version:
    end = row.expire_microseconds
    return Version(
        number=row.number,
        state=State(row.state),
        create_time=from_microseconds(row.create_microseconds),
        expire_time=from_microseconds(end) if end else None,
    )


def _version(batch: Batch, row: SecretRow, number: int) -> VersionRow:
    version = batch.find(VersionRow, row.id, number, name=row.name)
    if version is None or 0 < version.expire_microseconds <= batch.microseconds:
        if number == row.version:
            raise SealBroken(row.name)
        raise VersionNotFound(row.name, number)
    return version
