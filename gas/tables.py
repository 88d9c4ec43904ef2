"""The tables of the ledger, and how its values become rows; the same in SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    UniqueConstraint,
)

from .chain import DEFAULT_TENANT, Call, Caller
from .entries import Entry, Kind
from .ledger import Consumption, Hold, HoldState, Reservation
from .notices import Notice
from .prices import Meter, Tariff, Usage

# 2 brought the ledger of entries, expiry and refunds; 3 brought callers, tenants, notices and
# price tables.
VERSION = 3

Value: TypeAlias = str | int | bytes | None
Values: TypeAlias = tuple[Value, ...]

TABLES = MetaData()


# Ordered by bytes, as in SQLite and Python: no locale decides what a page holds.
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def _text(name: str, *, key: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, _TEXT, primary_key=key, nullable=False, server_default=default)


def _gas(name: str, default: str | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=default)


BUDGET = Table(
    "budget",
    TABLES,
    _text("account", key=True),
    _text("origin", key=True),
    _text("period"),
    _gas("gas_limit"),
)
# Gas that holds of one hour have charged or hold.
SPENDING = Table(
    "spending", TABLES, _text("account", key=True), _text("hour", key=True), _gas("gas")
)
RUN = Table(
    "run",
    TABLES,
    _text("name", key=True),
    _text("account"),
    Column("closed", Boolean, nullable=False),
    _gas("line_count", "0"),
    _text("callers", default="[]"),
)
# Lines of receipts: runs that a run called.
CALL = Table(
    "call",
    TABLES,
    _text("caller_run", key=True),
    _text("run", key=True),
    _text("account"),
    _gas("line"),
    _gas("gas"),
    Index("ix_call_run", "run"),
)
# Agents that are not in the default tenant.
TENANCY = Table("tenancy", TABLES, _text("account", key=True), _text("tenant"))
HOLD = Table(
    "hold",
    TABLES,
    _text("name", key=True),
    _text("request_id"),
    _text("account"),
    _text("run"),
    _text("item"),
    _text("usages"),
    _text("price_version"),
    _text("gas_per_thousand"),
    _gas("gas"),
    _text("create_time"),
    _text("state"),
    _gas("line"),
    _text("charged_usages"),
    _gas("charged_gas"),
    _text("expire_time", default=""),
    _gas("refunded_gas", "0"),
    _text("callers", default="[]"),
    _text("tenants", default="[]"),
    UniqueConstraint("request_id"),
    Index("ix_hold_run", "run"),
)
# What changes in the life of a hold.
HOLD_CHANGES = ("state", "line", "charged_usages", "charged_gas", "expire_time", "refunded_gas")
CONSUMPTION = Table(
    "consumption",
    TABLES,
    _text("account", key=True),
    _text("item", key=True),
    _text("usages"),
    _gas("gas"),
    _gas("charge_count"),
)
ENTRY = Table(
    "entry",
    TABLES,
    # INTEGER, because that is the key of the rows themselves in SQLite.
    Column(
        "sequence",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    _text("kind"),
    _text("account"),
    _text("payee"),
    _gas("gas"),
    _text("hold"),
    _gas("line"),
    _text("item"),
    _text("usages"),
    _text("price_version"),
    _text("cause"),
    _text("create_time"),
    Column("chain_hash", LargeBinary, nullable=False),
    Index("ix_entry_account", "account", "sequence"),
)
REFUND = Table(
    "refund", TABLES, _text("request_id", key=True), _text("hold"), _gas("gas"), _text("cause")
)
# What happened besides entries.
NOTICE = Table(
    "notice",
    TABLES,
    Column(
        "number",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    _gas("after_sequence"),
    _text("kind"),
    _text("account"),
    _text("content"),
    _text("create_time"),
)
# Tables by what is in them, and when each comes into force.
PRICE_TABLE = Table("price_table", TABLES, _text("version", key=True), _text("content"))
PRICE_SCHEDULE = Table(
    "price_schedule",
    TABLES,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _text("version"),
    _text("effective_time"),
    _text("create_time"),
    _gas("price_count"),
    _text("request_id"),
    _text("request_sha256"),
    UniqueConstraint("request_id"),
)
# One row: who opened the ledger last has its epoch, and nobody else writes.
FENCE = Table(
    "fence",
    TABLES,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    _text("ledger_id", default=""),
)


def hold_values(hold: Hold) -> Values:
    """Return a row of `HOLD`."""
    asked = hold.reservation
    tariff = {meter.value: gas for meter, gas in hold.tariff.gas_per_thousand.items()}
    return (
        hold.name,
        asked.request_id,
        asked.account,
        asked.run,
        asked.item,
        usages_to_json(asked.usages),
        hold.tariff.version,
        json.dumps(tariff),
        hold.gas,
        _time_text(hold.create_time),
        *hold_changes(hold),
        callers_to_json(asked.callers),
        # None is by far the most frequent, and means the default.
        "[]" if hold.tenants == (DEFAULT_TENANT,) else json.dumps(hold.tenants),
    )


def hold_changes(hold: Hold) -> Values:
    """Return the values of `HOLD_CHANGES`."""
    return (
        hold.state.value,
        hold.line,
        usages_to_json(hold.charged_usages),
        hold.charged_gas,
        _time_text(hold.expire_time),
        hold.refunded_gas,
    )


def hold_of(row: Row[tuple[Value, ...]]) -> Hold:
    """Return what a row of `HOLD` says."""
    tariff = {Meter(meter): gas for meter, gas in json.loads(row.gas_per_thousand).items()}
    usages = usages_from_json(row.usages)
    return Hold(
        name=row.name,
        reservation=Reservation(
            row.request_id,
            row.account,
            row.run,
            row.item,
            usages,
            callers_from_json(row.callers),
        ),
        tariff=Tariff(row.price_version, tariff),
        gas=row.gas,
        create_time=datetime.fromisoformat(row.create_time),
        expire_time=datetime.fromisoformat(row.expire_time),
        state=HoldState(row.state),
        line=row.line,
        charged_usages=usages_from_json(row.charged_usages),
        charged_gas=row.charged_gas,
        refunded_gas=row.refunded_gas,
        tenants=tuple(json.loads(row.tenants)) or (DEFAULT_TENANT,),
    )


def entry_values(entry: Entry) -> Values:
    """Return a row of `ENTRY`."""
    return (
        entry.sequence,
        entry.kind.value,
        entry.account,
        entry.payee,
        entry.gas,
        entry.hold,
        entry.line,
        entry.item,
        usages_to_json(entry.usages),
        entry.price_version,
        entry.cause,
        _time_text(entry.create_time),
        entry.chain_hash,
    )


def entry_of(row: Row[tuple[Value, ...]]) -> Entry:
    """Return what a row of `ENTRY` says."""
    return Entry(
        sequence=row.sequence,
        kind=Kind(row.kind),
        account=row.account,
        payee=row.payee,
        gas=row.gas,
        hold=row.hold,
        line=row.line,
        item=row.item,
        usages=usages_from_json(row.usages),
        price_version=row.price_version,
        cause=row.cause,
        create_time=datetime.fromisoformat(row.create_time),
        chain_hash=row.chain_hash,
    )


def consumption_values(consumption: Consumption) -> Values:
    """Return a row of `CONSUMPTION`."""
    return (
        consumption.account,
        consumption.item,
        usages_to_json(consumption.usages),
        consumption.gas,
        consumption.charge_count,
    )


def consumption_of(row: Row[tuple[Value, ...]]) -> Consumption:
    """Return what a row of `CONSUMPTION` says."""
    usages = usages_from_json(row.usages)
    return Consumption(row.account, row.item, usages, row.gas, row.charge_count)


def call_of(row: Row[tuple[Value, ...]]) -> Call:
    """Return what a row of `CALL` says."""
    return Call(row.caller_run, row.run, row.account, row.line, row.gas)


def notice_values(notice: Notice) -> Values:
    """Return a row of `NOTICE`."""
    return (
        notice.number,
        notice.after_sequence,
        notice.kind,
        notice.account,
        json.dumps(notice.content),
        _time_text(notice.time),
    )


def notice_of(row: Row[tuple[Value, ...]]) -> Notice:
    """Return what a row of `NOTICE` says."""
    return Notice(
        row.number,
        row.after_sequence,
        row.kind,
        row.account,
        json.loads(row.content),
        datetime.fromisoformat(row.create_time),
    )


def callers_to_json(callers: Sequence[Caller]) -> str:
    """Return callers as they are stored: [[account, run], …]."""
    return json.dumps([[caller.account, caller.run] for caller in callers]) if callers else "[]"


def callers_from_json(text: str) -> tuple[Caller, ...]:
    """Return what `callers_to_json` stored."""
    return tuple(Caller(*caller) for caller in json.loads(text))


def usages_to_json(usages: Sequence[Usage]) -> str:
    """Return usages as they are stored: [[meter, amount], …]."""
    # By hand, because this is most of what a row costs; names of meters need no escapes.
    pairs = [f'["{usage.meter.value}", {usage.amount}]' for usage in usages]
    return f"[{', '.join(pairs)}]"


def usages_from_json(text: str) -> tuple[Usage, ...]:
    """Return what `usages_to_json` stored."""
    return tuple(Usage(Meter(meter), amount) for meter, amount in json.loads(text))


# A batch writes the same few times again and again.
_time_text = lru_cache(maxsize=256)(datetime.isoformat)
