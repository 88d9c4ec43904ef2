"""What a marketplace is told: entries of the ledger and notices, each with all that it says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from ..budgets import BudgetWarning
from ..entries import Entry
from ..notices import BUDGET_WARNING, RUN_CLOSED, Event
from .fees import Bill

ENTRY, BILL = "entry", "bill"
KINDS = (ENTRY, RUN_CLOSED, BILL, BUDGET_WARNING)


def type_of(kind: str) -> str:
    """Return what a kind of event is called outside."""
    return f"com.actionvm.gas.{kind}.v1"


TYPES = tuple(map(type_of, KINDS))


@dataclass(frozen=True)
class Happening:
    """An event as the outbox sees it: what it is about, and where it is."""

    offset: int
    source: str
    type: str
    account: str
    time: datetime


def happening_of(event: Event) -> Happening:
    """Return where an event is, and whom it is about."""
    what = event.what
    if isinstance(what, Entry):
        source, kind, time = f"entries/{what.sequence}", ENTRY, what.create_time
    else:
        source, kind, time = f"notices/{what.number}", what.kind, what.time
    return Happening(event.offset, source, type_of(kind), what.account, time)


@dataclass(frozen=True)
class ClosedRun:
    """A run has its final receipt."""

    run: str
    total_gas: int
    receipt_sha256: str


Detail: TypeAlias = Entry | ClosedRun | Bill | BudgetWarning


@dataclass(frozen=True)
class Fact:
    """An event with all that it says; `id` is the same whoever asks, and whenever."""

    id: str
    happening: Happening
    detail: Detail


def event_id(ledger_id: str, source: str) -> str:
    """Return what an event is called everywhere: ledgers number alike, but have other names."""
    return f"{ledger_id}/{source}"
