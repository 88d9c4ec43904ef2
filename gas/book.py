"""The ledger in memory: decides one request after another, and notes what is to be written.

A batch of requests is decided against the book before any of it is on disk; nobody is answered
before it is. If writing fails, the book is thrown away and read again.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chassis.errors import InvalidField, RequestIdReused

from . import entries, ledger
from .account import Account
from .entries import Entry, Kind, Tip
from .errors import HoldNotFound, RunClosed
from .ledger import Budget, Consumption, Hold, HoldState, Period, Reservation
from .prices import PriceTable, Usage

# Runs that are remembered; of others the database is asked.
RUNS_MAX = 10_000
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Run:
    """Who pays for a run, and how many lines its receipt has."""

    name: str
    account: str
    closed: bool = False
    line_count: int = 0


@dataclass(frozen=True)
class Refund:
    """Gas that an operator gives back, once per request id."""

    request_id: str
    hold: str
    gas: int
    cause: str


@dataclass
class Changes:
    """What a batch has changed, by the keys of its rows; what they hold is in the book."""

    new_holds: dict[str, None] = field(default_factory=dict)
    holds: dict[str, None] = field(default_factory=dict)
    runs: dict[str, None] = field(default_factory=dict)
    limits: dict[str, None] = field(default_factory=dict)
    hours: dict[tuple[str, str], None] = field(default_factory=dict)
    consumptions: dict[tuple[str, str], None] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)


class Book:
    """Everything that decisions need. What a batch names must be in it before it is decided.

    Open holds stay; they are in the order in which they expire. Others are there for their batch.
    """

    def __init__(self, tip: Tip, *, prices: PriceTable, dice: random.Random) -> None:
        self.tip = tip
        self.accounts: dict[str, Account] = {}
        self.runs: dict[str, Run] = {}
        self.open: dict[str, Hold] = {}
        self.holds: dict[str, Hold] = {}
        self.names: dict[str, str] = {}
        self.refunds: dict[str, Refund] = {}
        self.consumptions: dict[tuple[str, str], Consumption] = {}
        self.changes = Changes()
        self._prices = prices
        self._dice = dice

    def begin(self) -> None:
        """Forget what only the last batch needed."""
        self.changes = Changes()
        for batch in (self.holds, self.names, self.refunds):
            batch.clear()
        while len(self.runs) > RUNS_MAX:
            del self.runs[next(iter(self.runs))]

    def expired(self, now: datetime) -> list[Hold]:
        """Return the open holds that nobody settled in time."""
        found = []
        for hold in self.open.values():
            if hold.expire_time > now:
                break
            found.append(hold)
        return found

    def reserve(self, reservation: Reservation, now: datetime) -> Hold:
        """Hold the price of a worst case; a request id that was used gives the hold it made."""
        known = self.names.get(reservation.request_id)
        if known is not None:
            return ledger.repeat(self._hold(known), reservation)
        tariff = self._prices.tariff(reservation.item)
        run = self._run(reservation.run, reservation.account)
        if run.closed:
            raise RunClosed(run.name)
        gas = tariff.price(reservation.usages)
        account = self.accounts[reservation.account]
        ledger.require_fit(account.name, gas, account.budgets(now))
        name = hold_name(now, self._dice)
        hold = Hold(name, reservation, tariff, gas, now, now + ledger.HOLD_LIFE)
        self._keep(run)
        self.open[name] = hold
        self.names[reservation.request_id] = name
        self.changes.new_holds[name] = None
        self._spend(hold, gas)
        return hold

    def settle(self, name: str, usages: Sequence[Usage], now: datetime, *, keep_open: bool) -> Hold:
        """Charge a hold."""
        before = self._hold(name)
        return self._charge(
            before, ledger.settle(before, usages, now=now, keep_open=keep_open), now
        )

    def release(self, name: str, now: datetime) -> Hold:
        """Give a hold back."""
        before = self._hold(name)
        return self._charge(before, ledger.release(before), now)

    def expire(self, hold: Hold, now: datetime) -> None:
        """Charge a hold that nobody settled in full."""
        self._charge(hold, ledger.expire(hold), now)

    def close(self, name: str, account: str, now: datetime) -> None:
        """Release what a run holds, and refuse more of it."""
        run = self._run(name, account)
        if not run.closed:
            run.closed = True
            self._keep(run)
        for hold in [*self.open.values(), *self.holds.values()]:
            if hold.reservation.run == name and not hold.is_final:
                self._charge(hold, ledger.release(hold), now)

    def refund(self, asked: Refund, now: datetime) -> Hold:
        """Return gas of a charge, once per request id."""
        known = self.refunds.get(asked.request_id)
        if known is not None:
            if known != asked:
                raise RequestIdReused(asked.request_id)
            return self._hold(asked.hold)
        before = self._hold(asked.hold)
        after = ledger.refund(before, asked.gas)
        self.refunds[asked.request_id] = asked
        self.changes.refunds.append(asked)
        self._replace(before, after)
        self._enter(after, -asked.gas, kind=Kind.REFUND, cause=asked.cause, now=now)
        return after

    def set_budget(self, budget: Budget, now: datetime) -> Budget:
        """Replace the budget of an account and origin; return it with what is spent of it."""
        account = self.accounts[budget.account]
        account.limits[budget.origin] = (budget.period, budget.gas_limit)
        self.changes.limits[account.name] = None
        return next(found for found in account.budgets(now) if found.origin is budget.origin)

    def _hold(self, name: str) -> Hold:
        hold = self.open.get(name) or self.holds.get(name)
        if hold is None:
            raise HoldNotFound(name)
        return hold

    def _run(self, name: str, account: str) -> Run:
        """Return the run, which belongs to the account that named it first."""
        run = self.runs.get(name) or Run(name, account)
        if run.account != account:
            raise InvalidField("account", f"does not pay for {name}; {run.account} does")
        return run

    def _keep(self, run: Run) -> None:
        self.runs[run.name] = run
        self.changes.runs[run.name] = None

    def _charge(self, before: Hold, after: Hold, now: datetime) -> Hold:
        """Bring hold and ledger to what was decided; return the hold."""
        if after is before:
            return after
        gas = after.charged_gas - before.charged_gas
        used = _difference(before.charged_usages, after.charged_usages)
        is_first = not before.line and (
            gas > 0 or bool(used) or after.state in {HoldState.SETTLED, HoldState.EXPIRED}
        )
        if is_first:
            run = self.runs[after.reservation.run]
            run.line_count += 1
            self._keep(run)
            # As for entries: nobody has seen it yet.
            object.__setattr__(after, "line", run.line_count)
        self._replace(before, after)
        if is_first or gas or used:
            self._enter(after, gas, usages=used, now=now, is_first=is_first)
        return after

    def _replace(self, before: Hold, after: Hold) -> None:
        self.open.pop(before.name, None)
        # At the end of the open holds, where the last to expire belongs.
        (self.open if after.state is HoldState.OPEN else self.holds)[after.name] = after
        self.changes.holds[after.name] = None
        self._spend(after, after.gas_spent - before.gas_spent)

    def _spend(self, hold: Hold, gas: int) -> None:
        account = self.accounts[hold.reservation.account]
        hour = ledger.period_start_text(Period.HOUR, hold.create_time)
        account.spend(hour, gas)
        self.changes.hours[account.name, hour] = None

    def _enter(
        self,
        hold: Hold,
        gas: int,
        *,
        now: datetime,
        usages: tuple[Usage, ...] = (),
        kind: Kind | None = None,
        cause: str = "",
        is_first: bool = False,
    ) -> None:
        entry = entries.new_entry(
            self.tip, hold, gas, usages=usages, kind=kind, cause=cause, now=now
        )
        self.tip = entry.tip
        self.changes.entries.append(entry)
        key = (entry.account, entry.item)
        before = self.consumptions.get(key) or Consumption(*key)
        self.consumptions[key] = ledger.consume(before, usages, gas, is_first=is_first)
        self.changes.consumptions[key] = None


def hold_name(now: datetime, dice: random.Random) -> str:
    """Return a new name: a UUID of version 7, so that new rows are neighbours in every index."""
    milliseconds = (now - _UNIX_EPOCH) // timedelta(milliseconds=1)
    number = milliseconds << 80 | 0x7 << 76 | dice.getrandbits(12) << 64
    return f"holds/{uuid.UUID(int=number | 0b10 << 62 | dice.getrandbits(62))}"


def _difference(before: Sequence[Usage], after: tuple[Usage, ...]) -> tuple[Usage, ...]:
    """Return what was reported since."""
    if not before:
        return after
    known: Mapping[object, int] = {usage.meter: usage.amount for usage in before}
    grown = (Usage(usage.meter, usage.amount - known.get(usage.meter, 0)) for usage in after)
    return tuple(usage for usage in grown if usage.amount)
