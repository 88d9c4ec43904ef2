"""What changes the ledger: each operation says what it needs to know, and decides with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from sqlalchemy import Connection

from .book import Book, Refund
from .budgets import Budget, BudgetKey, BudgetWarning
from .chain import Caller
from .ledger import Hold, Reservation
from .price_schedule import Scheduled, Update
from .prices import Usage
from .sums import TokenCount

# Covariant: who takes any operation takes one with any result.
Result_co = TypeVar("Result_co", covariant=True)


class Operation(Generic[Result_co]):
    """One request. It either decides, or raises a `ServiceError` and leaves the book as it was.

    What it names here must be in the book before it decides, as far as it exists.
    """

    @property
    def request_id(self) -> str:
        """Return the request id of the hold that it may have made before."""
        return ""

    @property
    def hold(self) -> str:
        """Return the hold that it changes."""
        return ""

    @property
    def run(self) -> str:
        """Return the run that it belongs to."""
        return ""

    @property
    def account(self) -> str:
        """Return the account that it spends from, or limits."""
        return ""

    @property
    def callers(self) -> tuple[Caller, ...]:
        """Return the runs that called its own, outermost first."""
        return ()

    def decide(self, book: Book, now: datetime) -> Result_co:
        """Change the book, and return what the caller is answered once that is on disk."""
        raise NotImplementedError


class TableOperation(Operation[Result_co]):
    """One that also has tables of its own, which it reads and writes in the same transaction.

    What the batch has changed in the book so far is not in the tables of the ledger yet.
    """

    def decide_in(self, connection: Connection, book: Book, now: datetime) -> Result_co:
        """Do as `decide`; one that raises must have written nothing."""
        raise NotImplementedError


@dataclass(frozen=True)
class Held:
    """A hold, and what to say about the budgets in which it counts."""

    hold: Hold
    warnings: tuple[BudgetWarning, ...]


@dataclass(frozen=True)
class Reserve(Operation[Held]):
    """Hold gas for the worst case of one call."""

    reservation: Reservation

    @property
    def request_id(self) -> str:
        return self.reservation.request_id

    @property
    def run(self) -> str:
        return self.reservation.run

    @property
    def account(self) -> str:
        return self.reservation.account

    @property
    def callers(self) -> tuple[Caller, ...]:
        return self.reservation.callers

    def decide(self, book: Book, now: datetime) -> Held:
        hold = book.reserve(self.reservation, now)
        return Held(hold, book.accounts.warnings(hold, now))


@dataclass(frozen=True)
class Settle(Operation[Held]):
    """Charge a hold with what was used since it was made."""

    name: str
    usages: tuple[Usage, ...]
    keep_open: bool = False
    token_counts: tuple[TokenCount, ...] = ()

    @property
    def hold(self) -> str:
        return self.name

    def decide(self, book: Book, now: datetime) -> Held:
        hold = book.settle(
            self.name,
            self.usages,
            now,
            keep_open=self.keep_open,
            token_counts=self.token_counts,
        )
        return Held(hold, book.accounts.warnings(hold, now))


@dataclass(frozen=True)
class Release(Operation[Hold]):
    """Give a hold back."""

    name: str

    @property
    def hold(self) -> str:
        return self.name

    def decide(self, book: Book, now: datetime) -> Hold:
        return book.release(self.name, now)


@dataclass(frozen=True)
class Close(Operation[None]):
    """Release what a run holds, and refuse more of it."""

    run_name: str
    payer: str

    @property
    def run(self) -> str:
        return self.run_name

    @property
    def account(self) -> str:
        return self.payer

    def decide(self, book: Book, now: datetime) -> None:
        book.close(self.run_name, self.payer, now)


@dataclass(frozen=True)
class Expire(Operation[None]):
    """Charge what nobody settled in time, which every batch does before it decides anything."""

    def decide(self, book: Book, _now: datetime) -> None:
        """Nothing is left to decide."""


@dataclass(frozen=True)
class Return(Operation[Hold]):
    """Return gas of a charge."""

    refund: Refund

    @property
    def hold(self) -> str:
        return self.refund.hold

    def decide(self, book: Book, now: datetime) -> Hold:
        return book.refund(self.refund, now)


@dataclass(frozen=True)
class Limit(Operation[Budget]):
    """Set a budget."""

    budget: Budget

    @property
    def account(self) -> str:
        return self.budget.account

    def decide(self, book: Book, now: datetime) -> Budget:
        return book.accounts.set_budget(self.budget, now)


@dataclass(frozen=True)
class Lift(Operation[None]):
    """Remove a budget."""

    key: BudgetKey

    @property
    def account(self) -> str:
        return self.key[0]

    def decide(self, book: Book, _now: datetime) -> None:
        book.accounts.lift_budget(self.key)


@dataclass(frozen=True)
class Assign(Operation[None]):
    """Put an agent into a tenant."""

    agent: str
    tenant: str

    @property
    def account(self) -> str:
        return self.agent

    def decide(self, book: Book, _now: datetime) -> None:
        book.assign(self.agent, self.tenant)


@dataclass(frozen=True)
class Publish(Operation[Scheduled]):
    """Schedule a price table."""

    update: Update

    def decide(self, book: Book, now: datetime) -> Scheduled:
        return book.prices.publish(self.update, now)
