"""One run on its way: has done what its machine wants, and journals what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, TypeVar

from chassis.errors import PeerUnavailable
from chassis.log import log

from .counting import Counting, learn
from .deeds import Deeds
from .delegation import Runs
from .errors import LimitReached
from .facts import (
    ActionFinished,
    EndDecided,
    Event,
    Failure,
    GenerationFinished,
    HostCalled,
    Outcome,
    State,
    parent_of,
)
from .journal.port import Entry, Lease, NewRun, Run
from .jsontext import write_json
from .machines import Machine, fold, is_moot
from .machines import State as Progress
from .machines.effects import Act, Effect, Sleep
from .patience import retry_seconds, until_kept
from .ports import RunFails
from .program import Program
from .rules import Use
from .stage import Stage

# A state is kept after so many events, so that a long run is taken up fast.
SNAPSHOT_EVENTS = 500

Answer = TypeVar("Answer")


class TooLate(Exception):
    """The end of the run was decided before something was sent."""


class Performance(Generic[Progress]):
    """One run, from wherever its journal stands to its end.

    All that the machine wants at a time is under way at once, each effect in a task of its own.
    What is no longer wanted is broken off; what is done becomes an event, and so on.
    """

    def __init__(
        self,
        stage: Stage,
        runs: Runs,
        run: Run,
        program: Program,
        *,
        lease: Lease,
        machine: Machine[Progress],
    ) -> None:
        self._stage = stage
        self._runs = runs
        self._run = run
        self._lease = lease
        self._program = program
        self._machine = machine
        self._state = machine.begin()
        self._sequence = self._snapshot_sequence = 0
        own = run.create_time + timedelta(seconds=program.limits.seconds)
        self._deadline = min(own, run.deadline or own)
        self._writing = asyncio.Lock()
        self._tasks: dict[str, tuple[Effect, asyncio.Task[Event | None]]] = {}
        # When to look again, because something follows then.
        self._times: list[datetime] = []
        # Set whenever there is something to look at.
        self._wake = asyncio.Event()
        # Somebody else has said something, and who waits for a person may have got it.
        self._told = asyncio.Event()
        # A call has a result, for which code may wait.
        self._ended = asyncio.Event()
        self._has_notes = True
        self._deeds = Deeds(stage, runs, self, run, program, deadline=self._deadline)
        # Who did not answer when it was last asked, by effect.
        self._absent: dict[str, str] = {}

    # --- What effects need -----------------------------------------------------------------------

    @property
    def ending(self) -> Outcome | None:
        """Return how the run will end, if that is decided."""
        return self._state.life.ending

    @property
    def seconds_left(self) -> float:
        """Return how long the run may take still."""
        return (self._deadline - self._stage.clock.now()).total_seconds()

    def current(self, act: Act) -> Act:
        """Return a call as far as it has come by now."""
        return self._state.calls.current(act)

    def awaits(self, act: Act) -> str:
        """Return the approval of the key manager that a call was last said to wait for."""
        waiting = (one.awaited for one in self._state.calls.open if one.call.id == act.call.id)
        return next((awaited.approval for awaited in waiting if awaited), "")

    async def record(
        self,
        *events: Event,
        begun: NewRun | None = None,
        late: bool = False,
        uses: tuple[Use, ...] = (),
    ) -> None:
        """Make events durable with all that follows; raise `TooLate`, `LeaseLost`, `LimitReached`.

        It happens also where who asked for it is broken off.
        """
        await asyncio.shield(
            asyncio.ensure_future(self._keep(events, begun=begun, late=late, uses=uses))
        )

    def asked(self, call_id: str) -> Sequence[HostCalled]:
        """Return what the code of a call has asked for so far."""
        return self._state.calls.asked(call_id)

    async def results(
        self, call_ids: Sequence[str], *, seconds: float | None
    ) -> Sequence[ActionFinished] | None:
        """Return the results of calls of code; None if that takes longer."""
        try:
            async with asyncio.timeout(seconds):
                while (found := self._state.calls.results(call_ids)) is None:
                    await self._ended.wait()
                return found
        except TimeoutError:
            return None

    async def insist(self, effect: Effect, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what the work gives, however often a peer has to be asked."""
        attempt = 0
        while True:
            try:
                return await work()
            except PeerUnavailable as error:
                await self.rest(effect, error.peer, attempt)
                attempt += 1

    def miss(self, effect: Effect, peer: str) -> None:
        """Remember who does not answer, in case that time is up before he does."""
        if self._absent.get(effect.key) != peer:
            log.info("run.waits", run=self._run.name, peer=peer)
        self._absent[effect.key] = peer

    async def rest(self, effect: Effect, peer: str, attempt: int, *, least: float = 0.0) -> bool:
        """Wait before a peer is asked again; tell whether somebody has said something."""
        self.miss(effect, peer)
        # Time may be up.
        self._wake.set()
        seconds = max(least, retry_seconds(attempt))
        if self.seconds_left > 0:
            seconds = min(seconds, self.seconds_left)
        try:
            async with asyncio.timeout(seconds):
                return await self._told.wait()
        except TimeoutError:
            return False

    # --- The way ---------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Let the run look at once at what others have said."""
        self._has_notes = True
        self._told.set()
        self._told = asyncio.Event()
        self._wake.set()

    def begin(self, events: tuple[Event, ...], *, has_notes: bool) -> None:
        """Begin with these events, which are all that the journal has."""
        self._state = fold(self._machine, events)
        self._sequence = len(events)
        self._has_notes = has_notes

    async def play(self) -> None:
        """Bring the run to its end; raise `LeaseLost`."""
        try:
            if self._sequence == 0:
                await until_kept(self._load)
            while self._state.life.finished is None:
                self._wake.clear()
                await self._listen()
                await self._look_at_the_time()
                await self._gather_results()
                await self._reconcile()
                await self._rest_until_woken()
        finally:
            await self._break_off([*self._tasks])
        outcome = self._state.life.finished.outcome
        log.info("run.finished", run=self._run.name, state=outcome.state)

    async def _load(self) -> None:
        journal, name = self._stage.journal, self._run.name
        snapshot = await journal.snapshot(name)
        if snapshot and (state := self._machine.decode(snapshot.state)):
            self._state, self._sequence = state, snapshot.sequence
            self._snapshot_sequence = snapshot.sequence
        while self._sequence < self._run.sequence:
            for record in await journal.events(name, after=self._sequence):
                self._state = self._machine.apply(self._state, record.event)
                self._sequence = record.sequence

    async def _listen(self) -> None:
        """Journal what others have said, and whatever follows by now."""
        notes = []
        if self._has_notes:
            self._has_notes = False
            notes = await until_kept(lambda: self._stage.journal.notes(self._run.name))
        # Between events, only time makes facts follow; and at first, what a crash left.
        if notes or not self._tasks or self._times:
            await self._keep(
                tuple(note.note for note in notes), heard=tuple(note.number for note in notes)
            )

    async def _look_at_the_time(self) -> None:
        if self._state.life.ending is None and self.seconds_left <= 0:
            failure = Failure("TIME_EXCEEDED", self._reproach())
            await self._keep((EndDecided(Outcome(State.FAILED, failure=failure)),))

    def _reproach(self) -> str:
        """Return what took too long."""
        told = f"the run took more than {self._program.limits.seconds} s; "
        if self._deadline == self._run.deadline:
            told = f"{parent_of(self._run.callers)}, which waits for the answer, has no more time; "
        absent = ", ".join(sorted(set(self._absent.values())))
        return told + (f"{absent} did not answer" if absent else "raise limits.timeout")

    async def _reconcile(self) -> None:
        """Begin what is wanted and break off what is not."""
        if self._state.life.finished:
            return
        wanted = {effect.key: effect for effect in self._machine.wanted(self._state)}
        self._times = [one.until for one in wanted.values() if isinstance(one, Sleep)]
        await self._break_off(
            [key for key, (effect, _) in self._tasks.items() if wanted.get(key) != effect]
        )
        for key, effect in wanted.items():
            if key not in self._tasks and self._may_begin(effect):
                task = asyncio.create_task(self._deeds.do(effect), name=f"{self._run.name} {key}")
                task.add_done_callback(lambda _: self._wake.set())
                self._tasks[key] = effect, task
        if self.ending and self.seconds_left > 0:
            await self._deeds.cancel_delegated(wanted.values())

    def _may_begin(self, effect: Effect) -> bool:
        if isinstance(effect, Sleep):
            return False
        is_sent = isinstance(effect, Act) and effect.is_sent
        return is_sent or self.ending is not None or not self._state.life.is_paused

    async def _rest_until_woken(self) -> None:
        """Wait for news, for the end of a task or of the time, or for a time to sleep until."""
        if self._state.life.finished:
            return
        now = self._stage.clock.now()
        times = [*self._times]
        if self.ending is None:
            times.append(self._deadline)
        timer = None
        if times:
            seconds = max(0.0, (min(times) - now).total_seconds())
            timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer:
                timer.cancel()

    async def _gather_results(self) -> None:
        """Journal what has been done."""
        done = [(key, *pair) for key, pair in self._tasks.items() if pair[1].done()]
        events: list[Event] = []
        for key, effect, task in done:
            del self._tasks[key]
            self._absent.pop(key, None)
            try:
                event = task.result()
            except TooLate:
                continue
            except RunFails as error:
                events += self._failed(effect, error.failure)
            else:
                events += [event] if event else []
        if events:
            await self._keep(tuple(events))

    def _failed(self, effect: Effect, failure: Failure) -> list[Event]:
        """Return the end, and first of all: what a machine makes of the call would be another."""
        events: list[Event] = []
        if self.ending is None:
            events.append(EndDecided(Outcome(State.FAILED, failure=failure)))
        if isinstance(effect, Act) and self.current(effect).is_sent:
            call = effect.call
            told = write_json({"error": failure.reason, "message": failure.message})
            events.append(ActionFinished(call.id, call.action, told, 0, failure.reason))
        return events

    async def _break_off(self, keys: list[str]) -> None:
        if not keys:
            return
        tasks = [self._tasks.pop(key)[1] for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- The journal -----------------------------------------------------------------------------

    async def _keep(
        self,
        events: tuple[Event, ...],
        *,
        heard: tuple[int, ...] = (),
        begun: NewRun | None = None,
        late: bool = True,
        uses: tuple[Use, ...] = (),
    ) -> None:
        async with self._writing:
            if not late and self.ending is not None:
                raise TooLate
            now = self._stage.clock.now()
            known: dict[str, int] = {}
            while True:
                made, state, counted = self._follow(events, now, known)
                if not made:
                    return
                is_due = self._sequence + len(made) - self._snapshot_sequence >= SNAPSHOT_EVENTS
                entry = Entry(
                    lease=self._lease,
                    sequence=self._sequence + 1,
                    events=made,
                    time=now,
                    heard=heard,
                    begun=begun,
                    snapshot=self._machine.encode(state) if is_due else b"",
                    uses=(*counted, *uses),
                )
                try:
                    await until_kept(partial(self._stage.journal.append, entry))
                    break
                except LimitReached as reached:
                    # Those of policies decide otherwise, those of services wait.
                    if reached.key in {use.key for use in uses}:
                        raise
                    learn(known, reached)
            self._state, self._sequence = state, self._sequence + len(made)
            if entry.snapshot:
                self._snapshot_sequence = self._sequence
            if begun:
                self._runs.begin(Lease(begun.name, epoch=1))
            self._tell(made)

    def _follow(
        self, events: tuple[Event, ...], now: datetime, known: Mapping[str, int]
    ) -> tuple[tuple[Event, ...], Progress, list[Use]]:
        """Return events with all that follows from them, the state after that, and its uses."""
        counting = Counting(self._program, now, known)
        state, made = self._state, list[Event]()
        # Without an event, only time has made something follow.
        for event in events or (None,):
            if event and not is_moot(event, state):
                state = self._machine.apply(state, event)
                made.append(event)
            while fact := self._machine.follow(state, now):
                fact = counting.decided(fact, state.calls, dry_run=state.life.dry_run)
                state = self._machine.apply(state, fact)
                made.append(fact)
        return tuple(made), state, counting.uses

    def _tell(self, events: Sequence[Event]) -> None:
        """Tell who watches."""
        for event in events:
            match event:
                case GenerationFinished():
                    self._stage.audience.end(self._run.name, event.step)
                case HostCalled():
                    self._wake.set()
                case ActionFinished():
                    self._ended.set()
                    self._ended = asyncio.Event()
                case _:
                    pass
        self._stage.audience.tell(self._run.name)
