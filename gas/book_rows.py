"""How the book is read from the tables, and how what changed in it is written to them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import BindParameter, Connection, Select, bindparam, func, select

from .book import Book, Refund, Run
from .budget_rows import past_of, read_accounts, write_accounts
from .bulk import Bulk
from .chain import DEFAULT_TENANT
from .entries import Tip
from .ledger import Hold, HoldState
from .operations import Assign, Operation, Publish, Return
from .price_archive import PriceArchive, scheduled_of, write_price_table
from .price_schedule import PriceBook
from .sum_rows import read_drifts, read_sums, write_sums
from .sums import Sums
from .tables import (
    CALL,
    ENTRY,
    HOLD,
    HOLD_CHANGES,
    NOTICE,
    PRICE_SCHEDULE,
    REFUND,
    RUN,
    TENANCY,
    Value,
    Values,
    call_of,
    callers_from_json,
    callers_to_json,
    entry_values,
    hold_changes,
    hold_of,
    hold_values,
    notice_values,
)


def read_book(connection: Connection, archive: PriceArchive, dice: random.Random) -> Book:
    """Return what decisions need of everything: the end of the ledger, and the open holds."""
    last = select(ENTRY.c.sequence, ENTRY.c.chain_hash).order_by(ENTRY.c.sequence.desc())
    found = connection.execute(last.limit(1)).first()
    tip = Tip(found.sequence, found.chain_hash) if found else Tip()
    prices = PriceBook(archive.schedule(connection))
    book = Book(tip, notice_count(connection), prices, Sums(read_drifts(connection)), dice)
    is_open = select(HOLD).where(HOLD.c.state == HoldState.OPEN.value)
    for hold in _holds(connection, is_open.order_by(HOLD.c.expire_time, HOLD.c.name)):
        book.open[hold.name] = hold
    return book


def read_ahead(
    connection: Connection,
    book: Book,
    operations: Sequence[Operation[object]],
    now: datetime,
) -> list[str]:
    """Bring into the book what operations name; return the agents that were not there."""
    book.begin(now)
    book.accounts.begin(past_of(connection))
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
    _read_published(connection, book, operations)
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
    tenants |= {asked.tenant for asked in operations if isinstance(asked, Assign)}
    # Tenants are few, so they stay.
    missing = sorted({*strangers, *tenants} - book.accounts.keys())
    if missing:
        book.accounts |= read_accounts(connection, missing)
    if strangers:
        read_sums(connection, book.sums, strangers)
    return strangers


def write_changes(connection: Connection, book: Book, bulk: Bulk) -> None:
    """Write what a batch has changed."""
    changes = book.changes
    holds = {**book.holds, **book.open}
    runs: list[Values] = [
        (run.name, run.account, run.closed, run.line_count, callers_to_json(run.callers))
        for run in map(book.runs.__getitem__, changes.runs)
    ]
    added = [hold_values(holds[name]) for name in changes.new_holds]
    changed: list[Values] = [
        (name, *hold_changes(holds[name]))
        for name in changes.holds
        if name not in changes.new_holds
    ]
    write_accounts(connection, book.accounts, bulk)
    bulk.upsert(connection, RUN, runs)
    bulk.insert(connection, HOLD, added)
    bulk.update(connection, HOLD, HOLD_CHANGES, changed)
    write_sums(connection, book.sums, bulk)
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
    for scheduled, table in book.prices.added:
        write_price_table(connection, scheduled, table)
    bulk.insert(connection, NOTICE, [notice_values(notice) for notice in changes.notices])


def notice_count(connection: Connection) -> int:
    """Return how many notices there are."""
    return connection.execute(select(func.max(NOTICE.c.number))).scalar() or 0


def _read_holds(
    connection: Connection, book: Book, operations: Sequence[Operation[object]]
) -> None:
    request_ids = [asked.request_id for asked in operations if asked.request_id]
    names = [asked.hold for asked in operations if asked.hold and asked.hold not in book.open]
    closing = [asked.run for asked in operations if asked.run and not asked.request_id]
    queries = ((request_ids, _BY_REQUEST), (names, _BY_NAME), (closing, _OF_CLOSING))
    for wanted, query in queries:
        for hold in _holds(connection, query, wanted) if wanted else ():
            book.names[hold.reservation.request_id] = hold.name
            if hold.name not in book.open:
                book.holds[hold.name] = hold


def _holds(
    connection: Connection, query: Select[tuple[Value, ...]], wanted: Sequence[str] = ()
) -> list[Hold]:
    return [hold_of(row) for row in connection.execute(query, {"wanted": wanted})]


def _of_closing(wanted: BindParameter[Sequence[str]]) -> Select[tuple[Value, ...]]:
    """Return what reads the expired holds of runs, of all that they called, and that these did."""
    called = select(CALL.c.run).where(CALL.c.caller_run.in_(wanted)).cte("called", recursive=True)
    called = called.union(select(CALL.c.run).join(called, CALL.c.caller_run == called.c.run))
    is_of_closing = HOLD.c.run.in_(wanted) | HOLD.c.run.in_(select(called.c.run))
    return select(HOLD).where(is_of_closing, HOLD.c.state == HoldState.EXPIRED.value)


# Made once: to make them takes longer than to run them, and each batch needs one.
_WANTED: BindParameter[Sequence[str]] = bindparam("wanted", expanding=True)
_BY_REQUEST = select(HOLD).where(HOLD.c.request_id.in_(_WANTED))
_BY_NAME = select(HOLD).where(HOLD.c.name.in_(_WANTED))
_OF_CLOSING = _of_closing(_WANTED)


def _read_refunds(
    connection: Connection, book: Book, operations: Sequence[Operation[object]]
) -> None:
    wanted = [asked.refund.request_id for asked in operations if isinstance(asked, Return)]
    if wanted:
        for row in connection.execute(select(REFUND).where(REFUND.c.request_id.in_(wanted))):
            book.refunds[row.request_id] = Refund(row.request_id, row.hold, row.gas, row.cause)


def _read_published(
    connection: Connection, book: Book, operations: Sequence[Operation[object]]
) -> None:
    wanted = [asked.update.request_id for asked in operations if isinstance(asked, Publish)]
    if wanted:
        query = select(PRICE_SCHEDULE).where(PRICE_SCHEDULE.c.request_id.in_(wanted))
        for row in connection.execute(query):
            book.prices.known[row.request_id] = scheduled_of(row)


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
