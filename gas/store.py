"""The ledger on disk: applies batches of operations, one transaction each, and reads."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, Engine, Select, func, select, tuple_, update
from sqlalchemy.exc import InterfaceError, OperationalError

from chassis.clock import Clock
from chassis.database import reading
from chassis.errors import ServiceError

from .account import Account
from .book import Book, Refund, Run
from .bulk import bulk_of
from .chain import DEFAULT_TENANT
from .entries import Entry, Tip
from .errors import AccountNotFound, LedgerFenced, LedgerUnavailable
from .ledger import Budget, Charge, Consumption, Hold, HoldState, Origin, Period, Receipt
from .notices import Event, merge
from .operations import Operation, Return
from .prices import PriceTable
from .tables import (
    BUDGET,
    CALL,
    CONSUMPTION,
    ENTRY,
    FENCE,
    HOLD,
    HOLD_CHANGES,
    NOTICE,
    REFUND,
    RUN,
    SPENDING,
    TENANCY,
    Value,
    Values,
    call_of,
    callers_from_json,
    callers_to_json,
    consumption_of,
    consumption_values,
    entry_of,
    entry_values,
    hold_changes,
    hold_of,
    hold_values,
    notice_of,
    notice_values,
    usages_from_json,
)

Outcome: TypeAlias = object | ServiceError


class LedgerStore:
    """Holds, charges, budgets and entries. Opening it fences whoever had the ledger open before.

    One caller at a time may apply; anybody may read, and sees what was applied.
    """

    def __init__(
        self, engine: Engine, prices: PriceTable, *, clock: Clock, dice: random.Random
    ) -> None:
        self._engine = engine
        self._bulk = bulk_of(engine)
        self._prices = prices
        self._clock = clock
        self._dice = dice
        self._book: Book | None = None
        with engine.begin() as connection:
            self._epoch, self.ledger_id = _claim(connection, dice)

    def apply(self, operations: Sequence[Operation[object]]) -> list[Outcome]:
        """Decide operations in their order and write what they change, all of it or nothing.

        Return for each its result, or the error with which it was refused. What this returns is
        on disk; if it raises, nobody knows whether it is, until the operations are repeated.
        """
        book, self._book = self._book, None
        try:
            with self._engine.begin() as connection:
                self._require_epoch(connection)
                if book is None:
                    book = self._read_book(connection)
                now = self._clock.now()
                strangers = self._read_ahead(connection, book, operations, now)
                for hold in book.expired(now):
                    book.expire(hold, now)
                outcomes = [_decide(operation, book, now) for operation in operations]
                self._write(connection, book)
        except (OperationalError, InterfaceError) as error:
            raise LedgerUnavailable from error
        for name in strangers:
            if not book.accounts[name].limits:
                del book.accounts[name]
                book.tenants.pop(name, None)
        # Only now: a book that may not be what is on disk is read again.
        self._book = book
        return outcomes

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

    def budgets(self, account: str) -> list[Budget]:
        """Return the budgets of an account by origin, or raise `AccountNotFound`."""
        with reading(self._engine) as connection:
            found = _read_accounts(connection, [account])[account]
        if not found.limits:
            raise AccountNotFound(account)
        return found.budgets(self._clock.now())

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

    def entries(self, *, account: str = "", after: int, limit: int) -> list[Entry]:
        """Return entries after a sequence, in order; an empty account means all."""
        query = select(ENTRY).where(ENTRY.c.sequence > after)
        if account:
            query = query.where(ENTRY.c.account == account)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(ENTRY.c.sequence).limit(limit))
            return [entry_of(row) for row in rows]

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

    def last_offset(self) -> int:
        """Return the offset of the last event, or 0."""
        with reading(self._engine) as connection:
            sequence = connection.execute(select(func.max(ENTRY.c.sequence))).scalar() or 0
            return sequence + _notice_count(connection)

    def last_sequence(self) -> int:
        """Return the sequence of the last entry, or 0."""
        with reading(self._engine) as connection:
            return connection.execute(select(func.max(ENTRY.c.sequence))).scalar() or 0

    def _require_epoch(self, connection: Connection) -> None:
        # The lock makes another process wait here until this batch is on disk.
        epoch = connection.execute(select(FENCE.c.epoch).with_for_update()).scalar_one()
        if epoch != self._epoch:
            raise LedgerFenced

    def _read_book(self, connection: Connection) -> Book:
        last = select(ENTRY.c.sequence, ENTRY.c.chain_hash).order_by(ENTRY.c.sequence.desc())
        found = connection.execute(last.limit(1)).first()
        tip = Tip(found.sequence, found.chain_hash) if found else Tip()
        book = Book(tip, _notice_count(connection), prices=self._prices, dice=self._dice)
        is_open = select(HOLD).where(HOLD.c.state == HoldState.OPEN.value)
        for hold in _holds(connection, is_open.order_by(HOLD.c.expire_time, HOLD.c.name)):
            book.open[hold.name] = hold
        return book

    def _read_ahead(
        self,
        connection: Connection,
        book: Book,
        operations: Sequence[Operation[object]],
        now: datetime,
    ) -> list[str]:
        """Bring into the book what operations name; return the agents that were not there."""
        book.begin()
        _read_holds(connection, book, operations)
        closing = {asked.run for asked in operations if asked.run and not asked.request_id}
        touched = [*book.holds.values(), *book.expired(now)]
        touched += [
            hold
            for hold in book.open.values()
            if closing and not closing.isdisjoint(payer.run for payer in hold.payers)
        ]
        touched += [book.open[asked.hold] for asked in operations if asked.hold in book.open]
        _read_refunds(connection, book, operations)
        payers = {payer for hold in touched for payer in hold.payers}
        payers |= {caller for asked in operations for caller in asked.callers}
        runs = {asked.run for asked in operations} | {payer.run for payer in payers}
        _read_runs(connection, book, sorted(runs - book.runs.keys() - {""}))
        _read_calls(connection, book, touched)
        accounts = {asked.account for asked in operations} | {payer.account for payer in payers}
        strangers = sorted(accounts - book.accounts.keys() - {""})
        tenants = {tenant for hold in touched for tenant in hold.tenants}
        if strangers:
            query = select(TENANCY).where(TENANCY.c.account.in_(strangers))
            book.tenants |= {row.account: row.tenant for row in connection.execute(query)}
        tenants |= {book.tenants.get(account, DEFAULT_TENANT) for account in accounts}
        # Tenants are few, so they stay.
        missing = sorted({*strangers, *tenants} - book.accounts.keys())
        if missing:
            book.accounts |= _read_accounts(connection, missing)
        if strangers:
            query = select(CONSUMPTION).where(CONSUMPTION.c.account.in_(strangers))
            for row in connection.execute(query):
                book.consumptions[row.account, row.item] = consumption_of(row)
        return strangers

    def _write(self, connection: Connection, book: Book) -> None:
        changes, bulk = book.changes, self._bulk
        holds = {**book.holds, **book.open}
        limits: list[Values] = [
            (name, origin.value, period.value, gas_limit)
            for name in changes.limits
            for origin, (period, gas_limit) in book.accounts[name].limits.items()
        ]
        runs: list[Values] = [
            (run.name, run.account, run.closed, run.line_count, callers_to_json(run.callers))
            for run in map(book.runs.__getitem__, changes.runs)
        ]
        hours: list[Values] = [
            (account, hour, book.accounts[account].gas_by_hour[hour])
            for account, hour in changes.hours
        ]
        added = [hold_values(holds[name]) for name in changes.new_holds]
        changed: list[Values] = [
            (name, *hold_changes(holds[name]))
            for name in changes.holds
            if name not in changes.new_holds
        ]
        bulk.upsert(connection, BUDGET, limits)
        bulk.upsert(connection, RUN, runs)
        bulk.upsert(connection, SPENDING, hours)
        bulk.insert(connection, HOLD, added)
        bulk.update(connection, HOLD, HOLD_CHANGES, changed)
        consumptions = map(book.consumptions.__getitem__, changes.consumptions)
        bulk.upsert(connection, CONSUMPTION, [consumption_values(one) for one in consumptions])
        bulk.insert(connection, ENTRY, [entry_values(entry) for entry in changes.entries])
        refunds: list[Values] = [
            (refund.request_id, refund.hold, refund.gas, refund.cause) for refund in changes.refunds
        ]
        bulk.insert(connection, REFUND, refunds)
        calls: list[Values] = [
            (call.caller_run, call.run, call.account, call.line, call.gas)
            for call in map(book.calls.__getitem__, changes.calls)
        ]
        bulk.upsert(connection, CALL, calls)
        tenancies: list[Values] = [(agent, book.tenants[agent]) for agent in changes.tenants]
        bulk.upsert(connection, TENANCY, tenancies)
        bulk.insert(connection, NOTICE, [notice_values(notice) for notice in changes.notices])


def _decide(operation: Operation[object], book: Book, now: datetime) -> Outcome:
    try:
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


def _notice_count(connection: Connection) -> int:
    return connection.execute(select(func.max(NOTICE.c.number))).scalar() or 0


def _read_holds(
    connection: Connection, book: Book, operations: Sequence[Operation[object]]
) -> None:
    request_ids = [asked.request_id for asked in operations if asked.request_id]
    names = [asked.hold for asked in operations if asked.hold and asked.hold not in book.open]
    closing = [asked.run for asked in operations if asked.run and not asked.request_id]
    # With all that they called, and that these called.
    called = select(CALL.c.run).where(CALL.c.caller_run.in_(closing)).cte("called", recursive=True)
    called = called.union(select(CALL.c.run).join(called, CALL.c.caller_run == called.c.run))
    is_of_closing = HOLD.c.run.in_(closing) | HOLD.c.run.in_(select(called.c.run))
    queries = [
        (request_ids, select(HOLD).where(HOLD.c.request_id.in_(request_ids))),
        (names, select(HOLD).where(HOLD.c.name.in_(names))),
        (closing, select(HOLD).where(is_of_closing, HOLD.c.state == HoldState.EXPIRED.value)),
    ]
    for wanted, query in queries:
        for hold in _holds(connection, query) if wanted else ():
            book.names[hold.reservation.request_id] = hold.name
            if hold.name not in book.open:
                book.holds[hold.name] = hold


def _holds(connection: Connection, query: Select[tuple[Value, ...]]) -> list[Hold]:
    return [hold_of(row) for row in connection.execute(query)]


def _read_refunds(
    connection: Connection, book: Book, operations: Sequence[Operation[object]]
) -> None:
    wanted = [asked.refund.request_id for asked in operations if isinstance(asked, Return)]
    if wanted:
        for row in connection.execute(select(REFUND).where(REFUND.c.request_id.in_(wanted))):
            book.refunds[row.request_id] = Refund(row.request_id, row.hold, row.gas, row.cause)


def _read_runs(connection: Connection, book: Book, names: Sequence[str]) -> None:
    if names:
        for row in connection.execute(select(RUN).where(RUN.c.name.in_(names))):
            callers = callers_from_json(row.callers)
            book.runs[row.name] = Run(row.name, row.account, row.closed, row.line_count, callers)


def _read_calls(connection: Connection, book: Book, holds: Sequence[Hold]) -> None:
    called = {payer.run for hold in holds if hold.reservation.callers for payer in hold.payers[1:]}
    if called:
        for row in connection.execute(select(CALL).where(CALL.c.run.in_(sorted(called)))):
            book.calls[row.caller_run, row.run] = call_of(row)


def _read_accounts(connection: Connection, names: Sequence[str]) -> dict[str, Account]:
    limits: dict[str, dict[Origin, tuple[Period, int]]] = {name: {} for name in names}
    hours: dict[str, dict[str, int]] = {name: {} for name in names}
    for row in connection.execute(select(BUDGET).where(BUDGET.c.account.in_(names))):
        limits[row.account][Origin(row.origin)] = (Period(row.period), row.gas_limit)
    for row in connection.execute(select(SPENDING).where(SPENDING.c.account.in_(names))):
        hours[row.account][row.hour] = row.gas
    return {name: Account(name, limits[name], hours[name]) for name in names}
