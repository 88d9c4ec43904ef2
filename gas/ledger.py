"""What may be spent, and what a run is billed: decisions without a database.

The digest of a receipt is the SHA-256 of its canonical JSON (RFC 8785), in which every key is
always present; `meter` is the name in the contract, such as `METER_INPUT_TOKENS`, and `usages`
keep the order in which they were reported:

    {"run": "runs/…", "account": "agents/…",
     "charges": [{"line": 1, "item": "model local/babbler",
                  "usages": [{"meter": "METER_INPUT_TOKENS", "amount": 12}],
                  "gas": 2, "price_version": "…"}],
     "total_gas": 2}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from chassis.canonical import Json, canonical_json
from chassis.errors import InvalidField, RequestIdReused

from .chain import DEFAULT_TENANT, Caller
from .errors import HoldOpen, HoldReleased, HoldSettled
from .prices import Tariff, Usage

# What the contract and SQLite can hold: amounts come from outside, and their sum must not fail.
AMOUNT_SUM_MAX = 2**63 - 1
# How long a hold waits for its settlement, or for the next one that keeps it open.
HOLD_LIFE = timedelta(hours=1)


@dataclass(frozen=True)
class Reservation:
    """What somebody asks to hold: the worst case of one call."""

    request_id: str
    account: str
    run: str
    item: str
    usages: tuple[Usage, ...]
    # Who called the agent, outermost first.
    callers: tuple[Caller, ...] = ()


class HoldState(Enum):
    """Where a hold is in its life; settled and released are final."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Hold:
    """Gas that is set aside for one call, at the tariff of the moment in which it was made.

    `charged_usages` is what was reported so far. `line` is its place in the receipt of its run,
    and 0 until it is charged.
    """

    name: str
    reservation: Reservation
    tariff: Tariff
    gas: int
    create_time: datetime
    expire_time: datetime
    state: HoldState = HoldState.OPEN
    line: int = 0
    charged_usages: tuple[Usage, ...] = ()
    charged_gas: int = 0
    refunded_gas: int = 0
    # Where each of the payers was when it was made.
    tenants: tuple[str, ...] = (DEFAULT_TENANT,)

    @property
    def payers(self) -> tuple[Caller, ...]:
        """Return the runs that spend it: those of the callers, and then that of the agent."""
        asked = self.reservation
        return (*asked.callers, Caller(asked.account, asked.run))

    def is_of(self, run: str) -> bool:
        """Tell whether a run, or one that it called, spends it."""
        asked = self.reservation
        return asked.run == run or any(caller.run == run for caller in asked.callers)

    @property
    def is_final(self) -> bool:
        """Tell whether nobody can charge it or give it back any more."""
        return self.state in {HoldState.SETTLED, HoldState.RELEASED}

    @property
    def gas_spent(self) -> int:
        """Return what it takes from the budgets: all of it until its charge is final."""
        return self.charged_gas - self.refunded_gas if self.is_final else self.gas


def repeat(hold: Hold, reservation: Reservation) -> Hold:
    """Answer a request id that was used before."""
    if hold.reservation != reservation:
        raise RequestIdReused(reservation.request_id)
    return hold


def settle(hold: Hold, usages: Sequence[Usage], *, now: datetime, keep_open: bool = False) -> Hold:
    """Charge what was used since the hold was made, at most what is held; the first one is final.

    One that keeps the hold open charges what was used so far, and gives it another life.
    """
    if hold.state is HoldState.SETTLED:
        return hold
    if hold.state is HoldState.RELEASED:
        raise HoldReleased(hold.name)
    used = _join(hold.charged_usages, usages)
    return replace(
        hold,
        state=HoldState.OPEN if keep_open else HoldState.SETTLED,
        expire_time=now + HOLD_LIFE if keep_open else hold.expire_time,
        charged_usages=used,
        charged_gas=_charge(hold, used),
    )


def release(hold: Hold) -> Hold:
    """Give back what nobody reported as used, once or again."""
    if hold.state is HoldState.SETTLED:
        raise HoldSettled(hold.name, hold.charged_gas)
    if hold.state is HoldState.RELEASED:
        return hold
    return replace(hold, state=HoldState.RELEASED, charged_gas=_charge(hold, hold.charged_usages))


def expire(hold: Hold) -> Hold:
    """Charge an open hold in full: nobody says what was used, so all of it may have been."""
    assert hold.state is HoldState.OPEN, "only what is open expires"
    return replace(hold, state=HoldState.EXPIRED, charged_gas=hold.gas)


def refund(hold: Hold, gas: int) -> Hold:
    """Return some gas of a final charge."""
    if not hold.is_final:
        raise HoldOpen(hold.name)
    left = hold.charged_gas - hold.refunded_gas
    if gas > left:
        raise InvalidField("gas", f"is {gas}; {left} of the charge is left to refund")
    return replace(hold, refunded_gas=hold.refunded_gas + gas)


def _charge(hold: Hold, used: Sequence[Usage]) -> int:
    return min(hold.tariff.price(used), hold.gas)


def _join(before: Sequence[Usage], reported: Sequence[Usage]) -> tuple[Usage, ...]:
    """Return totals per meter; a total never falls, so a late message cannot take a charge back."""
    if not before:
        return tuple(reported)
    amounts = {usage.meter: usage.amount for usage in before}
    for usage in reported:
        amounts[usage.meter] = max(usage.amount, amounts.get(usage.meter, 0))
    return tuple(Usage(meter, amount) for meter, amount in amounts.items())


@dataclass(frozen=True)
class Charge:
    """One line of a receipt."""

    item: str
    usages: tuple[Usage, ...]
    gas: int
    price_version: str


@dataclass(frozen=True)
class Receipt:
    """The bill of a run; its charges are numbered from 1.

    A run that never asked for gas has no account.
    """

    run: str
    account: str
    charges: tuple[Charge, ...]

    @property
    def total_gas(self) -> int:
        """Return the sum of the lines."""
        return sum(charge.gas for charge in self.charges)

    @property
    def canonical(self) -> bytes:
        """Return what the digest covers; see the docstring of this module."""
        charges: list[Json] = [
            {
                "line": line,
                "item": charge.item,
                "usages": [
                    {"meter": usage.meter.value, "amount": usage.amount} for usage in charge.usages
                ],
                "gas": charge.gas,
                "price_version": charge.price_version,
            }
            for line, charge in enumerate(self.charges, start=1)
        ]
        return canonical_json(
            {
                "run": self.run,
                "account": self.account,
                "charges": charges,
                "total_gas": self.total_gas,
            }
        )


@dataclass(frozen=True)
class Consumption:
    """What one account consumed of one item so far."""

    account: str
    item: str
    usages: tuple[Usage, ...] = ()
    gas: int = 0
    charge_count: int = 0


def consume(
    consumption: Consumption, usages: Sequence[Usage], gas: int, *, is_first: bool
) -> Consumption:
    """Add what an entry moved; amounts stop at `AMOUNT_SUM_MAX`, and returned gas is negative.

    `is_first` tells that its hold was not charged before.
    """
    amounts = {usage.meter: usage.amount for usage in consumption.usages}
    for usage in usages:
        amounts[usage.meter] = min(amounts.get(usage.meter, 0) + usage.amount, AMOUNT_SUM_MAX)
    return Consumption(
        consumption.account,
        consumption.item,
        usages=tuple(Usage(meter, amount) for meter, amount in amounts.items()),
        gas=consumption.gas + gas,
        charge_count=consumption.charge_count + is_first,
    )
