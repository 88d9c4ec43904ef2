"""The journal of the runtime as its domain sees it; `sqlite.py` and `postgres.py` keep it.

Every run has one owner, a worker that holds its lease, and only the owner writes its events: so
they stand in the order in which it took notice of them. What others want of a run is a note, kept
until the owner journals it. What a method returned for is durable, or it raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chassis.canonical import Json, canonical_json, sha256_hex

from ..facts import ApprovalAwaited, Callers, Event, Failure, Note, Receipt, State
from ..rules import Use

# Those that nobody waits for: what outsiders have started.
OPEN_RUNS_MAX = 1_000
EVENTS_MAX = 1_000
# Of a run that is read together with others.
OPENING_EVENTS_MAX = 100
# That a run has not taken notice of; more are refused.
NOTES_MAX = 100


@dataclass(frozen=True)
class NewRun:
    """What a run is started with; its bundle was checked.

    At the `deadline` those who wait for it have no more time; there is none if nobody waits.
    """

    name: str
    request_id: str
    bundle: str
    payload: bytes
    account: str
    input: str
    dry_run: bool
    callers: Callers = ()
    deadline: datetime | None = None
    # The events that it begins with besides `RunStarted`: those of another run, up to a step.
    history: tuple[Event, ...] = ()
    # The run that they are of.
    origin: str = ""

    @property
    def content_sha256(self) -> str:
        """Return what a repeated request must have in common with the first."""
        forked: list[Json] = [self.origin, len(self.history)] if self.origin else []
        return sha256_hex(canonical_json([self.bundle, self.input, self.dry_run, *forked]))


@dataclass(frozen=True)
class Run:
    """A run as people see it, folded from its journal in the transaction that appends to it.

    `number` grows from run to run. `approval` is what one of its calls waits for, empty if it waits
    for no person.
    """

    number: int
    name: str
    bundle: str
    account: str
    state: State
    input: str
    answer: str
    failure: Failure | None
    step_count: int
    gas: int
    dry_run: bool
    create_time: datetime
    end_time: datetime | None
    callers: Callers
    deadline: datetime | None
    approval: str
    origin: str
    # Of its last event.
    sequence: int


@dataclass(frozen=True)
class Record:
    """An event in its place in a journal; sequences count from 1, without gaps."""

    sequence: int
    create_time: datetime
    event: Event


@dataclass(frozen=True)
class Lease:
    """The right to write the journal of a run; who takes it over has a higher epoch."""

    run: str
    epoch: int


@dataclass(frozen=True)
class Opened:
    """A run that was asked for; without a lease if it was there before.

    Handed in again because nobody knew what became of it, it comes with its lease.
    """

    run: Run
    lease: Lease | None


@dataclass(frozen=True)
class Opening:
    """A run with all of its events, and whether there are notes that it has not taken notice of."""

    run: Run
    events: tuple[Event, ...]
    has_notes: bool = False


@dataclass(frozen=True)
class KeptNote:
    """A note that its run has not taken notice of; numbers grow in the order of arrival."""

    number: int
    note: Note


@dataclass(frozen=True)
class Entry:
    """Events that become durable together, with all that belongs to them, or not at all."""

    lease: Lease
    # Of the first event: one more than that of the last event so far.
    sequence: int
    events: tuple[Event, ...]
    time: datetime
    # Numbers of the notes that these events take notice of.
    heard: tuple[int, ...] = ()
    # A run that exists from now on, because these events wait for it; this worker has its lease,
    # as of all that begin, with epoch 1.
    begun: NewRun | None = None
    # The state of the run after these events, if it is worth keeping; replaces the one before.
    snapshot: bytes = b""
    # What the decisions among these events take of the windows of the account's policies.
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The state of a run after an event."""

    sequence: int
    state: bytes


@dataclass(frozen=True)
class Waiting:
    """A call that waits for a person, and since when."""

    run: Run
    awaited: ApprovalAwaited
    # Of the event that says so.
    sequence: int
    create_time: datetime

    @property
    def place(self) -> tuple[str, int, int]:
        """Return where it stands among all that wait."""
        return self.create_time.isoformat(), self.run.number, self.sequence


class Journal(Protocol):
    """The runs of all workers, as one worker sees them.

    Every method is one transaction, or part of a larger one: entries that arrive while one batch is
    written are the next. Raise `JournalUnavailable` where the database does not answer: then nobody
    knows what became of it, and the same entry may be handed in again.
    """

    async def create(self, new: NewRun, now: datetime) -> Opened:
        """Keep a run with its first events, leased to this worker.

        A request that was seen before returns its run. Raise `RequestIdReused` and `RunsExceeded`.
        """

    async def append(self, entry: Entry) -> None:
        """Keep events; an entry that is there already, from the same epoch, changes nothing.

        Raise `LeaseLost` if another worker has the run, `RequestIdReused` if the run that is to be
        begun was asked for by somebody else, and `LimitReached` if a window has no room for a use,
        whoever else writes at the same time.
        """

    async def post(self, run: str, note: Note, *, request_id: str, now: datetime) -> Run:
        """Keep a note for a run and return the run; after its end, nothing is kept.

        The same request id for the same run changes nothing, also after the note was heard; with
        another note it raises `RequestIdReused`. Raise `RunNotFound` and `NotesExceeded`.
        """

    async def notes(self, run: str) -> list[KeptNote]:
        """Return what a run has not taken notice of, in the order of arrival."""

    async def noted(self) -> list[str]:
        """Return the runs of this worker that have notes which they have not taken notice of."""

    async def claim(self, now: datetime, *, seconds: float, limit: int) -> list[Lease]:
        """Take open runs that nobody holds, oldest first, for so long.

        Nobody holds what this worker held in a former life, or what a lease has run out for.
        """

    async def renew(self, now: datetime, *, seconds: float) -> None:
        """Hold all runs of this worker for so long from now on."""

    async def release(self) -> None:
        """Let others have the runs of this worker at once."""

    async def get(self, run: str) -> Run:
        """Return a run; raise `RunNotFound`."""

    async def sent(self, runs: Sequence[str]) -> dict[str, list[Record]]:
        """Return what the journals of runs say of effects: what was sent, and what came of it."""

    async def openings(self, runs: Sequence[str]) -> list[Opening]:
        """Return those of these runs that have few events, read all at once."""

    async def newest(self, limit: int, *, before: int | None = None) -> list[Run]:
        """Return runs, newest first, that are older than the one with the number `before`."""

    async def events(self, run: str, *, after: int = 0, limit: int = EVENTS_MAX) -> list[Record]:
        """Return the events of a run after a sequence, in order; raise `RunNotFound`."""

    async def snapshot(self, run: str) -> Snapshot | None:
        """Return the last state of a run that was kept."""

    async def payload(self, run: str) -> bytes:
        """Return the payload of the bundle that a run executes."""

    async def waiting(
        self, limit: int, *, after: tuple[str, int, int] = ("", 0, 0)
    ) -> list[Waiting]:
        """Return the calls that wait for people, longest first, after the place of another."""

    async def awaited(self, run: str, call: str) -> ApprovalAwaited:
        """Return what a call waits for; raise `ApprovalNotFound`."""

    async def receipt(self, run: str) -> Receipt:
        """Return the signed receipt of a run; raise `RunNotFound` and `RunUnfinished`."""
