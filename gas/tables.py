"""The tables of the ledger, and how its values become rows; the same in SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
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
from .entries import Entry, Fee, Kind
from .ledger import Hold, HoldState, Reservation
from .notices import Notice
from .prices import Meter, Tariff, Usage

# 2 brought the ledger of entries, expiry and refunds; 3 brought callers, tenants, notices,
# price tables, and budgets of many kinds; 4 brought fees into the ledger.
VERSION = 4

Value: TypeAlias = str | int | bytes | None
Values: TypeAlias = tuple[Value, ...]

TABLES = MetaData()


# Ordered by bytes, as in SQLite and Python: no locale decides what a page holds.
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def text_column(name: str, *, key: bool = False, default: str | None = None) -> Column[str]:
    """Return a column of text that is always there."""
    return Column(name, _TEXT, primary_key=key, nullable=False, server_default=default)


def gas_column(name: str, default: str | None = None) -> Column[int]:
    """Return a column of whole numbers that are always there."""
    return Column(name, BigInteger, nullable=False, server_default=default)


RUN = Table(
    "run",
    TABLES,
    text_column("name", key=True),
    text_column("account"),
    Column("closed", Boolean, nullable=False),
    gas_column("line_count", "0"),
    text_column("callers", default="[]"),
)
# Lines of receipts: runs that a run called.
CALL = Table(
    "call",
    TABLES,
    text_column("caller_run", key=True),
    text_column("run", key=True),
    text_column("account"),
    gas_column("line"),
    gas_column("gas"),
    Index("ix_call_run", "run"),
)
# Agents that are not in the default tenant.
TENANCY = Table("tenancy", TABLES, text_column("account", key=True), text_column("tenant"))
HOLD = Table(
    "hold",
    TABLES,
    text_column("name", key=True),
    text_column("request_id"),
    text_column("account"),
    text_column("run"),
    text_column("item"),
    text_column("usages"),
    text_column("price_version"),
    text_column("gas_per_thousand"),
    gas_column("gas"),
    text_column("create_time"),
    text_column("state"),
    gas_column("line"),
    text_column("charged_usages"),
    gas_column("charged_gas"),
    text_column("expire_time", default=""),
    gas_column("refunded_gas", "0"),
    text_column("callers", default="[]"),
    text_column("tenants", default="[]"),
    UniqueConstraint("request_id"),
    Index("ix_hold_run", "run"),
)
# What changes in the life of a hold.
HOLD_CHANGES = ("state", "line", "charged_usages", "charged_gas", "expire_time", "refunded_gas")
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
    text_column("kind"),
    text_column("account"),
    text_column("payee"),
    gas_column("gas"),
    text_column("hold"),
    gas_column("line"),
    text_column("item"),
    text_column("usages"),
    text_column("price_version"),
    text_column("cause"),
    text_column("create_time"),
    Column("chain_hash", LargeBinary, nullable=False),
    # Of a fee: run, micros and currency; empty for what moves gas.
    text_column("fee", default=""),
    Index("ix_entry_account", "account", "sequence"),
)
REFUND = Table(
    "refund",
    TABLES,
    text_column("request_id", key=True),
    text_column("hold"),
    gas_column("gas"),
    text_column("cause"),
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
    gas_column("after_sequence"),
    text_column("kind"),
    text_column("account"),
    text_column("content"),
    text_column("create_time"),
)
# Tables by what is in them, and when each comes into force.
PRICE_TABLE = Table("price_table", TABLES, text_column("version", key=True), text_column("content"))
PRICE_SCHEDULE = Table(
    "price_schedule",
    TABLES,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    text_column("version"),
    text_column("effective_time"),
    text_column("create_time"),
    gas_column("price_count"),
    text_column("request_id"),
    text_column("request_sha256"),
    UniqueConstraint("request_id"),
)
# One row: who opened the ledger last has its epoch, and nobody else writes.
FENCE = Table(
    "fence",
    TABLES,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    text_column("ledger_id", default=""),
)


def hold_values(hold: Hold) -> Values:
    """Return a row of `HOLD`."""
    asked = hold.reservation
    return (
        hold.name,
        asked.request_id,
        asked.account,
        asked.run,
        asked.item,
        usages_to_json(asked.usages),
        hold.tariff.version,
        tariff_to_json(hold.tariff),
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
        tariff=tariff_from_json(row.price_version, row.gas_per_thousand),
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
        json.dumps(astuple(entry.fee)) if entry.fee else "",
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
        fee=Fee(*json.loads(row.fee)) if row.fee else None,
    )


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


def tariff_to_json(tariff: Tariff) -> str:
    """Return a tariff as it is stored: its prices, or everything if there is more to it."""
    prices = _meters_to_json(tariff.gas_per_thousand)
    plain = Tariff(tariff.version, tariff.gas_per_thousand)
    if tariff == plain:
        return json.dumps(prices)
    return json.dumps(
        {
            "prices": prices,
            "tiers": [[above, _meters_to_json(dearer)] for above, dearer in tariff.tiers],
            "complexity": tariff.complexity_permille,
            "inference_time": tariff.inference_time_permille,
            "frequency": tariff.frequency_permille,
        }
    )


def tariff_from_json(version: str, text: str) -> Tariff:
    """Return what `tariff_to_json` stored."""
    found = json.loads(text)
    if "prices" not in found:
        return Tariff(version, _meters_from_json(found))
    return Tariff(
        version,
        _meters_from_json(found["prices"]),
        tuple((above, _meters_from_json(dearer)) for above, dearer in found["tiers"]),
        found["complexity"],
        found["inference_time"],
        found["frequency"],
    )


def _meters_to_json(prices: Mapping[Meter, int]) -> dict[str, int]:
    return {meter.value: gas for meter, gas in prices.items()}


def _meters_from_json(prices: Mapping[str, int]) -> dict[Meter, int]:
    return {Meter(meter): gas for meter, gas in prices.items()}


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
