"""The ledger in SQLite: every method is one transaction, and none of them overspends."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Engine, MetaData, func
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, col, select, tuple_

from chassis.clock import Clock
from chassis.database import transaction
from chassis.errors import InvalidField

from . import ledger
from .errors import AccountNotFound, HoldNotFound, RunClosed
from .ledger import (
    Budget,
    Charge,
    Consumption,
    Hold,
    HoldState,
    Origin,
    Period,
    Receipt,
    Reservation,
)
from .prices import Meter, PriceTable, Tariff, Usage


class LedgerStore:
    """Holds, charges and budgets.

    What an account has charged and held is counted per hour in which the holds were made, so that
    a check costs the same after a million holds. The count changes in the transaction of the hold.
    """

    def __init__(
        self, engine: Engine, prices: PriceTable, *, clock: Clock, dice: random.Random
    ) -> None:
        self._engine = engine
        self._prices = prices
        self._clock = clock
        self._dice = dice

    def reserve(self, reservation: Reservation) -> Hold:
        """Hold the price of a worst case; a request id that was used gives the hold it made."""
        with transaction(self._engine) as session:
            known = session.exec(
                select(_HoldRow).where(_HoldRow.request_id == reservation.request_id)
            ).first()
            if known is not None:
                return ledger.repeat(_hold(known), reservation)
            tariff = self._prices.tariff(reservation.item)
            if _run(session, reservation.run, reservation.account).closed:
                raise RunClosed(reservation.run)
            now = self._clock.now()
            gas = tariff.price(reservation.usages)
            budgets = _budgets(session, reservation.account, now)
            ledger.require_fit(reservation.account, gas, budgets)
            name = f"holds/{uuid.UUID(int=self._dice.getrandbits(128), version=4)}"
            hold = Hold(name, reservation, tariff, gas, create_time=now)
            session.add(_new_row(hold))
            _spend(session, hold, gas)
            return hold

    def settle(self, name: str, usages: Sequence[Usage]) -> Hold:
        """Charge a hold, once; what it leaves over is free again."""
        return self._change(name, lambda hold: ledger.settle(hold, usages))

    def release(self, name: str) -> Hold:
        """Give a hold back."""
        return self._change(name, ledger.release)

    def close_run(self, run: str, account: str) -> Receipt:
        """Give the open holds of a run back, and refuse new ones from now on."""
        with transaction(self._engine) as session:
            _run(session, run, account).closed = True
            open_holds = session.exec(
                select(_HoldRow).where(_HoldRow.run == run, _HoldRow.state == HoldState.OPEN.value)
            )
            for row in open_holds.all():
                _update(session, row, ledger.release)
            return _receipt(session, run)

    def receipt(self, run: str) -> Receipt:
        """Return the bill of a run as it stands; that of an unknown run is empty."""
        with transaction(self._engine) as session:
            return _receipt(session, run)

    def set_budget(self, budget: Budget) -> Budget:
        """Replace the budget of an account and origin; return it with what is spent of it."""
        with transaction(self._engine) as session:
            session.merge(
                _BudgetRow(
                    account=budget.account,
                    origin=budget.origin.value,
                    period=budget.period.value,
                    gas_limit=budget.gas_limit,
                )
            )
            budgets = _budgets(session, budget.account, self._clock.now())
            return next(found for found in budgets if found.origin is budget.origin)

    def budgets(self, account: str) -> list[Budget]:
        """Return the budgets of an account by origin, or raise `AccountNotFound`."""
        with transaction(self._engine) as session:
            budgets = _budgets(session, account, self._clock.now())
        if not budgets:
            raise AccountNotFound(account)
        return budgets

    def consumptions(
        self, *, account: str, after: tuple[str, str] | None, limit: int
    ) -> list[Consumption]:
        """Return rows after a key (account, item), in its order; an empty account means all."""
        query = select(_ConsumptionRow).limit(limit)
        query = query.order_by(col(_ConsumptionRow.account), col(_ConsumptionRow.item))
        if account:
            query = query.where(_ConsumptionRow.account == account)
        if after is not None:
            key = tuple_(col(_ConsumptionRow.account), col(_ConsumptionRow.item))
            query = query.where(key > after)
        with transaction(self._engine) as session:
            return [_consumption(row) for row in session.exec(query)]

    def _change(self, name: str, decide: Callable[[Hold], Hold]) -> Hold:
        with transaction(self._engine) as session:
            row = session.get(_HoldRow, name)
            if row is None:
                raise HoldNotFound(name)
            return _update(session, row, decide)


class _Row(SQLModel, registry=registry()):
    """The tables of this service; a registry of its own keeps them apart from other services'."""


TABLES: MetaData = _Row.metadata


class _BudgetRow(_Row, table=True):
    __tablename__ = "budget"

    account: str = Field(primary_key=True)
    origin: str = Field(primary_key=True)
    period: str
    gas_limit: int


class _SpendingRow(_Row, table=True):
    """Gas that holds of one hour have charged or hold."""

    __tablename__ = "spending"

    account: str = Field(primary_key=True)
    hour: str = Field(primary_key=True)
    gas: int


class _RunRow(_Row, table=True):
    __tablename__ = "run"

    name: str = Field(primary_key=True)
    account: str
    closed: bool


class _HoldRow(_Row, table=True):
    """A hold; `line` is its place in the receipt, and 0 until it is charged."""

    __tablename__ = "hold"

    name: str = Field(primary_key=True)
    request_id: str = Field(unique=True)
    account: str
    run: str = Field(index=True)
    item: str
    usages: str
    price_version: str
    gas_per_thousand: str
    gas: int
    create_time: str
    state: str
    line: int
    charged_usages: str
    charged_gas: int


