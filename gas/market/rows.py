"""Fees, holdings and bills in the database, in a transaction that somebody else opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ..bulk import bulk_of
from ..chain import Caller
from ..errors import DaoNotFound, RunNotFound
from ..prices import Rate, rate_from_content
from ..tables import CALL, HOLD, PRICE_TABLE, RUN, callers_from_json
from .fees import MICROS_MAX, Bill, Dao, FeeSchedule, Payout
from .tables import (
    BILL,
    DAO,
    FEES,
    PAYOUT,
    bill_of,
    bill_values,
    dao_of,
    dao_values,
    fees_of,
    fees_values,
)


@dataclass(frozen=True)
class Tab:
    """What a run has spent with all that it called, less what was given back."""

    account: str
    callers: tuple[Caller, ...]
    closed: bool
    # By version of the price table at which it was charged, the last one last.
    gas_by_version: Mapping[str, int]


class FeeRows:
    """What a run costs besides its gas, and what was billed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._bulk = bulk_of(connection.engine)

    def schedule(self, account: str) -> FeeSchedule | None:
        """Return what was set for exactly this account; an empty one is the default."""
        found = self._connection.execute(select(FEES).where(FEES.c.account == account)).first()
        return fees_of(found) if found else None

    def schedule_for(self, account: str) -> FeeSchedule:
        """Return what applies to an account."""
        return self.schedule(account) or self.schedule("") or FeeSchedule()

    def set_schedule(self, schedule: FeeSchedule) -> None:
        """Add or replace."""
        self._bulk.upsert(self._connection, FEES, [fees_values(schedule)])

    def find_dao(self, name: str) -> Dao | None:
        """Return a DAO, if somebody set it."""
        found = self._connection.execute(select(DAO).where(DAO.c.name == name)).first()
        return dao_of(found) if found else None

    def dao(self, name: str) -> Dao:
        """Return a DAO, or raise `DaoNotFound`."""
        found = self.find_dao(name)
        if found is None:
            raise DaoNotFound(name)
        return found

    def dao_of(self, schedule: FeeSchedule) -> Dao | None:
        """Return who gets the creator's fee, if somebody does."""
        return self.dao(schedule.dao) if schedule.dao else None

    def set_dao(self, dao: Dao) -> None:
        """Add or replace."""
        self._bulk.upsert(self._connection, DAO, [dao_values(dao)])

    def payouts(self, dao: str) -> list[Payout]:
        """Return what was paid out over all bills, by holder."""
        query = select(PAYOUT).where(PAYOUT.c.dao == dao).order_by(PAYOUT.c.holder)
        return [Payout(row.holder, row.micros) for row in self._connection.execute(query)]

    def pay_out(self, dao: str, payouts: Iterable[Payout]) -> None:
        """Add to what was paid out; sums stop at `MICROS_MAX`."""
        before = {payout.holder: payout.micros for payout in self.payouts(dao)}
        sums = [
            (dao, payout.holder, min(before.get(payout.holder, 0) + payout.micros, MICROS_MAX))
            for payout in payouts
        ]
        self._bulk.upsert(self._connection, PAYOUT, sums)

    def bill(self, run: str) -> Bill | None:
        """Return the bill of a run, if it has one."""
        found = self._connection.execute(select(BILL).where(BILL.c.run == run)).first()
        return bill_of(found) if found else None

    def add_bill(self, bill: Bill) -> None:
        """Keep a bill of a run that has none."""
        self._bulk.insert(self._connection, BILL, [bill_values(bill)])

    def tab(self, run: str) -> Tab:
        """Return what is to be billed, or raise `RunNotFound`; it has what is on disk."""
        found = self._connection.execute(select(RUN).where(RUN.c.name == run)).first()
        if found is None:
            raise RunNotFound(run)
        called = select(CALL.c.run).where(CALL.c.caller_run == run).cte("called", recursive=True)
        called = called.union(select(CALL.c.run).join(called, CALL.c.caller_run == called.c.run))
        version = HOLD.c.price_version
        spent = (
            select(version, func.sum(HOLD.c.charged_gas - HOLD.c.refunded_gas))
            .where((HOLD.c.run == run) | HOLD.c.run.in_(select(called.c.run)))
            .group_by(version)
            # Names of holds have their time in front.
            .order_by(func.max(HOLD.c.name))
        )
        # PostgreSQL sums into decimals.
        gas = {version: int(gas) for version, gas in self._connection.execute(spent) if gas}
        return Tab(found.account, callers_from_json(found.callers), found.closed, gas)

    def rate(self, version: str) -> Rate | None:
        """Return what gas was in money in a price table, if that was kept."""
        query = select(PRICE_TABLE.c.content).where(PRICE_TABLE.c.version == version)
        content = self._connection.execute(query).scalar()
        return None if content is None else rate_from_content(content)
