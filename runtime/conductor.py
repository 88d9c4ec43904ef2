"""Brings every open run to its end: one task for each, taken up again after a crash."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from chassis.log import log

from .bundles import read_program, require_connectors
from .comparing import Parting, compare
from .errors import JournalUnavailable, LeaseLost
from .facts import CancelRequested, Note
from .forking import history_of, read_records
from .journal.folding import first_events
from .journal.port import Lease, NewRun, Opening, Run
from .machines.choosing import machine_of
from .patience import until_kept
from .performance import Performance
from .program import Program
from .reexecuting import with_code_again
from .replaying import Replayed, replay
from .stage import Stage

# A worker that does not say that it is there for so long has lost its runs to the others.
LEASE_SECONDS = 5.0
# So often a worker says so, takes up what others have lost, and looks for notes to its runs.
ROUND_SECONDS = 1.0
# Runs that are taken up in one transaction.
CLAIMS_MAX = 1_000
# Runs that are read together.
OPENINGS_MAX = 100
# Bundles whose program is kept in memory.
PROGRAMS_MAX = 256


class Conductor:
    """Owns the tasks of the runs of this worker.

    `start` takes up what nobody else has; `stop` leaves it as it is, since all that counts is in
    the journal.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._performances: dict[str, Performance] = {}  # type: ignore[type-arg]
        self._rounds: asyncio.Task[None] | None = None
        self._programs: OrderedDict[str, Program] = OrderedDict()
        self._reading = asyncio.Lock()
        # Who had something said to it before it could hear.
        self._unheard: set[str] = set()

    async def start(self) -> None:
        """Take up every run that nobody has, now and from now on."""
        await self._claim()
        self._rounds = asyncio.create_task(self._make_rounds())

    async def stop(self) -> None:
        """Drop every run where it is; others may have them at once."""
        tasks = [*self._tasks.values()]
        if self._rounds:
            tasks.append(self._rounds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(JournalUnavailable):
            await self._stage.journal.release()

    async def open(self, new: NewRun) -> Run:
        """Keep a run and take it up; a request that was seen before returns its run."""
        opened = await self._stage.journal.create(new, self._stage.clock.now())
        if opened.lease:
            self.begin(opened.lease, Opening(opened.run, first_events(new)))
        return opened.run

    def begin(self, lease: Lease, opening: Opening | None = None) -> None:
        """Take up a run, unless that was done; a new one needs not be read."""
        if lease.run in self._tasks:
            return
        task = asyncio.create_task(self._conduct(lease, opening), name=lease.run)
        self._tasks[lease.run] = task
        self._stage.audience.here.add(lease.run)
        task.add_done_callback(lambda done: self._forget(lease.run, done))

    async def post(self, name: str, note: Note, *, request_id: str) -> Run:
        """Keep what somebody wants of a run, and let it notice at once; return the run as it is."""
        now = self._stage.clock.now()
        run = await self._stage.journal.post(name, note, request_id=request_id, now=now)
        self.nudge(name)
        return run

    async def cancel(self, name: str, *, request_id: str = "cancel") -> Run:
        """Ask a run to stop."""
        return await self.post(name, CancelRequested(), request_id=request_id)

    async def fork(self, name: str, *, sequence: int, request_id: str, fork: str) -> Run:
        """Start a run with the first events of another one; see `history_of`."""
        journal = self._stage.journal
        run = await journal.get(name)
        program = await self._program(run)
        require_connectors(program, self._stage.connectors)
        new = NewRun(
            name=fork,
            request_id=request_id,
            bundle=run.bundle,
            payload=await journal.payload(name),
            account=run.account,
            input=run.input,
            dry_run=run.dry_run,
            history=await history_of(journal, run, machine_of(program), sequence=sequence),
            origin=name,
        )
        return await self.open(new)

    async def replay(self, name: str) -> AsyncIterator[Replayed]:
        """Yield a run as it goes when it is executed again from its journal; see `replay`."""
        journal = self._stage.journal
        run = await journal.get(name)
        program = await self._program(run)
        found = replay(machine_of(program), program, await read_records(journal, run))
        async for one in with_code_again(found, self._stage.sandbox, program):
            yield one

    async def compare(self, left: str, right: str) -> Parting | None:
        """Return where two runs part."""
        journal = self._stage.journal
        both = [await read_records(journal, await journal.get(name)) for name in (left, right)]
        return await asyncio.to_thread(compare, *both)

    def nudge(self, name: str) -> None:
        """Let a run look at once whether what it waits for has come."""
        if performance := self._performances.get(name):
            performance.nudge()
        else:
            self._unheard.add(name)

    async def ended(self, name: str) -> Run:
        """Return a run once it has ended; another worker may have it."""
        while True:
            if task := self._tasks.get(name):
                await asyncio.wait([task])
            run = await until_kept(lambda: self._stage.journal.get(name))
            if run.end_time is not None:
                return run
            await asyncio.sleep(ROUND_SECONDS)

    async def _conduct(self, lease: Lease, opening: Opening | None) -> None:
        journal = self._stage.journal
        run = opening.run if opening else await until_kept(lambda: journal.get(lease.run))
        program = await until_kept(lambda: self._program(run))
        performance = Performance(
            self._stage, self, run, program, lease=lease, machine=machine_of(program)
        )
        if opening:
            performance.begin(opening.events, has_notes=opening.has_notes)
        self._performances[run.name] = performance
        if run.name in self._unheard:
            # It was said after the opening was read.
            self._unheard.discard(run.name)
            performance.nudge()
        await performance.play()

    async def _program(self, run: Run) -> Program:
        """Return what a run executes; many runs have one bundle, which is read once."""
        async with self._reading:
            if run.bundle not in self._programs:
                payload = await self._stage.journal.payload(run.name)
                self._programs[run.bundle] = read_program(payload)
                if len(self._programs) > PROGRAMS_MAX:
                    self._programs.popitem(last=False)
            return self._programs[run.bundle]

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name]
        self._performances.pop(name, None)
        # Who watches may wait for what another worker does next.
        self._stage.audience.here.discard(name)
        self._stage.audience.tell(name)
        if task.cancelled():
            return
        if isinstance(task.exception(), LeaseLost):
            log.info("run.lost", run=name)
        elif task.exception() is not None:
            # A bug. Going on could repeat it on the world, so the run waits for a restart.
            log.error("run.stopped", run=name, exc_info=task.exception())

    # --- Leases ----------------------------------------------------------------------------------

    async def _make_rounds(self) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                await self._stage.journal.renew(self._stage.clock.now(), seconds=LEASE_SECONDS)
                await self._claim()
                # Those of other workers; what is ours is found again.
                self._unheard.clear()
                for name in await self._stage.journal.noted():
                    self.nudge(name)
            except JournalUnavailable:
                log.warning("journal.unavailable")
            except Exception:  # noqa: BLE001  # a bug, after which leases must be renewed all the same
                log.error("conductor.round_failed", exc_info=True)

    async def _claim(self) -> None:
        """Take up what nobody has."""
        while True:
            now = self._stage.clock.now()
            leases = await self._stage.journal.claim(now, seconds=LEASE_SECONDS, limit=CLAIMS_MAX)
            for start in range(0, len(leases), OPENINGS_MAX):
                await self._take_up(leases[start : start + OPENINGS_MAX])
            if len(leases) < CLAIMS_MAX:
                return

    async def _take_up(self, leases: Sequence[Lease]) -> None:
        """Begin runs; those with few events are read all at once."""
        # These leases are ours now: who does not begin them would leave them lying.
        names = [lease.run for lease in leases]
        found = await until_kept(lambda: self._stage.journal.openings(names))
        openings = {opening.run.name: opening for opening in found}
        for lease in leases:
            self.begin(lease, openings.get(lease.run))
