"""Workers that execute code, as many at once as the machine has cores for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from socket import socket
from typing import Any, Protocol

from chassis.log import log

from .errors import SandboxUnavailable
from .frames import Broken
from .lanes import Lane, Lost
from .limits import Limits
from .orders import ArgumentsTooLarge, CodeTooLarge, Mute, examine_order, execute_order
from .outcome import Examined, Flaw, Outcome, Reason
from .ports import Component, Executable, Host, Order, Suspended
from .reading import Done, read_examined, read_outcome
from .wasm import ComponentRefused, check_component

# A worker is replaced after so many executions, so that nothing can pile up in it.
EXECUTIONS_MAX = 1_000
# At once in one worker; a limit of memory, since each may take what its limits say.
SESSIONS_MAX = 16
# Executions that have lost their worker are tried again in one of their own, so many at once.
ALONE_MAX = 2
_EXAMINE = Limits(fuel=20_000_000_000)
# An honest component of the largest size takes some seconds.
COMPILE_SECONDS = 15.0
# Of which it is remembered whether they compile.
_COMPONENTS_MAX = 1_000


class Process(Protocol):
    """A process behind bars."""

    @property
    def channels(self) -> Sequence[socket]:
        """Return our ends of its sockets, on each of which it serves one execution at a time."""

    def kill(self) -> None:
        """Kill it, whatever it does."""

    async def gone(self) -> None:
        """Wait until it is dead."""


class _Worker:
    """One process, and its lanes."""

    def __init__(self, process: Process, freed: Callable[[], None]) -> None:
        self._process = process
        self._freed = freed
        self._lanes: list[Lane] = []
        self._idle: list[Lane] = []
        self.count = 0
        self.is_lost = False

    @property
    def load(self) -> int:
        """Return how much is under way."""
        return len(self._lanes) - len(self._idle)

    async def connect(self) -> None:
        """Connect its lanes, or end it."""
        loop = asyncio.get_running_loop()
        try:
            await self._connect(loop)
        except BaseException:
            await self.close()
            raise

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        for channel in self._process.channels:
            _, lane = await loop.create_connection(
                lambda: Lane(self._free, self._fail), sock=channel
            )
            self._lanes.append(lane)
            self._idle.append(lane)

    def take(self) -> Lane:
        """Return a lane that is free; it comes back by itself."""
        self.count += 1
        lane = min(self._idle, key=lambda one: one.delay)
        self._idle.remove(lane)
        return lane

    def kill(self) -> None:
        """End it; what is under way is lost."""
        self.is_lost = True
        self._process.kill()
        for lane in self._lanes:
            lane.close()
        for channel in self._process.channels[len(self._lanes) :]:
            channel.close()

    async def close(self) -> None:
        """End it, and wait until it is gone."""
        self.kill()
        await self._process.gone()

    def _free(self, lane: Lane) -> None:
        self._idle.append(lane)
        self._freed()

    def _fail(self, told: str) -> None:
        """End it, since it died, or says what no worker says."""
        if not self.is_lost:
            log.warning("sandbox.worker_lost", error=told[:200])
            self.kill()


class Pool:
    """A `Sandbox` of workers; they start when they are needed."""

    def __init__(
        self,
        start: Callable[[], Awaitable[Process]],
        *,
        workers: int,
        sessions: int = SESSIONS_MAX,
        compile_seconds: float = COMPILE_SECONDS,
    ) -> None:
        self._start = start
        self._workers_max = workers
        self._workers: list[_Worker] = []
        # Those that have one execution for themselves.
        self._lonely: list[_Worker] = []
        self._alone = asyncio.Semaphore(ALONE_MAX)
        self._starting = asyncio.Lock()
        self._is_closed = False
        self._compile = Limits(wall_seconds=compile_seconds, compute_seconds=0.0)
        # What is wrong with components that were compiled once, by digest; of most, nothing.
        self._compiled: OrderedDict[str, str] = OrderedDict()
        # Each worker has so many channels.
        self._room = asyncio.Semaphore(workers * sessions)

    async def close(self) -> None:
        """End all workers."""
        self._is_closed = True
        async with self._starting:
            workers, self._workers = [*self._workers, *self._lonely], []
        await asyncio.gather(*(worker.close() for worker in workers))

    async def examine(self, code: Executable) -> Examined:
        """Compile code and let it describe itself; see `Sandbox`."""
        try:
            order = examine_order(code, _EXAMINE)
            await self._accept(code)
        except CodeTooLarge as error:
            return Examined(flaws=(Flaw("failed", str(error), code.main),))
        except ComponentRefused as refused:
            return Examined(flaws=(Flaw(refused.kind, refused.told, code.main),))
        return read_examined(await self._run(order, Mute(), _EXAMINE), code)

    async def execute(self, code: Executable, order: Order, host: Host) -> Outcome:
        """Execute an action; see `Sandbox`."""
        try:
            message = execute_order(code, order)
            await self._accept(code)
        except ArgumentsTooLarge:
            return Outcome(reason=Reason.ARGUMENTS_EXCEEDED)
        except (CodeTooLarge, ComponentRefused) as error:
            return Outcome(reason=Reason.CODE_INVALID, message=str(error))
        return read_outcome(await self._run(message, host, order.limits), order)

    async def _accept(self, code: Executable) -> None:
        """Have a component compiled that was not seen before; raise `ComponentRefused`."""
        if not isinstance(code, Component):
            return
        if code.sha256 not in self._compiled:
            check_component(code.wasm)
            order = {**examine_order(code, self._compile), "compile": True}
            done = await self._run(order, Mute(), self._compile)
            told = done.message or (_HARD if done.reason else "")
            # Each try of one that is hard to compile costs a worker.
            self._compiled[code.sha256] = told
            if len(self._compiled) > _COMPONENTS_MAX:
                self._compiled.popitem(last=False)
        if told := self._compiled[code.sha256]:
            raise ComponentRefused("syntax", told)

    async def _run(self, order: Mapping[str, Any], host: Host, limits: Limits) -> Done:
        lane = await self._lane()
        try:
            return await lane.run(order, host, limits)
        except Lost:
            return await self._run_alone(order, host, limits)

    async def _run_alone(self, order: Mapping[str, Any], host: Host, limits: Limits) -> Done:
        """Try again where nobody else is: whoever loses that worker, too, is to blame for it."""
        async with self._alone:
            async with self._starting:
                worker = await self._started(lambda: None)
                self._lonely.append(worker)
            try:
                return await worker.take().run(order, host, limits)
            except Lost:
                return Done(reason=Reason.WORKER_LOST)
            finally:
                self._lonely.remove(worker)
                await worker.close()

    async def _lane(self) -> Lane:
        """Wait for a lane, which gives its room back itself."""
        await self._room.acquire()
        try:
            worker = await self._worker()
        except BaseException:
            self._room.release()
            raise
        return worker.take()

    async def _worker(self) -> _Worker:
        """Return the worker that has the least to do."""
        async with self._starting:
            await self._retire()
            young = [one for one in self._workers if one.count < EXECUTIONS_MAX and not one.is_lost]
            free = min(young, key=lambda one: one.load, default=None)
            if free is None or (free.load and len(young) < self._workers_max):
                free = await self._started(self._room.release)
                self._workers.append(free)
            return free

    async def _started(self, freed: Callable[[], None]) -> _Worker:
        if self._is_closed:
            raise SandboxUnavailable("the sandbox is closed")
        try:
            worker = _Worker(await self._start(), freed)
            await worker.connect()
        except (OSError, EOFError, TimeoutError, Broken) as error:
            raise SandboxUnavailable(f"no worker starts: {error}") from error
        return worker

    async def _retire(self) -> None:
        """Let go of workers that are lost, or have done enough."""
        spent = [one for one in self._workers if one.count >= EXECUTIONS_MAX and not one.load]
        for worker in [*spent, *(one for one in self._workers if one.is_lost)]:
            if worker in self._workers:
                self._workers.remove(worker)
                await worker.close()


_HARD = "it takes too long, or too much memory, to compile: make its functions smaller"

__all__ = ["Lost", "Pool", "Process", "Suspended"]
