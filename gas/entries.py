"""The double-entry ledger: what an entry says, and the chain that shows whether one was changed.

The bytes that the chain covers are documented at `Entry` in the contract.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache

from .chain import Call, agent_item
from .ledger import Hold
from .prices import Usage

# What the first entry follows.
CHAIN_START = bytes(32)

# The encoder writes what RFC 8785 asks for, for what an entry has: keys in ASCII, text, integers.
# It is ten times as fast as one that takes any value.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Kind(Enum):
    """Why gas or money moved; the values are the names of the contract."""

    CHARGE = "KIND_CHARGE"
    CORRECTION = "KIND_CORRECTION"
    REFUND = "KIND_REFUND"
    FEE = "KIND_FEE"


# What an agent pays; what is of another kind comes back to it.
_PAID = frozenset({Kind.CHARGE, Kind.FEE})


@dataclass(frozen=True)
class Fee:
    """Money of a bill, in millionths of the currency; at least one of them."""

    run: str
    micros: int
    currency: str


@dataclass(frozen=True)
class Tip:
    """The end of the chain: where the next entry goes."""

    sequence: int = 0
    chain_hash: bytes = CHAIN_START


@dataclass(frozen=True)
class Entry:
    """Gas that moved from one account to another; `gas` is never negative."""

    sequence: int
    kind: Kind
    account: str
    payee: str
    gas: int
    hold: str
    line: int
    item: str
    usages: tuple[Usage, ...]
    price_version: str
    cause: str
    create_time: datetime
    chain_hash: bytes
    # Of a fee, and of nothing else.
    fee: Fee | None = None

    @property
    def debit_account(self) -> str:
        """Return who pays."""
        return self.account if self.kind in _PAID else self.payee

    @property
    def credit_account(self) -> str:
        """Return who receives."""
        return self.payee if self.kind in _PAID else self.account

    @property
    def gas_charged(self) -> int:
        """Return gas as the agent sees it: negative if it is returned."""
        return self.gas if self.kind is Kind.CHARGE else -self.gas

    @property
    def canonical(self) -> bytes:
        """Return what the chain covers of this entry."""
        return _encode(
            {
                "cause": self.cause,
                "create_time": time_text(self.create_time),
                "credit_account": self.credit_account,
                "debit_account": self.debit_account,
                **({"fee": _fee_content(self.fee)} if self.fee else {}),
                "gas": self.gas,
                "hold": self.hold,
                "item": self.item,
                "kind": self.kind.value,
                "line": self.line,
                "price_version": self.price_version,
                "sequence": self.sequence,
                "usages": [
                    {"amount": usage.amount, "meter": usage.meter.value} for usage in self.usages
                ],
            }
        ).encode()

    @property
    def tip(self) -> Tip:
        """Return the end of a chain that ends here."""
        return Tip(self.sequence, self.chain_hash)


def chain(before: bytes, entry: Entry) -> bytes:
    """Return the hash of an entry that follows the hash `before`."""
    return hashlib.sha256(before + entry.canonical).digest()


def first_break(entries: Iterable[Entry], tip: Tip | None = None) -> int | None:
    """Return the first sequence at which a chain is not what was written, or None if it is whole.

    `tip` is the end of the entries before.
    """
    end = tip or Tip()
    for entry in entries:
        expected = end.sequence + 1
        if entry.sequence != expected or entry.chain_hash != chain(end.chain_hash, entry):
            return expected
        end = entry.tip
    return None


@dataclass(frozen=True)
class Leg:
    """A part of the way of gas: who pays whom for what, on which line of the payer's receipt."""

    account: str
    payee: str
    item: str
    line: int
    usages: tuple[Usage, ...] = ()


def last_leg(hold: Hold, usages: tuple[Usage, ...] = ()) -> Leg:
    """Return how the agent pays what it used."""
    asked = hold.reservation
    return Leg(asked.account, payee(asked.item), asked.item, hold.line, usages)


def leg_of(call: Call, caller: str) -> Leg:
    """Return how a caller pays the agent that it called."""
    return Leg(caller, call.account, agent_item(call.account), call.line)


def new_entry(
    tip: Tip,
    hold: Hold,
    leg: Leg,
    gas: int,
    *,
    kind: Kind | None = None,
    cause: str = "",
    now: datetime,
) -> Entry:
    """Return the entry that moves gas for a hold; negative gas goes back to the payer."""
    unchained = Entry(
        sequence=tip.sequence + 1,
        kind=kind or (Kind.CHARGE if gas >= 0 else Kind.CORRECTION),
        account=leg.account,
        payee=leg.payee,
        gas=abs(gas),
        hold=hold.name,
        line=leg.line,
        item=leg.item,
        usages=leg.usages,
        price_version=hold.tariff.version,
        cause=cause,
        create_time=now,
        chain_hash=b"",
    )
    # Filled in before anybody sees it: a copy of thirteen fields would cost more than the hash.
    object.__setattr__(unchained, "chain_hash", chain(tip.chain_hash, unchained))
    return unchained


def fee_entry(tip: Tip, account: str, *, payee: str, item: str, fee: Fee, now: datetime) -> Entry:
    """Return the entry with which the user of an agent pays a part of a bill."""
    unchained = Entry(
        sequence=tip.sequence + 1,
        kind=Kind.FEE,
        account=account,
        payee=payee,
        gas=0,
        hold="",
        line=0,
        item=item,
        usages=(),
        price_version="",
        cause="",
        create_time=now,
        chain_hash=b"",
        fee=fee,
    )
    return replace(unchained, chain_hash=chain(tip.chain_hash, unchained))


def _fee_content(fee: Fee) -> dict[str, object]:
    return {"currency": fee.currency, "micros": fee.micros, "run": fee.run}


def payee(item: str) -> str:
    """Return the account that is credited with the charges of an item."""
    kind, _, name = item.partition(" ")
    match kind:
        case "model":
            return f"providers/{name.partition('/')[0]}"
        case "action":
            return f"connectors/{name.partition('.')[0]}"
    return f"services/{kind}"


@lru_cache(maxsize=64)
def time_text(time: datetime) -> str:
    """Return a time in the one form that the chain covers."""
    assert time.tzinfo is UTC, "times of the ledger are in UTC"
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond:06}Z"
