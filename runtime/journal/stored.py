"""The journal over a database: one writer with group commit, and readers beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from chassis.database import reading
from chassis.errors import ServiceError
from chassis.group_commit import GroupCommit

from ..errors import JournalUnavailable, LeaseLost, LimitReached, RunNotFound
from ..facts import ApprovalAwaited, Note, Receipt, RunFinished
from . import reads
from .draft import Draft, Found, Named
from .leases import Claim, LeaseOperation, Release, Renew
from .operations import Begin, Extend, Operation, Tell, begin, extend, tell
from .port import (
    EVENTS_MAX,
    Entry,
    KeptNote,
    Lease,
    NewRun,
    Opened,
    Opening,
    Record,
    Run,
    Snapshot,
    Waiting,
)

Result = TypeVar("Result")

_OPERATIONS = (Begin, Extend, Tell)


class Rows(Protocol):
    """What is done for a whole batch at once, in the way that is fastest on a database."""

    # What its driver raises when it does not answer.
    failures: tuple[type[Exception], ...]

    def find(self, connection: Connection, batch: Sequence[Operation]) -> Found:
        """Return what operations are about; nobody else changes it before this transaction ends."""

    def write(self, connection: Connection, draft: Draft) -> None:
        """Write the rows of a batch."""


class StoredJournal:
    """See `Journal`; `worker` is the name under which it holds runs, also in its next life."""

    def __init__(self, engine: Engine, rows: Rows, *, worker: str) -> None:
        assert worker, "nobody is a worker without a name"
        self._engine = engine
        self._rows = rows
        self._worker = worker
        # Runs whose lease somebody here has, or is about to be given. What this worker has besides
        # is of a former life, or of a caller that never heard of it: that is claimed again.
        self._held = set[str]()
        self._claiming = asyncio.Lock()
        self._commits: GroupCommit[Operation | LeaseOperation] = GroupCommit(self._commit)
        # Many runs end with one batch, and who waits for them asks for each at the same time.
        self._gets: GroupCommit[str] = GroupCommit(self._get_now)

    async def create(self, new: NewRun, now: datetime) -> Opened:
        is_held = new.name in self._held
        with self._about_to_hold(new):
            opened = await self._commits.apply(begin(new, now))
        assert isinstance(opened, Opened), "it was asked for"
        if is_held:
            return Opened(opened.run, None)
        if opened.lease is None:
            self._held.discard(new.name)
        return opened

    async def append(self, entry: Entry) -> None:
        if entry.begun:
            with self._about_to_hold(entry.begun):
                await self._commits.apply(extend(entry))
        else:
            await self._commits.apply(extend(entry))
        if entry.events and isinstance(entry.events[-1], RunFinished):
            self._held.discard(entry.lease.run)

    async def post(self, run: str, note: Note, *, request_id: str, now: datetime) -> Run:  # noqa: ARG002  # the port has it
        opened = await self._commits.apply(tell(run, note, request_id=request_id))
        assert isinstance(opened, Opened), "it was asked for"
        return opened.run

    async def claim(self, now: datetime, *, seconds: float, limit: int) -> list[Lease]:
        # The next one must know what this one was given.
        async with self._claiming:
            asked = Claim(self._worker, now, seconds, limit, held=self._held)
            claimed = await self._commits.apply(asked)
            assert isinstance(claimed, list), "it was asked for"
            self._held |= {lease.run for lease in claimed}
            return claimed

    async def renew(self, now: datetime, *, seconds: float) -> None:
        await self._commits.apply(Renew(self._worker, now, seconds))

    async def release(self) -> None:
        self._held.clear()
        await self._commits.apply(Release(self._worker))

    async def notes(self, run: str) -> list[KeptNote]:
        return await self._read(lambda connection: reads.notes(connection, run))

    async def noted(self) -> list[str]:
        return await self._read(lambda connection: reads.noted(connection, self._worker))

    async def get(self, run: str) -> Run:
        found = await self._gets.apply(run)
        assert isinstance(found, Run), "it was asked for"
        return found

    async def sent(self, runs: Sequence[str]) -> dict[str, list[Record]]:
        return await self._read(lambda connection: reads.sent(connection, runs))

    async def openings(self, runs: Sequence[str]) -> list[Opening]:
        return await self._read(lambda connection: reads.openings(connection, runs))

    async def newest(self, limit: int, *, before: int | None = None) -> list[Run]:
        return await self._read(lambda connection: reads.newest(connection, limit, before))

    async def events(self, run: str, *, after: int = 0, limit: int = EVENTS_MAX) -> list[Record]:
        return await self._read(lambda connection: reads.events(connection, run, after, limit))

    async def snapshot(self, run: str) -> Snapshot | None:
        return await self._read(lambda connection: reads.snapshot(connection, run))

    async def payload(self, run: str) -> bytes:
        return await self._read(lambda connection: reads.payload(connection, run))

    async def waiting(
        self, limit: int, *, after: tuple[str, int, int] = ("", 0, 0)
    ) -> list[Waiting]:
        return await self._read(lambda connection: reads.waiting(connection, limit, after))

    async def awaited(self, run: str, call: str) -> ApprovalAwaited:
        return await self._read(lambda connection: reads.awaited(connection, run, call))

    async def receipt(self, run: str) -> Receipt:
        return await self._read(lambda connection: reads.receipt(connection, run))

    @contextmanager
    def _about_to_hold(self, new: NewRun) -> Iterator[None]:
        """Let no claim take a run before who asks for it hears of it; or if they never do."""
        if new.name in self._held:
            yield
            return
        self._held.add(new.name)
        try:
            yield
        except BaseException:
            self._held.discard(new.name)
            raise

    async def _read(self, read: Callable[[Connection], Result]) -> Result:
        return await asyncio.to_thread(self._read_now, read)

    def _read_now(self, read: Callable[[Connection], Result]) -> Result:
        with self._answering(), reading(self._engine) as connection:
            return read(connection)

    def _get_now(self, names: Sequence[str]) -> list[Run | RunNotFound]:
        runs = self._read_now(lambda connection: reads.runs_named(connection, names))
        return [runs.get(name) or RunNotFound(name) for name in names]

    def _commit(self, asked: Sequence[Operation | LeaseOperation]) -> list[object]:
        """Write a batch; return for each operation its result, or what it was refused with."""
        batch = [one for one in asked if isinstance(one, _OPERATIONS)]
        outcomes = self._write(batch)
        if len(batch) == len(asked):
            return [*outcomes]
        # Leases in transactions of their own: they lock rows that a batch does not know.
        written = iter(outcomes)
        return [next(written) if isinstance(one, _OPERATIONS) else self._hold(one) for one in asked]

    def _hold(self, asked: LeaseOperation) -> object:
        try:
            with self._answering(), self._engine.begin() as connection:
                return asked.apply(connection)
        except JournalUnavailable as error:
            return error

    def _write(self, batch: Sequence[Operation]) -> Sequence[object]:
        if not batch:
            return []
        try:
            with self._answering(), self._engine.begin() as connection:
                return self._write_in(connection, batch)
        except JournalUnavailable as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001  # only the operation that it is about gets it
            if len(batch) == 1:
                return [error]
            return [outcome for one in batch for outcome in self._write([one])]

    def _write_in(self, connection: Connection, batch: Sequence[Operation]) -> list[object]:
        found = self._rows.find(connection, batch)
        draft = Draft(self._worker, found)
        outcomes = [_decide(draft, asked) for asked in batch]
        self._rows.write(connection, draft)
        named = [outcome for outcome in outcomes if isinstance(outcome, Named)]
        runs = reads.runs(connection, [one.number for one in named]) if named else {}
        return [
            Opened(runs[outcome.number], outcome.lease) if isinstance(outcome, Named) else outcome
            for outcome in outcomes
        ]

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Tell a database that does not answer from a bug."""
        try:
            yield
        except DBAPIError as error:
            if isinstance(error.orig, self._rows.failures):
                raise JournalUnavailable from error
            raise
        except self._rows.failures as error:
            raise JournalUnavailable from error


def _decide(draft: Draft, asked: Operation) -> object:
    try:
        return draft.decide(asked)
    # A bug of one caller is not one of all others in its batch.
    except (ServiceError, LeaseLost, LimitReached, AssertionError) as error:
        return error
