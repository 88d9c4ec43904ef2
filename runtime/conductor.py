"""Brings every open run to its end: one task for each, resumed after a crash."""

from __future__ import annotations

import asyncio

from chassis.log import log

from .performance import Performance
from .program import read_program
from .stage import Stage
from .store import NewRun, Run


class Conductor:
    """Owns the tasks of the open runs.

    `start` resumes what a crash left open; `stop` leaves it as it is, since all that counts is in
    the store.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._nudges: dict[str, asyncio.Event] = {}

    async def start(self) -> None:
        """Take up every open run."""
        for name in await asyncio.to_thread(self._stage.store.open_names):
            self.begin(name)

    async def stop(self) -> None:
        """Drop every run where it is."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def open(self, new: NewRun) -> Run:
        """Store a run and take it up; a request that was seen before returns its run."""
        stage = self._stage
        run = await asyncio.to_thread(stage.store.create, new, stage.clock.now())
        self.begin(run.name)
        return run

    def begin(self, name: str) -> None:
        """Take up a run, unless that was done."""
        if name in self._tasks:
            return
        nudge = asyncio.Event()
        task = asyncio.create_task(self._conduct(name, nudge), name=name)
        self._tasks[name], self._nudges[name] = task, nudge
        task.add_done_callback(lambda done: self._forget(name, done))

    async def cancel(self, name: str) -> Run:
        """Journal that a run is to stop, and let it notice at once."""
        stage = self._stage
        run = await asyncio.to_thread(stage.store.request_cancel, name, stage.clock.now())
        stage.audience.tell(name)
        self.nudge(name)
        return run

    def nudge(self, name: str) -> None:
        """Let a run look at once whether what it waits for has come."""
        if name in self._nudges:
            self._nudges[name].set()

    async def ended(self, name: str) -> Run:
        """Return a run once it has ended."""
        if task := self._tasks.get(name):
            await asyncio.wait([task])
        run = await asyncio.to_thread(self._stage.store.get, name)
        assert run.end_time is not None, "a bug has stopped it, and so whoever waits for it"
        return run

    async def _conduct(self, name: str, nudge: asyncio.Event) -> None:
        store = self._stage.store
        run = await asyncio.to_thread(store.get, name)
        program = read_program(await asyncio.to_thread(store.payload, name))
        outcome = await asyncio.to_thread(store.outcome, name)
        performance = Performance(self._stage, self, run, program, outcome=outcome, nudge=nudge)
        await performance.play()

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name], self._nudges[name]
        if not task.cancelled() and task.exception() is not None:
            # A bug. Going on could repeat it on the world, so the run waits for a restart.
            log.error("run.stopped", run=name, exc_info=task.exception())
