"""One batch before it is written: decides operations in their order, and gathers their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from chassis.errors import RequestIdReused

from ..errors import LeaseLost, NotesExceeded, RunNotFound, RunsExceeded
from ..facts import (
    ActionFinished,
    ApprovalAwaited,
    ApprovalDecided,
    Event,
    RunFinished,
    State,
)
from . import port, tally
from .folding import Head
from .operations import Begin, Extend, Fact, Operation, Tell
from .port import Entry, Lease, NewRun

Value: TypeAlias = str | int | bytes | None
Values: TypeAlias = tuple[Value, ...]
Stored: TypeAlias = "Callable[[int, int, int], Sequence[tuple[str, bytes, str | None]]]"


@dataclass
class Found:
    """What the database has of the runs that a batch is about."""

    # The kind, the fact and the digest of so many events of a run, from a sequence on.
    stored: Stored
    # Counts, in the transaction of the batch.
    execute: tally.Execute
    heads: list[Head] = field(default_factory=list)
    # Of the last run there is, and how many are open that nobody waits for.
    last_number: int = 0
    open_count: int = 0
    bundles: set[str] = field(default_factory=set)
    # The digests of notes by run and request, and how many of a run were not heard.
    notes: dict[tuple[int, str], str] = field(default_factory=dict)
    unheard: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Named:
    """A run to be read once the batch is written, with the lease that comes with it."""

    number: int
    lease: Lease | None = None


class Draft:
    """A decision about an operation changes everything that it is about, or raises and nothing."""

    def __init__(self, worker: str, found: Found) -> None:
        self._worker = worker
        self._found = found
        self._heads = {head.name: head for head in found.heads}
        self._requests = {head.request_id: head for head in found.heads}
        # What is to be written.
        self.changed: dict[int, Head] = {}
        self.begun: list[Values] = []
        self.bundles: dict[str, bytes] = {}
        self.events: dict[tuple[int, int], Values] = {}
        self.blobs: dict[str, bytes] = {}
        self.snapshots: dict[int, Values] = {}
        self.notes: list[Values] = []
        self.heard: list[Values] = []
        # None for a call that waits no longer.
        self.approvals: dict[tuple[int, str], Values | None] = {}

    @property
    def finished(self) -> list[Head]:
        """Return the runs that have ended."""
        return [head for head in self.changed.values() if head.outcome is not None]

    def decide(self, asked: Operation) -> Named | None:
        """Return what is known of an operation before it is written, or raise its refusal."""
        match asked:
            case Extend():
                self._extend(asked)
                return None
            case Begin():
                return self._create(asked)
            case Tell():
                return self._tell(asked)

    def _extend(self, asked: Extend) -> None:
        entry = asked.entry
        head = self._require_lease(entry)
        if entry.sequence <= head.sequence:
            self._require_same(head, asked)
            return
        if asked.begun and asked.begun.new.request_id in self._requests:
            raise RequestIdReused(asked.begun.new.request_id)
        if entry.uses:
            tally.require_room(self._found.execute, head.account, entry.uses)
        if asked.begun:
            self._begin(asked.begun)
        if entry.uses:
            tally.count(self._found.execute, head.account, entry.uses, entry.time)
        time = entry.time.isoformat()
        for event, fact in zip(entry.events, asked.facts, strict=True):
            head.take_in(event, entry.time)
            self._write(head, event, fact, time)
        self.changed[head.number] = head
        if entry.heard:
            self._hear(head, entry)
        if entry.snapshot:
            self.snapshots[head.number] = (head.number, head.sequence, entry.snapshot)

    def _require_lease(self, entry: Entry) -> Head:
        """Return the run of an entry; who does not know it as it is must read it again."""
        head = self._heads.get(entry.lease.run)
        if head is None or head.worker != self._worker or head.epoch != entry.lease.epoch:
            raise LeaseLost(entry.lease.run)
        is_next = entry.sequence == head.sequence + 1 and head.end_time is None
        if not is_next and entry.sequence > head.sequence:
            raise LeaseLost(entry.lease.run)
        return head

    def _require_same(self, head: Head, asked: Extend) -> None:
        stands = self._stored(head.number, asked.entry.sequence, len(asked.facts))
        if stands != [fact[:3] for fact in asked.facts]:
            raise LeaseLost(asked.run)

    def _hear(self, head: Head, entry: Entry) -> None:
        self.heard += [(number, head.number) for number in entry.heard]
        if head.number in self._found.unheard:
            self._found.unheard[head.number] -= len(entry.heard)

    def _create(self, asked: Begin) -> Named:
        new = asked.new
        known = self._requests.get(new.request_id)
        if known is not None:
            if known.content_sha256 != asked.content_sha256:
                raise RequestIdReused(new.request_id)
            # Nobody else knows a name before it is acknowledged: this is the same request, again.
            is_ours = known.name == new.name and known.worker == self._worker and known.epoch == 1
            is_leased = is_ours and known.end_time is None
            return Named(known.number, Lease(new.name, 1) if is_leased else None)
        # A run that waits for another must not take its place: only what outsiders started
        # counts. Each of them has at most one open run in every depth below it.
        if not new.callers:
            if self._found.open_count >= port.OPEN_RUNS_MAX:
                raise RunsExceeded(port.OPEN_RUNS_MAX)
            self._found.open_count += 1
        return Named(self._begin(asked).number, Lease(new.name, 1))

    def _tell(self, asked: Tell) -> Named:
        head, found = self._heads.get(asked.run), self._found
        if head is None:
            raise RunNotFound(asked.run)
        known = found.notes.get((head.number, asked.request_id))
        if known is not None and known != asked.sha256:
            raise RequestIdReused(asked.request_id)
        if known is None and head.end_time is None:
            unheard = found.unheard.get(head.number, 0)
            if unheard >= port.NOTES_MAX:
                raise NotesExceeded(asked.run, port.NOTES_MAX)
            found.unheard[head.number] = unheard + 1
            found.notes[head.number, asked.request_id] = asked.sha256
            row = (head.number, asked.request_id, asked.sha256, asked.kind, asked.fact, False)
            self.notes.append(row)
        return Named(head.number)

    def _begin(self, asked: Begin) -> Head:
        new, found = asked.new, self._found
        assert new.name not in self._heads, "no two runs have the same name"
        found.last_number += 1
        head = Head(
            found.last_number,
            new.name,
            new.account,
            new.request_id,
            asked.content_sha256,
            worker=self._worker,
            epoch=1,
            sequence=0,
            state=State.PENDING,
            step_count=0,
            gas=0,
            end_time=None,
        )
        self._heads[new.name] = self._requests[new.request_id] = head
        if new.bundle not in found.bundles:
            self.bundles[new.bundle] = new.payload
        time = asked.now.isoformat()
        for event, fact in zip(asked.events, asked.facts, strict=True):
            head.inherit(event)
            self._write(head, event, fact, time)
        self.begun.append(_row(head, new, time))
        return head

    def _write(self, head: Head, event: Event, fact: Fact, time: str) -> None:
        number, sequence = head.number, head.sequence
        self.events[number, sequence] = (number, sequence, time, fact.kind, fact.fact, fact.blob)
        if fact.blob is not None:
            self.blobs[fact.blob] = fact.content
        match event:
            case ApprovalAwaited(call=call, approval=approval):
                name = approval or f"{head.name}/approvals/{call.id}"
                self.approvals[number, call.id] = (number, call.id, sequence, time, name)
            case ApprovalDecided() | ActionFinished():
                self.approvals[number, event.call_id] = None
            case RunFinished():
                self.approvals = {
                    key: row for key, row in self.approvals.items() if key[0] != number
                }

    def _stored(self, run: int, sequence: int, count: int) -> list[tuple[Value, ...]]:
        """Return events that are in the database, or will be with this batch."""
        stored = list[tuple[Value, ...]](self._found.stored(run, sequence, count))
        for place in range(sequence + len(stored), sequence + count):
            row = self.events.get((run, place))
            if row is not None:
                stored.append(row[3:])
        return stored


def _row(head: Head, new: NewRun, time: str) -> Values:
    return (
        head.number,
        head.name,
        head.request_id,
        head.content_sha256,
        new.bundle,
        new.account,
        bool(new.callers),
        time,
        new.deadline.isoformat() if new.deadline else None,
        head.sequence,
        head.state,
        head.step_count,
        head.gas,
        None,
        None,
        head.worker,
        head.epoch,
    )
