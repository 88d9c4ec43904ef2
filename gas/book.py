"""The ledger in memory: decides one request after another, and notes what is to be written.

A batch of requests is decided against the book before any of it is on disk; nobody is answered
before it is. If writing fails, the book is thrown away and read again.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from chassis.canonical import Json
from chassis.errors import InvalidField, RequestIdReused

from . import entries, ledger, notices
from .accounts import Accounts
from .chain import DEFAULT_TENANT, Call, Caller
from .entries import Entry, Fee, Kind, Tip
from .errors import HoldNotFound, RunClosed
from .ledger import Hold, HoldState, Reservation
from .notices import Notice
from .price_schedule import PriceBook
from .prices import Usage
from .sums import Sums, TokenCount

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
    callers: tuple[Caller, ...] = ()


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
    calls: dict[tuple[str, str], None] = field(default_factory=dict)
    tenants: dict[str, None] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)


class Book:
    """Everything that decisions need. What a batch names must be in it before it is decided.

    Open holds stay; they are in the order in which they expire. Others are there for their batch.
    """

    def __init__(
        self, tip: Tip, notice_count: int, prices: PriceBook, sums: Sums, dice: random.Random
    ) -> None:
        self.tip = tip
        self.notice_count = notice_count
        self.prices = prices
        self.sums = sums
        # Agents that are in a tenant of their own.
        self.tenants: dict[str, str] = {}
        self.accounts = Accounts()
        self.runs: dict[str, Run] = {}
        self.open: dict[str, Hold] = {}
        self._is_in_order = True
        self.holds: dict[str, Hold] = {}
        self.names: dict[str, str] = {}
        self.refunds: dict[str, Refund] = {}
        self.calls: dict[tuple[str, str], Call] = {}
        self.changes = Changes()
        self._dice = dice

    @property
    def last_offset(self) -> int:
        """Return the offset of the last event, or 0."""
        return self.tip.sequence + self.notice_count

    def begin(self, now: datetime) -> None:
        """Forget what only the last batch needed."""
        self.changes = Changes()
        self.prices.begin()
        self.sums.begin(now)
        for batch in (self.holds, self.names, self.refunds, self.calls):
            batch.clear()
        while len(self.runs) > RUNS_MAX:
            del self.runs[next(iter(self.runs))]

    def expired(self, now: datetime) -> list[Hold]:
        """Return the open holds that nobody settled in time."""
        self._order()
        found = []
        for hold in self.open.values():
            if hold.expire_time > now:
                break
            found.append(hold)
        return found

    @property
    def next_expire_time(self) -> datetime | None:
        """Return when the first of the open holds expires."""
        self._order()
        first = next(iter(self.open.values()), None)
        return first.expire_time if first else None

    def reserve(self, reservation: Reservation, now: datetime) -> Hold:
        """Hold the price of a worst case; a request id that was used gives the hold it made."""
        known = self.names.get(reservation.request_id)
        if known is not None:
            return ledger.repeat(self._hold(known), reservation)
        call_count = self.sums.call_count(reservation.account, reservation.item)
        tariff = self.prices.table.tariff(reservation.item, call_count=call_count)
        runs = self._chain(reservation)
        gas = tariff.price(reservation.usages)
        hold = Hold(
            hold_name(now, self._dice),
            reservation,
            tariff,
            gas,
            now,
            now + ledger.HOLD_LIFE,
            tenants=tuple(self.tenants.get(run.account, DEFAULT_TENANT) for run in runs),
        )
        spends = self.accounts.spends(hold, gas)
        self.accounts.require_fit(spends, now)
        for run in runs:
            self._keep(run)
        self._add_open(hold)
        self.names[reservation.request_id] = hold.name
        self.changes.new_holds[hold.name] = None
        self.accounts.spend(spends)
        for warning in self.accounts.warn(hold, now):
            self.notify(notices.BUDGET_WARNING, warning.account, warning.content, now)
        return hold

    def settle(
        self,
        name: str,
        usages: Sequence[Usage],
        now: datetime,
        *,
        keep_open: bool,
        token_counts: Sequence[TokenCount] = (),
    ) -> Hold:
        """Charge a hold; the counts are those of the settlement that ends it."""
        before = self._hold(name)
        after = ledger.settle(before, usages, now=now, keep_open=keep_open)
        if after is not before and after.is_final:
            self.sums.compare(after.reservation.item, token_counts)
        return self._charge(before, after, now)

    def release(self, name: str, now: datetime) -> Hold:
        """Give a hold back."""
        before = self._hold(name)
        return self._charge(before, ledger.release(before), now)

    def expire(self, hold: Hold, now: datetime) -> None:
        """Charge a hold that nobody settled in full."""
        self._charge(hold, ledger.expire(hold), now)

    def close(self, name: str, account: str, now: datetime) -> None:
        """Release what a run and those that it called hold, and refuse more of it."""
        run = self._run(name, account)
        for hold in [*self.open.values(), *self.holds.values()]:
            if hold.is_of(name) and not hold.is_final:
                self._charge(hold, ledger.release(hold), now)
        if not run.closed:
            run.closed = True
            self._keep(run)
            self.accounts.close_run(account, name)
            self.notify(notices.RUN_CLOSED, account, {"run": name}, now)

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

    def enter_fee(self, account: str, payee: str, item: str, fee: Fee, now: datetime) -> None:
        """Add what the user of an agent pays in money."""
        entry = entries.fee_entry(self.tip, account, payee=payee, item=item, fee=fee, now=now)
        self.tip = entry.tip
        self.changes.entries.append(entry)

    def assign(self, account: str, tenant: str) -> None:
        """Put an agent into a tenant; what it holds stays with the one before."""
        self.tenants[account] = tenant
        self.changes.tenants[account] = None

    def notify(self, kind: str, account: str, content: Json, now: datetime) -> None:
        """Add an event that is no entry; it is on disk with what caused it."""
        self.notice_count += 1
        self.changes.notices.append(
            Notice(self.notice_count, self.tip.sequence, kind, account, content, now)
        )

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

    def _chain(self, asked: Reservation) -> list[Run]:
        """Return the runs that pay, outermost first; none may be closed, and each has its callers.

        Which runs called another one is said once, by the first that reserves for it.
        """
        runs = []
        for i, payer in enumerate(asked.payers):
            is_caller = i < len(asked.callers)
            prefix = f"callers[{i}]." if is_caller else ""
            run = self.runs.get(payer.run) or Run(
                payer.run, payer.account, callers=asked.callers[:i]
            )
            if run.account != payer.account:
                problem = f"does not pay for {run.name}; {run.account} does"
                raise InvalidField(f"{prefix}account", problem)
            if run.callers != asked.callers[:i]:
                raise InvalidField("callers", f"are not those with which {run.name} began")
            if run.closed:
                raise RunClosed(run.name)
            runs.append(run)
        return runs

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
            for key in _links(after):
                self._bill(key, gas)
            self._enter(after, gas, usages=used, now=now, is_first=is_first)
        return after

    def _bill(self, link: tuple[Caller, Caller], gas: int) -> None:
        """Add what a run was charged to its line in the receipt of the one that called it."""
        caller, called = link
        key = (caller.run, called.run)
        call = self.calls.get(key)
        if call is None:
            run = self.runs[caller.run]
            run.line_count += 1
            self._keep(run)
            call = Call(caller.run, called.run, called.account, run.line_count)
        self.calls[key] = replace(call, gas=call.gas + gas)
        self.changes.calls[key] = None

    def _replace(self, before: Hold, after: Hold) -> None:
        # One that expired can be open again, and is then no longer what was read of it.
        for place in (self.open, self.holds):
            place.pop(before.name, None)
        if after.state is HoldState.OPEN:
            self._add_open(after)
        else:
            self.holds[after.name] = after
        self.changes.holds[after.name] = None
        gas = after.gas_spent - before.gas_spent
        self.accounts.spend(self.accounts.spends(after, gas))

    def _order(self) -> None:
        if not self._is_in_order:
            in_order = sorted(self.open.items(), key=lambda named: named[1].expire_time)
            self.open, self._is_in_order = dict(in_order), True

    def _add_open(self, hold: Hold) -> None:
        """Add an open hold at the end, where the last to expire belongs."""
        last = next(reversed(self.open.values()), hold)
        # Only if the clock was set back: what it held before would keep all others from expiring.
        self._is_in_order = self._is_in_order and last.expire_time <= hold.expire_time
        self.open[hold.name] = hold

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
        legs = [
            entries.leg_of(self.calls[caller.run, called.run], caller.account)
            for caller, called in _links(hold)
        ]
        legs.append(entries.last_leg(hold, usages))
        way = list(zip(legs, hold.tenants, strict=True))
        # What is returned goes the way back.
        for leg, tenant in way if gas >= 0 else reversed(way):
            entry = entries.new_entry(self.tip, hold, leg, gas, kind=kind, cause=cause, now=now)
            self.tip = entry.tip
            self.changes.entries.append(entry)
            self.sums.count(entry, gas, leg.usages, tenant=tenant, is_first=is_first)


def _links(hold: Hold) -> Iterator[tuple[Caller, Caller]]:
    """Yield who called whom, outermost first."""
    return pairwise(hold.payers) if hold.reservation.callers else iter(())


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
