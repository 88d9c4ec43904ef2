"""The ledger on disk: applies batches of operations, one transaction each, and reads."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy import Connection, Engine, Select, func, select, tuple_, update
from sqlalchemy.exc import InterfaceError, OperationalError

from chassis.clock import Clock
from chassis.database import reading
from chassis.errors import ServiceError

from .book import Book
from .book_rows import notice_count, read_ahead, read_book, write_changes
from .budget_rows import read_standing
from .budgets import Standing
from .bulk import bulk_of
from .entries import Entry
from .errors import LedgerFenced, LedgerUnavailable, PriceTableNotFound
from .ledger import Charge, Consumption, Receipt
from .notices import Event, merge
from .operations import Operation, TableOperation
from .price_archive import PriceArchive, keep_file
from .price_schedule import in_force
from .prices import PriceTable, Rate
from .sum_rows import CONSUMPTION, consumption_of, read_drifts, read_slices
from .sums import TokenDrift
from .tables import (
    CALL,
    ENTRY,
    FENCE,
    HOLD,
    NOTICE,
    RUN,
    Value,
    call_of,
    entry_of,
    notice_of,
    usages_from_json,
)
from .usage_report import Place, UsageQuery, UsageSum, sum_usage

Outcome: TypeAlias = object | ServiceError
# A clock that is set back by more has shown a time that was none: what was read for it is read
# again, or all usage would be counted there until that time comes.
SET_BACK_MIN = timedelta(minutes=15)


class LedgerStore:
    """Holds, charges, budgets and entries. Opening it fences whoever had the ledger open before.

    The price table of the file comes into force if it is not the one of the last opening.

    One caller at a time may apply; anybody may read, and sees what was applied.
    """

    def __init__(
        self, engine: Engine, prices: PriceTable, *, clock: Clock, dice: random.Random
    ) -> None:
        self._engine = engine
        self._bulk = bulk_of(engine)
        self._clock = clock
        self._dice = dice
        self._book: Book | None = None
        # When the last batch was.
        self._time = clock.now()
        # Of the open holds, the first one; unknown before the first batch.
        self.next_expire_time: datetime | None = None
        with engine.begin() as connection:
            self._epoch, self.ledger_id = _claim(connection, dice)
            keep_file(connection, prices, clock.now())
        self.prices = PriceArchive(engine, clock)

    def apply(self, operations: Sequence[Operation[object]]) -> list[Outcome]:
        """Decide operations in their order and write what they change, all of it or nothing.

        Return for each its result, or the error with which it was refused. What this returns is
        on disk; if it raises, nobody knows whether it is, until the operations are repeated.
        """
        book, self._book = self._book, None
        try:
            with self._engine.begin() as connection:
                self._require_epoch(connection)
                now = self._clock.now()
                if book is None or now < self._time - SET_BACK_MIN:
                    book = read_book(connection, self.prices, self._dice)
                self._time = now
                strangers = read_ahead(connection, book, operations, now)
                current = in_force(book.prices.schedule, now).version
                book.prices.table = self.prices.table(connection, current)
                for hold in book.expired(now):
                    book.expire(hold, now)
                outcomes = [_decide(asked, connection, book, now) for asked in operations]
                write_changes(connection, book, self._bulk)
        except (OperationalError, InterfaceError) as error:
            raise LedgerUnavailable from error
        for name in strangers:
            if not book.accounts[name]:
                del book.accounts[name]
                book.tenants.pop(name, None)
        # Only now: a book that may not be what is on disk is read again.
        self._book, self.next_expire_time = book, book.next_expire_time
        return outcomes

    def reading(self) -> AbstractContextManager[Connection]:
        """Open a transaction that reads, for who has tables beside those of the ledger."""
        return reading(self._engine)

    def receipt(self, run: str) -> Receipt:
        """Return the bill of a run as it stands; that of an unknown run is empty."""
        charged = select(HOLD).where(HOLD.c.run == run, HOLD.c.line > 0).order_by(HOLD.c.line)
        with reading(self._engine) as connection:
            account = connection.execute(select(RUN.c.account).where(RUN.c.name == run)).scalar()
            rows = connection.execute(charged).all()
            called = connection.execute(select(CALL).where(CALL.c.caller_run == run)).all()
        charges = {
            row.line: Charge(
                row.item, usages_from_json(row.charged_usages), row.charged_gas, row.price_version
            )
            for row in rows
        }
        for call in map(call_of, called):
            charges[call.line] = Charge(call.item, (), call.gas, "")
        return Receipt(run, account or "", tuple(charges[line] for line in sorted(charges)))

    def standing(self, account: str) -> Standing:
        """Return the budgets of an account, or raise `AccountNotFound`."""
        with reading(self._engine) as connection:
            return read_standing(connection, account, self._clock.now())

    def consumptions(
        self, *, account: str, after: tuple[str, str] | None, limit: int
    ) -> list[Consumption]:
        """Return rows after a key (account, item), in its order; an empty account means all."""
        query = select(CONSUMPTION).limit(limit)
        query = query.order_by(CONSUMPTION.c.account, CONSUMPTION.c.item)
        if account:
            query = query.where(CONSUMPTION.c.account == account)
        if after is not None:
            query = query.where(tuple_(CONSUMPTION.c.account, CONSUMPTION.c.item) > after)
        with reading(self._engine) as connection:
            return [consumption_of(row) for row in connection.execute(query)]

    def history(self, account: str, items: Sequence[str]) -> dict[str, Consumption]:
        """Return what an account consumed of some items so far, by item."""
        query = select(CONSUMPTION).where(
            CONSUMPTION.c.account == account, CONSUMPTION.c.item.in_(items)
        )
        with reading(self._engine) as connection:
            found = [consumption_of(row) for row in connection.execute(query)]
        return {consumption.item: consumption for consumption in found}

    def usage(self, query: UsageQuery, after: Place | None, limit: int) -> list[UsageSum]:
        """Return sums after a place, in order."""
        accounts = [query.account] if query.account else None
        with reading(self._engine) as connection:
            found = read_slices(
                connection,
                start=query.start,
                end=query.end,
                accounts=accounts,
                tenant=query.tenant,
            )
            sums = sum_usage(query, found, lambda version: self._rate(connection, version))
        return [one for one in sums if after is None or one.place > after][:limit]

    def drifts(self, item: str) -> list[TokenDrift]:
        """Return how counters compare with providers, by item, meter and counter."""
        with reading(self._engine) as connection:
            return [drift for drift in read_drifts(connection) if item in {"", drift.item}]

    def entries(self, after: int, *, account: str = "", limit: int) -> list[Entry]:
        """Return entries after a sequence, in order; an empty account means all."""
        query = select(ENTRY).where(ENTRY.c.sequence > after).order_by(ENTRY.c.sequence)
        return self._entries(query, account, limit)

    def latest_entries(self, before: int = 0, *, account: str = "", limit: int) -> list[Entry]:
        """Return entries before a sequence, newest first; zero is the end of the ledger."""
        query = select(ENTRY).order_by(ENTRY.c.sequence.desc())
        return self._entries(
            query.where(ENTRY.c.sequence < before) if before else query, account, limit
        )

    def _entries(self, query: Select[tuple[Value, ...]], account: str, limit: int) -> list[Entry]:
        if account:
            query = query.where(ENTRY.c.account == account)
        with reading(self._engine) as connection:
            return [entry_of(row) for row in connection.execute(query.limit(limit))]

    def events(self, *, after_offset: int, limit: int) -> list[Event]:
        """Return entries and notices after an offset, in their common order."""
        with reading(self._engine) as connection:
            place = NOTICE.c.after_sequence + NOTICE.c.number
            before = select(func.count()).select_from(NOTICE).where(place <= after_offset)
            number = connection.execute(before).scalar_one()
            notices = select(NOTICE).where(NOTICE.c.number > number).order_by(NOTICE.c.number)
            found = [notice_of(row) for row in connection.execute(notices.limit(limit))]
            entries = select(ENTRY).where(ENTRY.c.sequence > after_offset - number)
            rows = connection.execute(entries.order_by(ENTRY.c.sequence).limit(limit))
            return merge(list(map(entry_of, rows)), found, after_offset=after_offset)[:limit]

    @property
    def written_offset(self) -> int | None:
        """Return the offset of the last event that this process wrote, if that is known."""
        return self._book.last_offset if self._book else None

    def last_offset(self) -> int:
        """Return the offset of the last event, or 0."""
        with reading(self._engine) as connection:
            sequence = connection.execute(select(func.max(ENTRY.c.sequence))).scalar() or 0
            return sequence + notice_count(connection)

    def last_sequence(self) -> int:
        """Return the sequence of the last entry, or 0."""
        with reading(self._engine) as connection:
            return connection.execute(select(func.max(ENTRY.c.sequence))).scalar() or 0

    def _rate(self, connection: Connection, version: str) -> Rate | None:
        try:
            return self.prices.table(connection, version).rate
        except PriceTableNotFound:
            # Held before price tables were kept.
            return None

    def _require_epoch(self, connection: Connection) -> None:
        # The lock makes another process wait here until this batch is on disk.
        epoch = connection.execute(_EPOCH).scalar_one()
        if epoch != self._epoch:
            raise LedgerFenced


_EPOCH = select(FENCE.c.epoch).with_for_update()


def _decide(
    operation: Operation[object], connection: Connection, book: Book, now: datetime
) -> Outcome:
    try:
        if isinstance(operation, TableOperation):
            outcome: Outcome = operation.decide_in(connection, book, now)
            return outcome
        return operation.decide(book, now)
    except ServiceError as error:
        return error


def _claim(connection: Connection, dice: random.Random) -> tuple[int, str]:
    """Fence everybody else; return our epoch, and the name that the ledger got when it was made."""
    claimed = connection.execute(
        update(FENCE).values(epoch=FENCE.c.epoch + 1).returning(FENCE.c.epoch, FENCE.c.ledger_id)
    ).first()
    if claimed is not None and claimed.ledger_id:
        return claimed.epoch, claimed.ledger_id
    ledger_id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    if claimed is not None:
        connection.execute(update(FENCE).values(ledger_id=ledger_id))
        return claimed.epoch, ledger_id
    connection.execute(FENCE.insert().values(epoch=1, ledger_id=ledger_id))
    return 1, ledger_id
