"""The tables of what was used, and how sums are read from them and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import BigInteger, Column, Connection, Row, Table, select

from .bulk import Bulk
from .ledger import Consumption
from .prices import Meter
from .sums import Counter, SliceKey, Sums, TokenDrift
from .tables import TABLES, Value, Values, gas_column, text_column, usages_from_json, usages_to_json

CONSUMPTION = Table(
    "consumption",
    TABLES,
    text_column("account", key=True),
    text_column("item", key=True),
    text_column("usages"),
    gas_column("gas"),
    gas_column("charge_count"),
)
# The same for each quarter of an hour, by tenant and price table.
SLICE = Table(
    "slice",
    TABLES,
    Column("quarter", BigInteger, primary_key=True, autoincrement=False),
    text_column("account", key=True),
    text_column("item", key=True),
    text_column("tenant", key=True),
    text_column("price_version", key=True),
    text_column("usages"),
    gas_column("gas"),
    gas_column("charge_count"),
)
DRIFT = Table(
    "drift",
    TABLES,
    text_column("item", key=True),
    text_column("meter", key=True),
    text_column("counter", key=True),
    gas_column("charge_count"),
    gas_column("provider_amount"),
    gas_column("counted_amount"),
    gas_column("below_count"),
    gas_column("drift_permille_max"),
)


def read_sums(connection: Connection, sums: Sums, accounts: Sequence[str]) -> None:
    """Bring in what accounts consumed, in all and in the present hour."""
    query = select(CONSUMPTION).where(CONSUMPTION.c.account.in_(accounts))
    for row in connection.execute(query):
        sums.consumptions[row.account, row.item] = consumption_of(row)
    sums.add_slices(
        read_slices(connection, start=sums.hour, end=sums.hour + 3_600, accounts=accounts)
    )


def write_sums(connection: Connection, sums: Sums, bulk: Bulk) -> None:
    """Write what a batch has changed."""
    consumptions = map(sums.consumptions.__getitem__, sums.changed_consumptions)
    bulk.upsert(connection, CONSUMPTION, [consumption_values(one) for one in consumptions])
    changed: list[Values] = []
    for key in sums.changed_slices:
        found = sums.slices[key]
        changed.append(
            (
                key.quarter,
                key.account,
                key.item,
                key.tenant,
                key.price_version,
                usages_to_json(found.usages),
                found.gas,
                found.charge_count,
            )
        )
    bulk.upsert(connection, SLICE, changed)
    drifts = map(sums.drifts.__getitem__, sums.changed_drifts)
    bulk.upsert(connection, DRIFT, [_drift_values(drift) for drift in drifts])


def read_slices(
    connection: Connection,
    *,
    start: int,
    end: int,
    accounts: Sequence[str] | None = None,
    tenant: str = "",
) -> Iterator[tuple[SliceKey, Consumption]]:
    """Yield what was used from a quarter on and before another one, in the order of quarters."""
    query = select(SLICE).where(SLICE.c.quarter >= start, SLICE.c.quarter < end)
    if accounts is not None:
        query = query.where(SLICE.c.account.in_(accounts))
    if tenant:
        query = query.where(SLICE.c.tenant == tenant)
    for row in connection.execute(query.order_by(SLICE.c.quarter)):
        key = SliceKey(row.quarter, row.account, row.item, row.tenant, row.price_version)
        yield key, consumption_of(row)


def read_drifts(connection: Connection) -> list[TokenDrift]:
    """Return all comparisons by item, meter and counter."""
    query = select(DRIFT).order_by(DRIFT.c.item, DRIFT.c.meter, DRIFT.c.counter)
    return [
        TokenDrift(
            row.item,
            Meter(row.meter),
            Counter(row.counter),
            row.charge_count,
            row.provider_amount,
            row.counted_amount,
            row.below_count,
            row.drift_permille_max,
        )
        for row in connection.execute(query)
    ]


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


def _drift_values(drift: TokenDrift) -> Values:
    return (
        drift.item,
        drift.meter.value,
        drift.counter.value,
        drift.charge_count,
        drift.provider_amount,
        drift.counted_amount,
        drift.below_count,
        drift.drift_permille_max,
    )
