"""Keys of tenants and data keys within one batch: made, wrapped, opened, destroyed."""

from __future__ import annotations

from .batch import Batch
from .errors import SealBroken
from .rows import KeyRow, SecretRow, TenantRow, VersionRow
from .sealing import (
    KEY_BYTES,
    Binding,
    TenantKey,
    WrappedKey,
    open_value,
    seal_value,
    unwrap_data_key,
    unwrap_tenant_key,
    wrap_data_key,
    wrap_tenant_key,
)

# AES-GCM-SIV stays safe far beyond 2^32 wraps with random nonces; a key is changed long before.
WRAPS_MAX = 1 << 30


def binding_of(secret: SecretRow, version: VersionRow) -> Binding:
    """Return what a version of a secret is bound to."""
    return Binding(
        tenant=secret.tenant,
        secret_id=secret.id,
        name=secret.name,
        kind=secret.kind,
        version=version.number,
        create_microseconds=version.create_microseconds,
    )


def seal_version(batch: Batch, secret: SecretRow, version: VersionRow, value: bytes) -> None:
    """Seal a value under a fresh data key, and write both."""
    binding = binding_of(secret, version)
    data_key = batch.random_bytes(KEY_BYTES)
    tenant_key = _wrapping_key(batch, secret.tenant)
    wrapped = wrap_data_key(tenant_key, binding, data_key, batch.random_bytes)
    key_id = batch.add_key(wrapped.to_bytes())
    ciphertext = seal_value(data_key, binding, value, batch.random_bytes)
    batch.write(version._replace(key_id=key_id, ciphertext=ciphertext))


def open_version(batch: Batch, secret: SecretRow, version: VersionRow) -> bytes:
    """Return the value of a version, or raise `SealBroken`."""
    binding = binding_of(secret, version)
    return open_value(_data_key(batch, binding, version), binding, version.ciphertext)


def rewrap_version(batch: Batch, secret: SecretRow, version: VersionRow) -> None:
    """Wrap a data key again under the key that its tenant has now, in its place."""
    binding = binding_of(secret, version)
    data_key = _data_key(batch, binding, version)
    tenant_key = _wrapping_key(batch, secret.tenant)
    wrapped = wrap_data_key(tenant_key, binding, data_key, batch.random_bytes)
    batch.write(KeyRow(version.key_id, wrapped.to_bytes()))


def destroy_version(batch: Batch, version: VersionRow) -> None:
    """Destroy the data key of a version; without it nobody reads the value, wherever a copy is."""
    batch.free_key(version.key_id)
    batch.delete(VersionRow, version.secret_id, version.number)


def destroy_tenant_keys(batch: Batch, tenant: str) -> None:
    """Destroy all generations of the key of a tenant."""
    for row in batch.select(TenantRow, "WHERE tenant = ?", (tenant,), name=tenant):
        destroy_tenant_key(batch, row)


def destroy_tenant_key(batch: Batch, row: TenantRow) -> None:
    """Destroy one generation; nothing that is alive is wrapped under it."""
    batch.free_key(row.key_id)
    batch.delete(TenantRow, row.tenant, row.generation)


def _data_key(batch: Batch, binding: Binding, version: VersionRow) -> bytes:
    content = batch.get(KeyRow, version.key_id, name=binding.name).content
    wrapped = WrappedKey.from_bytes(content, name=binding.name)
    row = batch.get(TenantRow, binding.tenant, wrapped.generation, name=binding.name)
    return unwrap_data_key(_open(batch, row, name=binding.name), binding, wrapped)


def _wrapping_key(batch: Batch, tenant: str) -> TenantKey:
    """Return the newest key of a tenant, counted as used once more; make it where it is worn."""
    where = "WHERE tenant = ? ORDER BY generation DESC LIMIT 1"
    found = batch.select(TenantRow, where, (tenant,), name=tenant)
    if found and found[0].wraps < batch.wraps_max and found[0].epoch == batch.epoch.epoch:
        batch.write(found[0]._replace(wraps=found[0].wraps + 1))
        return _open(batch, found[0], name=tenant)
    generation = found[0].generation + 1 if found else 1
    content = batch.random_bytes(KEY_BYTES)
    wrapped = wrap_tenant_key(batch.epoch, tenant, generation, content, batch.random_bytes)
    key_id = batch.add_key(wrapped.to_bytes())
    batch.write(TenantRow(tenant, generation, key_id, 1, batch.microseconds))
    return unwrap_tenant_key(batch.epoch, tenant, wrapped)


def _open(batch: Batch, row: TenantRow, *, name: str) -> TenantKey:
    stored = batch.get(KeyRow, row.key_id, name=name)
    opened = batch.memory.tenant_keys.get(stored.mac)
    if opened is None:
        wrapped = WrappedKey.from_bytes(stored.content, name=name)
        if wrapped.generation != row.generation:
            raise SealBroken(name)
        opened = unwrap_tenant_key(batch.epochs[stored.epoch], row.tenant, wrapped)
        batch.memory.tenant_keys[stored.mac] = opened
    assert opened.tenant == row.tenant, "a MAC stands for one key"
    return opened