class _ConsumptionRow(_Row, table=True):
    __tablename__ = "consumption"

    account: str = Field(primary_key=True)
    item: str = Field(primary_key=True)
    usages: str
    gas: int
    charge_count: int


def _run(session: Session, name: str, account: str) -> _RunRow:
    """Return the run, which belongs to the account that named it first."""
    run = session.get(_RunRow, name)
    if run is None:
        run = _RunRow(name=name, account=account, closed=False)
        session.add(run)
    if run.account != account:
        raise InvalidField("account", f"does not pay for {name}; {run.account} does")
    return run


def _budgets(session: Session, account: str, now: datetime) -> list[Budget]:
    rows = session.exec(
        select(_BudgetRow).where(_BudgetRow.account == account).order_by(col(_BudgetRow.origin))
    )
    return [
        Budget(
            account=account,
            origin=Origin(row.origin),
            period=Period(row.period),
            gas_limit=row.gas_limit,
            gas_spent=_spent_since(session, account, ledger.period_start(Period(row.period), now)),
        )
        for row in rows.all()
    ]


def _spent_since(session: Session, account: str, start: datetime) -> int:
    # Hours after `now` count too: a clock that was set back must not open the budget again.
    query = select(func.coalesce(func.sum(_SpendingRow.gas), 0)).where(
        _SpendingRow.account == account, col(_SpendingRow.hour) >= start.isoformat()
    )
    return session.exec(query).one()


def _spend(session: Session, hold: Hold, gas: int) -> None:
    """Add gas, or take it away, in the hour in which the hold was made."""
    account = hold.reservation.account
    hour = ledger.period_start(Period.HOUR, hold.create_time).isoformat()
    row = session.get(_SpendingRow, (account, hour))
    if row is None:
        row = _SpendingRow(account=account, hour=hour, gas=0)
        session.add(row)
    row.gas += gas
    assert row.gas >= 0, "what is given back was held before"


def _update(session: Session, row: _HoldRow, decide: Callable[[Hold], Hold]) -> Hold:
    """Bring the row, the spending and the consumption to what was decided."""
    before = _hold(row)
    after = decide(before)
    if after == before:
        return after
    row.state = after.state.value
    _spend(session, after, after.gas_spent - before.gas_spent)
    if after.state is HoldState.SETTLED:
        row.charged_gas = after.charged_gas
        row.charged_usages = _usages_to_json(after.charged_usages)
        last_line = select(func.max(_HoldRow.line)).where(_HoldRow.run == row.run)
        row.line = (session.exec(last_line).one() or 0) + 1
        _consume(session, after)
    return after


def _consume(session: Session, hold: Hold) -> None:
    key = (hold.reservation.account, hold.reservation.item)
    row = session.get(_ConsumptionRow, key)
    before = _consumption(row) if row else Consumption(*key)
    after = ledger.consume(before, hold)
    session.merge(
        _ConsumptionRow(
            account=after.account,
            item=after.item,
            usages=_usages_to_json(after.usages),
            gas=after.gas,
            charge_count=after.charge_count,
        )
    )


def _receipt(session: Session, run: str) -> Receipt:
    found = session.get(_RunRow, run)
    charged = session.exec(
        select(_HoldRow)
        .where(_HoldRow.run == run, _HoldRow.state == HoldState.SETTLED.value)
        .order_by(col(_HoldRow.line))
    )
    charges = (
        Charge(row.item, _usages_from_json(row.charged_usages), row.charged_gas, row.price_version)
        for row in charged.all()
    )
    return Receipt(run, found.account if found else "", tuple(charges))


def _new_row(hold: Hold) -> _HoldRow:
    tariff = {meter.value: gas for meter, gas in hold.tariff.gas_per_thousand.items()}
    return _HoldRow(
        name=hold.name,
        request_id=hold.reservation.request_id,
        account=hold.reservation.account,
        run=hold.reservation.run,
        item=hold.reservation.item,
        usages=_usages_to_json(hold.reservation.usages),
        price_version=hold.tariff.version,
        gas_per_thousand=json.dumps(tariff),
        gas=hold.gas,
        create_time=hold.create_time.isoformat(),
        state=hold.state.value,
        line=0,
        charged_usages="[]",
        charged_gas=0,
    )


def _hold(row: _HoldRow) -> Hold:
    tariff = {Meter(meter): gas for meter, gas in json.loads(row.gas_per_thousand).items()}
    usages = _usages_from_json(row.usages)
    return Hold(
        name=row.name,
        reservation=Reservation(row.request_id, row.account, row.run, row.item, usages),
        tariff=Tariff(row.price_version, tariff),
        gas=row.gas,
        create_time=datetime.fromisoformat(row.create_time),
        state=HoldState(row.state),
        charged_usages=_usages_from_json(row.charged_usages),
        charged_gas=row.charged_gas,
    )


def _consumption(row: _ConsumptionRow) -> Consumption:
    usages = _usages_from_json(row.usages)
    return Consumption(row.account, row.item, usages, row.gas, row.charge_count)


def _usages_to_json(usages: Sequence[Usage]) -> str:
    return json.dumps([(usage.meter.value, usage.amount) for usage in usages])


def _usages_from_json(text: str) -> tuple[Usage, ...]:
    return tuple(Usage(Meter(meter), amount) for meter, amount in json.loads(text))
