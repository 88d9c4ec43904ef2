"""What is asked of the writer of a journal; encoded where it is asked, for it may be refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import ClassVar, NamedTuple, TypeAlias

from ..encoding import encode
from ..facts import Event, Note, RunFinished
from .folding import first_events
from .port import Entry, NewRun
from .tables import FACT_BYTES_MAX


class Fact(NamedTuple):
    """An event as its row has it; `content` is what is kept apart."""

    kind: str
    fact: bytes
    blob: str | None
    content: bytes


@dataclass(frozen=True)
class Begin:
    """Keep a run with its first events."""

    new: NewRun
    now: datetime
    content_sha256: str
    events: tuple[Event, ...]
    facts: list[Fact]
    # It needs none to be there before.
    run: ClassVar[str] = ""

    @property
    def begun(self) -> Begin:
        """Return what begins with it."""
        return self


@dataclass(frozen=True)
class Extend:
    """Keep events of a run, and the run that they begin."""

    run: str
    entry: Entry
    facts: list[Fact]
    begun: Begin | None


@dataclass(frozen=True)
class Tell:
    """Keep a note for a run."""

    run: str
    request_id: str
    kind: str
    fact: bytes
    sha256: str
    begun: ClassVar[None] = None


Operation: TypeAlias = Begin | Extend | Tell


def begin(new: NewRun, now: datetime) -> Begin:
    """Encode a run that begins."""
    events = first_events(new)
    return Begin(new, now, new.content_sha256, events, list(map(fact_of, events)))


def extend(entry: Entry) -> Extend:
    """Encode an entry."""
    assert not any(isinstance(event, RunFinished) for event in entry.events[:-1]), (
        "nothing happens after the end of a run"
    )
    begun = begin(entry.begun, entry.time) if entry.begun else None
    return Extend(entry.lease.run, entry, list(map(fact_of, entry.events)), begun)


def tell(run: str, note: Note, *, request_id: str) -> Tell:
    """Encode a note."""
    kind, fact = encode(note)
    return Tell(run, request_id, kind, fact, note_sha256(kind, fact))


def note_sha256(kind: str, fact: bytes) -> str:
    """Return what a repeated note must have in common with the first."""
    return sha256(kind.encode() + b"\0" + fact).hexdigest()


def fact_of(event: Event) -> Fact:
    """Encode an event."""
    kind, fact = encode(event)
    if len(fact) <= FACT_BYTES_MAX:
        return Fact(kind, fact, None, b"")
    return Fact(kind, b"", sha256(fact).hexdigest(), fact)
