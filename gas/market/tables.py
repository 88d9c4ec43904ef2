"""The tables of the marketplace, beside those of the ledger, and how its values become rows."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Column, Index, Row, Table

from ..prices import Rate
from ..tables import TABLES, Value, Values, gas_column, text_column
from .fees import Bill, Dao, FeeSchedule, Holding, Payout, RunPrice
from .webhooks import Delivery, DeliveryState, Webhook

# These, and those of the ledger.
ALL_TABLES = TABLES

FEES = Table(
    "fees",
    TABLES,
    # Empty for the default.
    text_column("account", key=True),
    gas_column("version"),
    text_column("content"),
)
DAO = Table(
    "dao",
    TABLES,
    text_column("name", key=True),
    gas_column("version"),
    text_column("holdings"),
)
# Sums over all bills.
PAYOUT = Table(
    "payout",
    TABLES,
    text_column("dao", key=True),
    text_column("holder", key=True),
    gas_column("micros"),
)
BILL = Table(
    "bill",
    TABLES,
    text_column("run", key=True),
    text_column("account"),
    text_column("price"),
    text_column("create_time"),
)
WEBHOOK = Table(
    "webhook",
    TABLES,
    text_column("name", key=True),
    text_column("url"),
    text_column("event_types"),
    text_column("account"),
    text_column("create_time"),
    gas_column("queued_offset"),
    # Its request id may be repeated after that, and must not bring it back.
    Column("deleted", Boolean, nullable=False),
)
DELIVERY = Table(
    "delivery",
    TABLES,
    text_column("webhook", key=True),
    Column("event_offset", BigInteger, primary_key=True, autoincrement=False),
    text_column("source"),
    text_column("account"),
    text_column("next_attempt_time"),
    text_column("state"),
    gas_column("attempt_count"),
    text_column("last_error"),
    text_column("acknowledge_time"),
    Index("ix_delivery_state", "webhook", "state", "account", "event_offset"),
    Index("ix_delivery_offset", "event_offset", "webhook"),
)


def fees_values(schedule: FeeSchedule) -> Values:
    """Return a row of `FEES`."""
    return (schedule.account, schedule.version, json.dumps(asdict(schedule)))


def fees_of(row: Row[tuple[Value, ...]]) -> FeeSchedule:
    """Return what a row of `FEES` says."""
    return FeeSchedule(**json.loads(row.content))


def dao_values(dao: Dao) -> Values:
    """Return a row of `DAO`."""
    holdings = [[holding.holder, holding.units] for holding in dao.holdings]
    return (dao.name, dao.version, json.dumps(holdings))


def dao_of(row: Row[tuple[Value, ...]]) -> Dao:
    """Return what a row of `DAO` says."""
    holdings = tuple(Holding(holder, units) for holder, units in json.loads(row.holdings))
    return Dao(row.name, holdings, row.version)


def bill_values(bill: Bill) -> Values:
    """Return a row of `BILL`."""
    price = asdict(replace(bill.price, payouts=()))
    # There may be ten thousand of them.
    price["payouts"] = [[payout.holder, payout.micros] for payout in bill.price.payouts]
    return (bill.run, bill.account, json.dumps(price), bill.create_time.isoformat())


def bill_of(row: Row[tuple[Value, ...]]) -> Bill:
    """Return what a row of `BILL` says."""
    price = json.loads(row.price)
    price["payouts"] = tuple(Payout(*payout) for payout in price["payouts"])
    price["schedule"] = FeeSchedule(**price["schedule"])
    price["rate"] = Rate(**price["rate"])
    create_time = datetime.fromisoformat(row.create_time)
    return Bill(row.run, row.account, RunPrice(**price), create_time)


def webhook_values(webhook: Webhook) -> Values:
    """Return a row of `WEBHOOK`."""
    return (
        webhook.name,
        webhook.url,
        json.dumps(webhook.event_types),
        webhook.account,
        webhook.create_time.isoformat(),
        webhook.queued_offset,
        webhook.deleted,
    )


def webhook_of(row: Row[tuple[Value, ...]]) -> Webhook:
    """Return what a row of `WEBHOOK` says."""
    return Webhook(
        name=row.name,
        url=row.url,
        event_types=tuple(json.loads(row.event_types)),
        account=row.account,
        create_time=datetime.fromisoformat(row.create_time),
        queued_offset=row.queued_offset,
        deleted=row.deleted,
    )


def delivery_values(delivery: Delivery) -> Values:
    """Return a row of `DELIVERY`."""
    acknowledged = delivery.acknowledge_time
    return (
        delivery.webhook,
        delivery.offset,
        delivery.source,
        delivery.account,
        delivery.next_attempt_time.isoformat(),
        delivery.state.value,
        delivery.attempt_count,
        delivery.last_error,
        acknowledged.isoformat() if acknowledged else "",
    )


def delivery_of(row: Row[tuple[Value, ...]]) -> Delivery:
    """Return what a row of `DELIVERY` says."""
    acknowledged = row.acknowledge_time
    return Delivery(
        webhook=row.webhook,
        offset=row.event_offset,
        source=row.source,
        account=row.account,
        next_attempt_time=datetime.fromisoformat(row.next_attempt_time),
        state=DeliveryState(row.state),
        attempt_count=row.attempt_count,
        last_error=row.last_error,
        acknowledge_time=datetime.fromisoformat(acknowledged) if acknowledged else None,
    )
