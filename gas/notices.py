"""What happened besides charges, in one order with them.

Events are the entries of the ledger and these notices. Both are numbered without gaps, and a notice
knows the entry after which it was written, so an offset in the common order needs no row of its
own: that of a notice is `after_sequence + number`, and that of an entry is its sequence and the
number of notices before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis.canonical import Json

from .entries import Entry

RUN_CLOSED = "run-closed"
BUDGET_WARNING = "budget-warning"


@dataclass(frozen=True)
class Notice:
    """Something that happened to an account; `kind` says what, and `content` has the details."""

    number: int
    after_sequence: int
    kind: str
    account: str
    content: Json
    time: datetime

    @property
    def offset(self) -> int:
        """Return its place among all events."""
        return self.after_sequence + self.number


@dataclass(frozen=True)
class Event:
    """An entry or a notice, at its place."""

    offset: int
    what: Entry | Notice


def merge(entries: Sequence[Entry], notices: Sequence[Notice], *, after_offset: int) -> list[Event]:
    """Return entries and notices that follow an offset without a gap, in their order."""
    parts: list[Entry | Notice] = [*entries, *notices]
    # A notice comes after the entry that it names, and notices come in their order.
    parts.sort(key=_place)
    return [Event(after_offset + place, part) for place, part in enumerate(parts, start=1)]


def _place(part: Entry | Notice) -> tuple[int, int]:
    if isinstance(part, Entry):
        return part.sequence, 0
    return part.after_sequence, part.number
