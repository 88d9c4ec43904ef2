"""Rotation of the root: a new epoch, in which every row is written again while the service runs.

Each key of a tenant is replaced, and every data key is wrapped again under the new one: who had the
old epoch key and a copy of the database has no way into what is sealed from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from .batch import Batch
from .epochs import SealedEpoch, forget_epochs
from .errors import SealBroken
from .journal import Asker, Entry
from .keyring import destroy_tenant_key, rewrap_version
from .register import Place, Stamp
from .requests import Request, is_repeat, remember
from .rows import GUARDED, KeyRow, Row, SecretRow, TenantRow, VersionRow
from .sealing import DESTROYED
from .sql import get, select
from .upkeep import ITSELF

# As many as others may wait for: each step is a batch of its own.
STEP_ROWS = 96

# Keys of tenants go when nothing is wrapped under them any more.
_ORDER = {row: row is TenantRow for row in GUARDED}


@dataclass(frozen=True)
class Begin:
    """Put a new epoch into use; the old one stays open until nothing is left in it."""

    method: ClassVar[str] = "RotateRoot"

    by: Asker
    request: Request
    epoch: SealedEpoch = field(repr=False)

    def decide(self, batch: Batch, entry: Entry) -> bool:
        """Return whether there is something to end; where a rotation goes on already, it goes on.

        A repeat begins nothing.
        """
        is_repeated = is_repeat(batch, self.request)
        entry.operation = "repeat" if is_repeated else "begin"
        if is_repeated:
            return len(batch.epoch_ids) > 1
        remember(batch, self.request)
        if len(batch.epoch_ids) > 1:
            return True
        new = self.epoch.key
        batch.writes += 1
        self.epoch.write(batch.cursor, batch.microseconds)
        batch.epochs = {**batch.epochs, new.epoch: new}
        batch.epoch_ids = (new.epoch, *batch.epoch_ids)
        # Others in this batch wrote before the new epoch was there.
        batch.stale = stale_places(batch.stamps, new.epoch)
        batch.is_counted = True
        return True


@dataclass(frozen=True)
class Step:
    """Write some rows again; the last step ends the old epoch."""

    method: ClassVar[str] = ""

    by: Asker = ITSELF
    rows_max: int = STEP_ROWS

    def decide(self, batch: Batch, _entry: Entry) -> int:
        """Return how many rows are left, -1 after the end."""
        if len(batch.epoch_ids) == 1:
            return -1
        batch.writes += 1
        stale = batch.memory.stale if batch.stale is None else batch.stale
        for place in stale[: self.rows_max]:
            _move(batch, place)
        batch.stale = stale[self.rows_max :]
        if not batch.stale:
            batch.epoch_ids = batch.epoch_ids[:1]
            forget_epochs(batch.cursor, batch.epoch.epoch)
            batch.erases = batch.is_counted = True
            return -1
        return len(batch.stale)


@dataclass(frozen=True)
class End:
    """Leave a record that the old epoch is destroyed."""

    method: ClassVar[str] = "RotateRoot"

    by: Asker

    def decide(self, _batch: Batch, entry: Entry) -> None:
        entry.operation = "end"


def stale_places(stamps: Mapping[Place, Stamp | None], epoch: bytes) -> list[Place]:
    """Return where rows are of another epoch, in the order in which they can be moved."""
    found = (place for place, stamp in stamps.items() if stamp and stamp.epoch != epoch)
    return sorted(found, key=lambda place: _ORDER[place[0]])


def _move(batch: Batch, place: Place) -> None:
    """Bring a row into the present epoch; one that was changed stays broken."""
    row, key = place
    if not batch.has(row, *key):
        # It was deleted meanwhile.
        return
    stored = get(batch.cursor, row, key)
    if stored is None:
        batch.delete(row, *key)
        return
    if stored.epoch == batch.epoch.epoch:
        # It was written again meanwhile.
        return
    try:
        _move_whole(batch, batch.get(row, *key, name="row"))
    except SealBroken:
        batch.write_broken(stored)


def _move_whole(batch: Batch, row: Row) -> None:
    if isinstance(row, TenantRow):
        destroy_tenant_key(batch, row)
    elif not isinstance(row, KeyRow) or row.content == DESTROYED:
        batch.write(row)
    elif found := select(batch.cursor, VersionRow, "WHERE key_id = ?", (row.id,)):
        _rewrap(batch, found[0])
    # What is left are keys of tenants, which go with their rows.


def _rewrap(batch: Batch, found: VersionRow) -> None:
    version = batch.get(VersionRow, found.secret_id, found.number, name="row")
    secrets = select(batch.cursor, SecretRow, "WHERE id = ?", (version.secret_id,))
    if not secrets:
        raise SealBroken("row")
    name = secrets[0].name
    rewrap_version(batch, batch.get(SecretRow, name, name=name), version)
