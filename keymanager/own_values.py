"""Values that the key manager keeps for itself, sealed like any other, and in no list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .batch import Batch
from .journal import Asker, Entry
from .keyring import open_version
from .lifecycle import add_secret, existing, usable
from .rows import SecretRow
from .secret import SYSTEM_TENANT, Kind
from .store import VaultStore
from .upkeep import ITSELF


class OwnValue:
    """One value under a name, as a shelf: `load` and `store`, before anybody is served."""

    def __init__(self, store: VaultStore, name: str) -> None:
        self._store = store
        self._name = name

    def load(self) -> bytes | None:
        """Return what was stored, or None; raise `SealBroken`."""
        found = self._apply(_Load(self._name))
        assert found is None or isinstance(found, bytes), "a value is bytes"
        return found

    def store(self, content: bytes) -> None:
        """Seal and keep it, durably, unless there is one."""
        self._apply(_Store(self._name, content))

    def _apply(self, operation: _Load | _Store) -> object:
        (outcome,) = self._store.apply([operation])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@dataclass(frozen=True)
class _Load:
    method: ClassVar[str] = ""
    by: ClassVar[Asker] = ITSELF

    name: str

    def decide(self, batch: Batch, _entry: Entry) -> bytes | None:
        if not batch.has(SecretRow, self.name):
            return None
        row = existing(batch, self.name)
        return open_version(batch, row, usable(batch, row, 0))


@dataclass(frozen=True)
class _Store:
    method: ClassVar[str] = ""
    by: ClassVar[Asker] = ITSELF

    name: str
    content: bytes = field(repr=False)

    def decide(self, batch: Batch, _entry: Entry) -> None:
        if not batch.has(SecretRow, self.name):
            add_secret(batch, self.name, Kind.API_KEY, self.content, tenant=SYSTEM_TENANT)
