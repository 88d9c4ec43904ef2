"""The clock, the network, the processes and the dice of one simulation.

Real servicers, interceptors and stubs run on top; only gRPC's transport is simulated. What can go
wrong is what goes wrong between real processes: a call is slow, its connection breaks before the
request arrives or before the response does (the channel then repeats it), a stream breaks between
two responses, and a process is killed just before or just after a commit, and started again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, event

from chassis.server import Hosted
from tests.grpc_fixtures import identities

from .loop import VirtualTimeLoop
from .transport import Channel, Handlers, collect_handlers

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
RESTART_SECONDS_MAX = 3.0

Build: TypeAlias = "Callable[[Process], AbstractAsyncContextManager[Hosted]]"


class Killed(BaseException):
    """Unwinds the code of a process that is no more. Nobody may catch it, as nobody can SIGKILL."""


@dataclass(frozen=True)
class Faults:
    """How likely each fault is, per opportunity."""

    break_probability: float = 0.0
    kill_probability: float = 0.0
    # That a request arrives a second time, some time later.
    duplicate_probability: float = 0.0
    # That from now on one caller does not reach one other for a while.
    partition_probability: float = 0.0
    partition_seconds_mean: float = 2.0
    delay_seconds_mean: float = 0.005


@dataclass(eq=False)
class Incarnation:
    """One life of a process."""

    process: Process
    random: random.Random
    alive: bool = True
    # A dictionary keeps their order, on which the rest of the simulation depends.
    tasks: dict[asyncio.Task[Any], None] = field(default_factory=dict)


_current: ContextVar[Incarnation | None] = ContextVar("incarnation", default=None)


@dataclass(eq=False)
class Process:
    """A service that can be killed and started again; its databases outlive it."""

    name: str
    world: World
    build: Build
    engines: dict[str, Engine] = field(default_factory=dict)
    handlers: Handlers | None = None
    life: Incarnation | None = None
    kill_count: int = 0

    @property
    def random(self) -> random.Random:
        """Return the dice of the present life."""
        assert self.life is not None, "the process is running"
        return self.life.random

    def engine(self, name: str, make: Callable[[], Engine]) -> Engine:
        """Return a database that outlives the process; each commit is a chance to be killed."""
        if name not in self.engines:
            self.engines[name] = make()
            self._arm(self.engines[name])
        return self.engines[name]

    def channel(self, target: str) -> Any:  # noqa: ANN401  # stands for aio.Channel
        """Return a channel to another process that carries this one's token."""
        return Channel(self.world, caller=self.name, target=target)

    def start(self) -> None:
        """Begin a new life."""
        assert self.life is None, f"{self.name} runs already"
        seed = self.world.random.getrandbits(64)
        self.life = Incarnation(self, random.Random(seed))  # dice, not keys
        self.world.note(f"{self.name} starts")
        self.spawn(self._run())

    def kill(self) -> None:
        """End this life as SIGKILL would, and begin another a while later."""
        life = self.life
        assert life is not None, "only the living can be killed"
        self.world.note(f"{self.name} killed")
        self.life, self.handlers = None, None
        self.kill_count += 1
        life.alive = False
        for task in list(life.tasks):
            task.cancel()
        delay = self.world.random.uniform(0.05, RESTART_SECONDS_MAX)
        self.world.loop.call_later(delay, self._start_again, context=Context())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as part of the present life."""
        context = Context()
        context.run(_current.set, self.life)
        return self.world.loop.create_task(work, context=context)

    def _start_again(self) -> None:
        if not self.world.over:
            self.start()

    async def _run(self) -> None:
        async with self.build(self) as hosted:
            self.handlers = await collect_handlers(hosted, identities())
            await asyncio.Event().wait()

    def _arm(self, engine: Engine) -> None:
        @event.listens_for(engine, "begin")
        def _(_connection: object) -> None:
            check_alive()

        @event.listens_for(engine, "commit")
        def _(connection: Connection) -> None:
            check_alive()
            if self.life is not None and self.world.draws(self.world.faults.kill_probability):
                if self.world.draws(0.5):
                    connection.connection.commit()
                self.kill()
                raise Killed


def check_alive() -> None:
    """Stop the code of a process that was killed: its clean-up must not reach anything."""
    life = _current.get()
    if life is not None and not life.alive:
        raise Killed


class World:
    """Everything that a simulation shares."""

    def __init__(self, seed: int, loop: VirtualTimeLoop, faults: Faults) -> None:
        self.random = random.Random(seed)  # dice, not keys
        self.loop = loop
        self.faults = faults
        self.trace: list[str] = []
        self.processes: dict[str, Process] = {}
        self.over = False
        # Until when whom does not reach whom.
        self._parted: dict[tuple[str, str], float] = {}
        loop.set_task_factory(_tracking_task)
        loop.set_exception_handler(self._report)
        self.bugs: list[BaseException] = []

    def now(self) -> datetime:
        """Return virtual time; so a world is a `Clock`."""
        return EPOCH + timedelta(seconds=self.loop.time())

    def note(self, line: str) -> None:
        """Append to the trace: the same seed gives the same trace."""
        self.trace.append(f"{self.loop.time():.6f} {line}")

    def draws(self, probability: float) -> bool:
        """Throw the dice."""
        return probability > 0 and self.random.random() < probability

    def is_parted(self, caller: str, target: str) -> bool:
        """Tell whether a caller does not reach another at this time."""
        pair = caller, target
        if self.draws(self.faults.partition_probability):
            seconds = self.random.expovariate(1 / self.faults.partition_seconds_mean)
            self._parted[pair] = self.loop.time() + seconds
            self.note(f"{caller} and {target} are parted")
        return self._parted.get(pair, 0.0) > self.loop.time()

    async def delay(self) -> None:
        """Wait as long as a message travels."""
        await asyncio.sleep(self.random.expovariate(1 / self.faults.delay_seconds_mean))

    def add(self, name: str, build: Build) -> Process:
        """Start a process."""
        process = self.processes[name] = Process(name, self, build)
        process.start()
        return process

    def channel(self, caller: str, target: str) -> Any:  # noqa: ANN401  # stands for aio.Channel
        """Return a channel for somebody outside, such as the operator."""
        return Channel(self, caller=caller, target=target)

    def _report(self, _loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self.bugs.append(error)


def _tracking_task(
    loop: asyncio.AbstractEventLoop,
    work: Any,  # noqa: ANN401  # as in asyncio
    **options: Any,  # noqa: ANN401  # as in asyncio
) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **options)
    life = (options.get("context") or copy_context()).get(_current)
    if life is not None:
        life.tasks[task] = None
        task.add_done_callback(lambda done: life.tasks.pop(done, None))
    return task


Scenario: TypeAlias = Callable[[World], Coroutine[Any, Any, None]]


def simulate(seed: int, scenario: Scenario, faults: Faults) -> World:
    """Run a scenario to its end and return its world. The seed decides everything."""
    loop = VirtualTimeLoop()
    asyncio.set_event_loop(loop)
    try:
        world = World(seed, loop, faults)
        loop.run_until_complete(scenario(world))
        world.over = True
        loop.run_until_complete(_end(world))
        return world
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _end(world: World) -> None:
    lives = [process.life for process in world.processes.values() if process.life]
    tasks = [task for life in lives for task in life.tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for process in world.processes.values():
        for engine in process.engines.values():
            engine.dispose()
