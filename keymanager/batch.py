"""One transaction of the key manager: what it reads is checked, what it writes is stamped.

Rows go to the database as they are written; what the process remembers changes only when the
transaction is on disk. An operation decides before it writes: nothing undoes half of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.evidence.checkpoint import Checkpoint
from chassis.evidence.log import Log

from . import sql
from .errors import SealBroken
from .loaded import LoadedKeys
from .policy.rule import Policy
from .register import (
    Anchor,
    Key,
    Place,
    Register,
    Stamp,
    is_authentic,
    place_of,
    stamped,
    total_after,
)
from .rows import GUARDED, CountRow, KeyRow, LeaseRow, Row
from .sealing import DESTROYED, EpochKey, MacKey, RandomBytes, TenantKey, to_microseconds
from .sql import Cursor, RowT
from .tally import Tally

# The platform counts batches that change what a secret is, or who may use it; of the others only
# one in a while, because a counter of hardware wears out.
_UNCOUNTED = frozenset({CountRow, LeaseRow})


@dataclass(frozen=True)
class OwnKeys:
    """What the vault itself needs open: the key of its log, and the one of tags of requests.

    `ledger` is the name of the log, `mark` the key of what peers remember of it.
    """

    tag: bytes = field(repr=False)
    audit: Ed25519PrivateKey = field(repr=False)
    mark: MacKey = field(repr=False)
    ledger: str

    @cached_property
    def tag_mac(self) -> MacKey:
        """The key of tags, ready for use."""
        return MacKey(self.tag)


@dataclass
class Memory:
    """What the process remembers of what is on disk; only a commit changes it."""

    anchor: Anchor
    mac: bytes
    epochs: dict[bytes, EpochKey]
    register: Register
    policy: Policy
    # Places of wrapped keys that were destroyed, and the first that nobody used.
    free_keys: list[int]
    next_key: int
    next_count: int
    # What was used, by the text of its counter; all that is in rows, and no more.
    tallies: dict[str, Tally]
    loaded: LoadedKeys
    # What a rotation of the root still has to write again, in this order.
    stale: list[Place]
    # Who is revoked -> when that ends in microseconds, or 0.
    revocations: Mapping[str, int] = field(default_factory=dict)
    # Unwrapped keys of tenants by what is stored of them.
    tenant_keys: dict[bytes, TenantKey] = field(default_factory=dict, repr=False)
    own_keys: OwnKeys | None = None
    counted_microseconds: int = 0
    checkpoint: Checkpoint | None = None

    @property
    def epoch(self) -> EpochKey:
        """Return the epoch in use."""
        return self.epochs[self.anchor.epochs[0]]

    @property
    def own(self) -> OwnKeys:
        """Return the keys that an open vault has."""
        assert self.own_keys is not None, "the vault is open"
        return self.own_keys


class Batch:
    """A transaction over a memory; `now` is the time of all that happens in it."""

    def __init__(
        self,
        memory: Memory,
        cursor: Cursor,
        *,
        now: datetime,
        random_bytes: RandomBytes,
        wraps_max: int,
    ) -> None:
        self.wraps_max = wraps_max
        self.memory = memory
        self._cursor = cursor
        self.now = now
        self.microseconds = to_microseconds(now)
        self.random_bytes = random_bytes
        self.log: Log = memory.anchor.log
        self.outcomes: list[object] = []
        # Grows with each change; who writes into the database otherwise counts it here first.
        self.writes = 0
        self.records: list[tuple[int, bytes, bytes]] = []
        self.nodes: list[tuple[int, int, bytes]] = []
        self.epochs = memory.epochs
        self.epoch_ids = memory.anchor.epochs
        self.accepted_sequence = memory.anchor.accepted_sequence
        self.policy = memory.policy
        # By counter: times, amounts and rows, and how many of the first ones were deleted.
        self._counted: dict[str, list[tuple[int, int, int]]] = {}
        self._sums: dict[str, int] = {}
        self._uncounted: dict[str, int] = {}
        self.touched: set[str] = set()
        self.stale: list[Place] | None = None
        self.revocations: Mapping[str, int] | None = None
        # Whether the counter of the platform must move, and the files be cleaned, before an answer.
        self.is_counted = False
        self.erases = False
        self.checkpoint: Checkpoint | None = None
        self._changes: dict[Place, Stamp | None] = {}
        self._unwritten: dict[type[Row], dict[Key, Row]] = {}
        self._total = memory.register.total
        self._reused = 0
        self._freed: list[int] = []
        self._destroyed: list[bytes] = []
        self._next_key = memory.next_key
        self._next_count = memory.next_count

    @property
    def epoch(self) -> EpochKey:
        """Return the epoch in use."""
        return self.epochs[self.epoch_ids[0]]

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.records or self._changes) or self.stale is not None

    @property
    def stamps(self) -> Mapping[Place, Stamp | None]:
        """Return the stamps of all rows as this batch leaves them; None where one was deleted."""
        return {**self.memory.register.stamps, **self._changes}

    # --- Rows ------------------------------------------------------------------------------------

    @property
    def cursor(self) -> Cursor:
        """Return a cursor that sees all that was written until now."""
        for row in [*self._unwritten]:
            self._flush(row)
        return self._cursor

    def has(self, row: type[Row], *key: str | int | bytes) -> bool:
        """Tell whether there is a row, broken or not."""
        return self._stamp((row, key)) is not None

    def find(self, row: type[RowT], *key: str | int | bytes, name: str) -> RowT | None:
        """Return a row, or None; one that is not as it was written is `SealBroken` of a name."""
        stamp = self._stamp((row, key))  # type: ignore[arg-type]  # a kind of rows
        if stamp is None:
            return None
        if own := self._unwritten.get(row, {}).get(key):  # type: ignore[arg-type]  # as above
            return cast("RowT", own)
        found = sql.get(self._cursor, row, key)
        if found is None or found[-2:] != stamp or not is_authentic(found, self.epochs):
            raise SealBroken(name)
        return found

    def get(self, row: type[RowT], *key: str | int | bytes, name: str) -> RowT:
        """Return a row that must be there."""
        found = self.find(row, *key, name=name)
        if found is None:
            raise SealBroken(name)
        return found

    def select(
        self, row: type[RowT], where: str, values: Sequence[str | int | bytes], *, name: str
    ) -> list[RowT]:
        """Return rows by a condition; an injected or changed one is `SealBroken`."""
        self._flush(row)  # type: ignore[arg-type]  # a kind of rows
        rows = sql.select(self._cursor, row, where, values)
        for found in rows:
            if found[-2:] != self._stamp(place_of(found)) or not is_authentic(found, self.epochs):
                raise SealBroken(name)
        return rows

    def write(self, row: Row) -> None:
        """Add a row, or replace the one of its key."""
        written, place = stamped(row, self.epoch), place_of(row)
        self._unwritten.setdefault(place[0], {})[place[1]] = written
        self._change(place, Stamp(written.epoch, written.mac))

    def write_broken(self, row: Row) -> None:
        """Keep a row that is not authentic so that it stays so."""
        broken = row._replace(epoch=self.epoch.epoch, mac=bytes(32))
        sql.upsert(self.cursor, GUARDED[type(row)], [broken])
        self._change(place_of(row), Stamp(broken.epoch, broken.mac))

    def delete(self, row: type[Row], *key: str | int | bytes) -> None:
        """Delete a row."""
        sql.delete(self.cursor, GUARDED[row], key)
        self._change((row, key), None)

    def _flush(self, row: type[Row]) -> None:
        sql.upsert(self._cursor, GUARDED[row], [*self._unwritten.pop(row, {}).values()])

    def _stamp(self, place: Place) -> Stamp | None:
        if place in self._changes:
            return self._changes[place]
        return self.memory.register.stamps.get(place)

    def _change(self, place: Place, new: Stamp | None) -> None:
        self.writes += 1
        old = self._stamp(place)
        self._total = total_after(self._total, place, old=old, new=new, epochs=self.epochs)
        self._changes[place] = new
        self.is_counted |= place[0] not in _UNCOUNTED

    # --- Places of wrapped keys, and counters ----------------------------------------------------

    def add_key(self, content: bytes) -> int:
        """Store a wrapped key where another one was destroyed, or at the end; return where."""
        free = self.memory.free_keys
        if self._reused < len(free):
            self._reused += 1
            id_ = free[-self._reused]
        else:
            id_ = self._next_key
            self._next_key += 1
        self.write(KeyRow(id_, content))
        return id_

    def free_key(self, id_: int) -> None:
        """Overwrite a wrapped key in its place; the files are cleaned before any answer."""
        if (stamp := self._stamp((KeyRow, (id_,)))) is not None:
            self._destroyed.append(stamp.mac)
        self.write(KeyRow(id_, DESTROYED))
        self._freed.append(id_)
        self.erases = True

    def count(self, counter: str, amount: int) -> None:
        """Remember what was used now, for a limit."""
        self.count_at(counter, self.microseconds, amount)
        self._sums[counter] = self._sums.get(counter, 0) + amount

    def count_at(self, counter: str, microseconds: int, amount: int) -> None:
        """Remember what was used at another time, from the next batch on."""
        self.write(CountRow(self._next_count, counter, microseconds, str(amount)))
        counted = self._counted.setdefault(counter, [])
        counted.append((microseconds, amount, self._next_count))
        self._next_count += 1

    def used(self, counter: str, after_microseconds: int) -> int:
        """Return what was used after a time, this batch included."""
        now = self._sums.get(counter, 0) if self.microseconds > after_microseconds else 0
        tally = self.memory.tallies.get(counter)
        return now + (tally.total_after(after_microseconds) if tally else 0)

    def uncount(self, counter: str, until_microseconds: int, count_max: int) -> int:
        """Forget the first uses, none of them after a time; return how many there were."""
        if counter in self._uncounted:
            return 0
        rows = self.memory.tallies[counter].rows_until(until_microseconds, count_max)
        for row in rows:
            self.delete(CountRow, row)
        self._uncounted[counter] = len(rows)
        return len(rows)

    def digest(self, content: bytes) -> bytes:
        """Return a keyed SHA-256, which tells nothing about the content without the key."""
        return self.own.tag_mac.digest(content)

    @property
    def own(self) -> OwnKeys:
        """Return the keys that the vault itself needs."""
        return self.memory.own

    # --- The end ---------------------------------------------------------------------------------

    def anchor(self, counter: int) -> tuple[Anchor, bytes]:
        """Return the anchor after this batch, with its MAC."""
        anchor = Anchor(self.log, counter, self.epoch_ids, self.accepted_sequence)
        return anchor, anchor.mac(self.epoch, self._total)

    def merge(self, anchor: Anchor, mac: bytes) -> None:
        """Remember what is on disk now."""
        memory = self.memory
        if anchor.counter != memory.anchor.counter:
            memory.counted_microseconds = self.microseconds
        memory.anchor, memory.mac = anchor, mac
        memory.epochs = {id_: self.epochs[id_] for id_ in self.epoch_ids}
        memory.policy = self.policy
        memory.register.change(self._changes, self._total)
        if self._reused:
            del memory.free_keys[-self._reused :]
        memory.free_keys += self._freed
        for stored in self._destroyed:
            memory.tenant_keys.pop(stored, None)
        memory.next_key, memory.next_count = self._next_key, self._next_count
        self._merge_tallies()
        memory.loaded.drop(self.touched)
        if self.stale is not None:
            memory.stale = self.stale
        if self.revocations is not None:
            memory.revocations = self.revocations
        if self.checkpoint is not None:
            memory.checkpoint = self.checkpoint

    def _merge_tallies(self) -> None:
        tallies = self.memory.tallies
        for counter, count in self._uncounted.items():
            tallies[counter].forget(count)
            if not tallies[counter]:
                del tallies[counter]
        for counter, counted in self._counted.items():
            tally = tallies.setdefault(counter, Tally())
            for time, amount, row in counted:
                tally.add(time, amount, row)
