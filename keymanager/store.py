"""The vault on disk: applies batches of operations, one transaction each.

Nobody is answered before the batch with its records is on disk, and the counter of the platform
moved if secrets changed. What was destroyed leaves the files right after, unless somebody reads
them: who destroyed it waits for that, and nobody else does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from threading import Lock
from typing import TypeVar, cast

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from chassis.clock import Clock
from chassis.database import reading
from chassis.log import log

from .batch import Batch, Memory
from .closing import close_batch, is_checkpoint_needed
from .epochs import SealedEpoch, make_epoch
from .errors import AuditUnavailable, PlatformSilent, RolledBack, SealBroken
from .journal import Operation, decide
from .keyring import WRAPS_MAX
from .opening import open_memory
from .platform.port import PlatformUnavailable, Sealing
from .register import Anchor
from .sealing import RandomBytes
from .sql import Cursor, cursor_of

# A counter of hardware wears out; between two ticks only witnesses notice a rollback of uses.
TICK_MICROSECONDS = 60 * 1_000_000

Read = TypeVar("Read")


class VaultStore:
    """All that the key manager knows. One caller at a time may apply; anybody may read.

    Opening raises `RolledBack` where the files are not the latest, unless that is accepted, and
    `EpochUnusable` where the platform does not open them.
    """

    def __init__(
        self,
        engine: Engine,
        platform: Sealing,
        *,
        clock: Clock,
        random_bytes: RandomBytes,
        accepts_rollback: bool = False,
        wraps_max: int = WRAPS_MAX,
    ) -> None:
        self._engine = engine
        self._platform = platform
        self._clock = clock
        self._random_bytes = random_bytes
        self._wraps_max = wraps_max
        self._alone = Lock()
        # A batch of which nobody knows whether it is on disk.
        self._unsure: tuple[Batch, Anchor, bytes] | None = None
        self._problem = ""
        with self._transaction() as cursor:
            opened = open_memory(
                cursor,
                platform,
                now=clock.now(),
                random_bytes=random_bytes,
                accepts_rollback=accepts_rollback,
            )
        self._memory = opened.memory
        self._counter = opened.counter
        self._erases = True
        self._settle()

    @property
    def sequence(self) -> int:
        """Return the sequence of the last record."""
        return self._memory.anchor.log.size

    @property
    def now(self) -> datetime:
        """Return the time by which is decided what has expired."""
        return self._clock.now()

    @property
    def is_erased(self) -> bool:
        """Whether nothing that was destroyed is left in the files."""
        return not self._erases

    @property
    def memory(self) -> Memory:
        """Return what is remembered of the last commit, for who reads beside the writer."""
        return self._memory

    def apply(
        self, operations: Sequence[Operation], *, accepts_rollback: bool = False
    ) -> list[object]:
        """Decide operations in their order; return for each its result, or its refusal.

        What this returns is on disk. If it raises `AuditUnavailable`, nobody knows whether it is,
        until the operations are repeated. Only those that accept a rollback are decided while
        nothing is answered; when they are on disk, everything is answered again, and what is still
        wrong is noticed again.
        """
        with self._alone:
            if not accepts_rollback:
                self.require_open()
            self._settle()
            try:
                with self._transaction() as cursor:
                    self._catch_up(cursor)
                    batch = self._batch(cursor)
                    batch.outcomes = [decide(batch, operation) for operation in operations]
                    if not (batch.is_changed or is_checkpoint_needed(batch)):
                        return batch.outcomes
                    is_due = (
                        batch.microseconds - self._memory.counted_microseconds >= TICK_MICROSECONDS
                    )
                    counter = self._counter + int(batch.is_counted or is_due)
                    anchor, mac = close_batch(batch, counter)
                    self._unsure = (batch, anchor, mac)
            except (sqlite3.Error, DBAPIError) as error:
                log.error("vault.not_written", error=type(error).__name__)
                raise AuditUnavailable from error
            self._remember(batch, anchor, mac)
            if accepts_rollback:
                self._problem = ""
            self._settle()
            return batch.outcomes

    def read(self, query: Callable[[Cursor, Memory], Read]) -> Read:
        """Read beside the writer, what the last commit left."""
        try:
            return self._read(query)
        except SealBroken:
            # A commit may have come between reading the rows and looking at them; now none does.
            with self._alone:
                return self._read(query)

    def _read(self, query: Callable[[Cursor, Memory], Read]) -> Read:
        self.require_open()
        try:
            with reading(self._engine) as connection:
                return query(cursor_of(connection), self._memory)
        except (sqlite3.Error, DBAPIError) as error:
            raise AuditUnavailable from error

    def erase(self) -> bool:
        """Try again to erase what was destroyed; tell whether it is gone from the files."""
        with self._alone:
            if self._erases:
                self._erase()
            return not self._erases

    def new_epoch(self) -> SealedEpoch:
        """Make a key for another epoch."""
        try:
            return make_epoch(self._platform, self._random_bytes)
        except PlatformUnavailable as error:
            raise PlatformSilent from error

    @property
    def is_open(self) -> bool:
        """Whether anything is answered."""
        return not self._problem

    def refuse_all(self, problem: str) -> None:
        """Answer nothing any more but `RolledBack`, until a rollback is accepted."""
        self._problem = problem

    def require_open(self) -> None:
        """Raise `RolledBack` if nothing is answered."""
        if self._problem:
            raise RolledBack(self._problem)

    def _batch(self, cursor: Cursor) -> Batch:
        return Batch(
            self._memory,
            cursor,
            now=self._clock.now(),
            random_bytes=self._random_bytes,
            wraps_max=self._wraps_max,
        )

    def _catch_up(self, cursor: Cursor) -> None:
        """Learn whether the last batch is on disk, if a failure left that open."""
        cursor.execute("SELECT mac FROM anchor")
        found = cursor.fetchone()
        mac = found[0] if found is not None else b""
        if self._unsure is not None and mac == self._unsure[2]:
            self._remember(*self._unsure)
        self._unsure = None
        if mac != self._memory.mac:
            self._problem = "keymanager.db was changed while the key manager ran"
            raise RolledBack(self._problem)
        if self._memory.anchor.counter != self._counter:
            self._count()

    def _remember(self, batch: Batch, anchor: Anchor, mac: bytes) -> None:
        batch.merge(anchor, mac)
        self._unsure = None
        self._erases |= batch.erases

    def _settle(self) -> None:
        """Do what belongs to the last commit and has not happened yet."""
        if self._memory.anchor.counter != self._counter:
            self._count()
        if self._erases:
            self._erase()

    def _count(self) -> None:
        wanted = self._memory.anchor.counter
        try:
            self._counter = self._platform.increment_counter()
        except PlatformUnavailable as error:
            raise PlatformSilent from error
        if self._counter != wanted:
            self._problem = f"the platform counted {self._counter} changes, and not {wanted}"
            raise RolledBack(self._problem)

    def _erase(self) -> None:
        """Leave nothing of what was overwritten in the write-ahead log, unless somebody reads it.

        The writer waits for no reader: everybody else would wait with it.
        """
        try:
            with closing(self._engine.raw_connection()) as connection:
                cursor = connection.cursor()
                cursor.execute("PRAGMA busy_timeout")
                (milliseconds,) = cursor.fetchone() or (0,)
                cursor.execute("PRAGMA busy_timeout=0")
                try:
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    is_busy, _, _ = cursor.fetchone() or (0, 0, 0)
                finally:
                    cursor.execute(f"PRAGMA busy_timeout={int(milliseconds)}")
                    cursor.close()
        except (sqlite3.Error, DBAPIError):
            is_busy = 1
        self._erases = bool(is_busy)

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with closing(self._engine.raw_connection()) as connection:
            cursor = connection.cursor()
            # What is overwritten or deleted becomes zeros; not all builds of SQLite have this on.
            cursor.execute("PRAGMA secure_delete=ON")
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cast("Cursor", cursor)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
