"""All price tables that ever were scheduled, in the database of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, Row, func, select

from chassis.clock import Clock
from chassis.database import reading

from .errors import PriceTableNotFound
from .price_schedule import EVER, Scheduled, in_force
from .prices import PriceTable, table_from_content
from .tables import PRICE_SCHEDULE, PRICE_TABLE, Value

# Tables that are kept parsed; few are asked for.
CACHE_MAX = 16


@dataclass(frozen=True)
class Listed:
    """A price table, when it comes into force, and whether it is the one that counts now."""

    scheduled: Scheduled
    in_force: bool


class PriceArchive:
    """Reads price tables. Anybody may; what is read was committed."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._tables: dict[str, PriceTable] = {}

    def at(self, time: datetime | None = None) -> tuple[Scheduled, PriceTable]:
        """Return the table in force at a time, or now."""
        with reading(self._engine) as connection:
            scheduled = _at(connection, time or self._clock.now())
            return scheduled, self.table(connection, scheduled.version)

    def find(self, version: str) -> tuple[Scheduled, PriceTable]:
        """Return a version with the time since when it is in force, or `PriceTableNotFound`.

        Of several times it is the last one up to now, or else the first.
        """
        now = self._clock.now()
        query = select(PRICE_SCHEDULE).where(PRICE_SCHEDULE.c.version == version)
        with reading(self._engine) as connection:
            found = [scheduled_of(row) for row in connection.execute(query)]
            if not found:
                raise PriceTableNotFound(version)
            return in_force(found, now), self.table(connection, version)

    def page(self, *, before: int | None, limit: int) -> list[Listed]:
        """Return tables that were scheduled before a number, newest first."""
        query = select(PRICE_SCHEDULE).order_by(PRICE_SCHEDULE.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(PRICE_SCHEDULE.c.number < before)
        with reading(self._engine) as connection:
            current = _at(connection, self._clock.now())
            rows = [scheduled_of(row) for row in connection.execute(query)]
        return [Listed(row, row.number == current.number) for row in rows]

    def schedule(self, connection: Connection) -> list[Scheduled]:
        """Return the table in force and all that come into force later."""
        current = _at(connection, self._clock.now())
        query = select(PRICE_SCHEDULE).where(
            (PRICE_SCHEDULE.c.effective_time > current.effective_time.isoformat())
            | (PRICE_SCHEDULE.c.number >= current.number)
        )
        return [scheduled_of(row) for row in connection.execute(query)]

    def table(self, connection: Connection, version: str) -> PriceTable:
        """Return a table that was scheduled, or raise `PriceTableNotFound`."""
        found = self._tables.get(version)
        if found is None:
            query = select(PRICE_TABLE.c.content).where(PRICE_TABLE.c.version == version)
            content = connection.execute(query).scalar()
            if content is None:
                raise PriceTableNotFound(version)
            found = table_from_content(content)
            if len(self._tables) >= CACHE_MAX:
                self._tables.clear()
            self._tables[version] = found
        return found


def keep_file(connection: Connection, table: PriceTable, now: datetime) -> None:
    """Schedule the table of the file for now, if it is not the one of the last start."""
    by_number = select(PRICE_SCHEDULE).order_by(PRICE_SCHEDULE.c.number.desc()).limit(1)
    from_file = by_number.where(PRICE_SCHEDULE.c.request_id.startswith("file "))
    last = connection.execute(from_file).first()
    if last is not None and last.version == table.version:
        return
    number = (connection.execute(select(func.max(PRICE_SCHEDULE.c.number))).scalar() or 0) + 1
    time = now if number > 1 else EVER
    count = len(table.prices)
    scheduled = Scheduled(number, table.version, time, now, count, f"file {number}", "")
    write_price_table(connection, scheduled, table)


def write_price_table(connection: Connection, scheduled: Scheduled, table: PriceTable) -> None:
    """Keep a table, and when it comes into force."""
    known = select(PRICE_TABLE.c.version).where(PRICE_TABLE.c.version == scheduled.version)
    if connection.execute(known).first() is None:
        content = table.content.decode()
        connection.execute(PRICE_TABLE.insert().values(version=table.version, content=content))
    connection.execute(
        PRICE_SCHEDULE.insert().values(
            number=scheduled.number,
            version=scheduled.version,
            effective_time=scheduled.effective_time.isoformat(),
            create_time=scheduled.create_time.isoformat(),
            price_count=scheduled.price_count,
            request_id=scheduled.request_id,
            request_sha256=scheduled.request_sha256,
        )
    )


def scheduled_of(row: Row[tuple[Value, ...]]) -> Scheduled:
    """Return what a row of the schedule says."""
    return Scheduled(
        number=row.number,
        version=row.version,
        effective_time=datetime.fromisoformat(row.effective_time),
        create_time=datetime.fromisoformat(row.create_time),
        price_count=row.price_count,
        request_id=row.request_id,
        request_sha256=row.request_sha256,
    )


def _at(connection: Connection, time: datetime) -> Scheduled:
    # All times are in UTC and of one form, so they sort like texts.
    begun = PRICE_SCHEDULE.c.effective_time <= time.isoformat()
    order = (PRICE_SCHEDULE.c.effective_time.desc(), PRICE_SCHEDULE.c.number.desc())
    row = connection.execute(select(PRICE_SCHEDULE).where(begun).order_by(*order).limit(1)).one()
    return scheduled_of(row)
