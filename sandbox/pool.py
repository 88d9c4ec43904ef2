"""Workers that execute code, as many at once as the machine has cores for."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from chassis.log import log

from . import frames
from .errors import SandboxUnavailable
from .limits import Limits
from .outcome import Examined, Outcome, Reason
from .ports import Answer, Asked, Code, Host, Order, Suspended
from .reading import read_asked, read_examined, read_outcome

# A worker is replaced after so many executions, so that nothing can pile up in it.
EXECUTIONS_MAX = 1_000
# At once in one worker; a limit of memory, since each may take what its limits say.
SESSIONS_MAX = 16
# Who has lost its worker so often is to blame for it.
TRIES_MAX = 2
# Beyond the time of an execution, after which its worker is not believed to end it.
GRACE_SECONDS = 2.0
_EXAMINE = Limits(fuel=20_000_000_000)


class Process(Protocol):
    """A process behind bars, and the connection to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def kill(self) -> None:
        """Kill it, whatever it does."""

    async def gone(self) -> None:
        """Wait until it is dead."""


class Lost(Exception):
    """A worker died while it executed something."""


@dataclass(eq=False)
class _Session:
    """One execution in one worker."""

    number: int
    host: Host
    done: asyncio.Future[dict[str, Any]]
    asking: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        """Tell whether its worker has said how it ended."""
        return self.done.done() and not self.done.cancelled() and not self.done.exception()


class _Worker:
    """One process, and what is under way in it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sessions: dict[int, _Session] = {}
        self._numbers = itertools.count(1)
        self.count = 0
        self.is_lost = False
        self._reading = asyncio.create_task(self._read())

    @property
    def load(self) -> int:
        """Return how much is under way."""
        return len(self._sessions)

    async def run(self, message: Mapping[str, Any], host: Host, seconds: float) -> dict[str, Any]:
        """Have a message carried out; raise `Lost`, and whatever the host raises."""
        self.count += 1
        number = next(self._numbers)
        session = _Session(number, host, asyncio.get_running_loop().create_future())
        self._sessions[number] = session
        try:
            self._send({**message, "id": number, "now": host.now()})
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                return await session.done
        except TimeoutError:
            log.warning("sandbox.stuck")
            self.kill()
            return {"reason": Reason.TIME_EXCEEDED}
        finally:
            if not session.is_over:
                # Nobody waits for it any more: it ends where it asks next.
                self._send({"id": number, "answers": "[]", "now": 0.0, "stop": True})
            for task in session.asking:
                task.cancel()
            self._sessions.pop(number, None)

    def kill(self) -> None:
        """End it; what is under way is lost."""
        self.is_lost = True
        self._process.kill()

    async def close(self) -> None:
        """End it, and wait until it is gone."""
        self.kill()
        await self._process.gone()
        await asyncio.gather(self._reading, return_exceptions=True)

    def _send(self, message: dict[str, Any]) -> None:
        if not self.is_lost:
            self._process.writer.write(frames.pack(message))

    async def _read(self) -> None:
        try:
            while True:
                self._take(await receive(self._process.reader))
        except (OSError, EOFError, frames.Broken, KeyError, TypeError, ValueError) as error:
            # It died, or it says what no worker says: it is not ours any more.
            if not self.is_lost:
                log.warning("sandbox.worker_lost", error=repr(error)[:200])
        finally:
            self.kill()
            for session in self._sessions.values():
                if not session.done.done():
                    session.done.set_exception(Lost())
            self._process.writer.close()

    def _take(self, message: dict[str, Any]) -> None:
        number = message["id"]
        session = self._sessions.get(number)
        if session is None:
            return
        if "ask" in message:
            asked = read_asked(message["ask"])
            task = asyncio.create_task(self._ask(session, asked))
            session.asking.add(task)
        elif not session.done.done():
            session.done.set_result(dict(message["done"]))

    async def _ask(self, session: _Session, asked: list[Asked] | str) -> None:
        try:
            if isinstance(asked, str):
                answers = [Answer(reason="CALL_INVALID", message=asked)]
            else:
                answers = [*await session.host.ask(asked)]
        except Exception as error:  # noqa: BLE001  # whoever executes is told
            if not session.done.done():
                session.done.set_exception(error)
            return
        self._answer(session, answers)

    def _answer(self, session: _Session, answers: list[Answer]) -> None:
        told = json.dumps([asdict(one) for one in answers])
        self._send({"id": session.number, "answers": told, "now": session.host.now()})


class Pool:
    """A `Sandbox` of workers; they start when they are needed."""

    def __init__(self, start: Callable[[], Awaitable[Process]], *, workers: int) -> None:
        self._start = start
        self._workers_max = workers
        self._workers: list[_Worker] = []
        self._starting = asyncio.Lock()
        self._room = asyncio.Semaphore(workers * SESSIONS_MAX)

    async def close(self) -> None:
        """End all workers."""
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.close() for worker in workers))

    async def examine(self, code: Code) -> Examined:
        """Compile code and let it describe itself; see `Sandbox`."""
        message = {"files": dict(code.files), "main": code.main, "limits": asdict(_EXAMINE)}
        done = await self._run(message, _Mute(), _EXAMINE.wall_seconds)
        return read_examined(done, code)

    async def execute(self, code: Code, order: Order, host: Host) -> Outcome:
        """Execute an action; see `Sandbox`."""
        message = {
            "files": dict(code.files),
            "main": code.main,
            "limits": asdict(order.limits),
            "action": order.action,
            "arguments": dict(order.arguments),
            "seed": order.seed,
        }
        if len(json.dumps(message["arguments"]).encode()) > order.limits.argument_bytes:
            return Outcome(reason=Reason.ARGUMENTS_EXCEEDED)
        return read_outcome(await self._run(message, host, order.limits.wall_seconds), order)

    async def _run(self, message: Mapping[str, Any], host: Host, seconds: float) -> dict[str, Any]:
        async with self._room:
            for _ in range(TRIES_MAX):
                worker = await self._worker()
                try:
                    return await worker.run(message, host, seconds)
                except Lost:
                    continue
        return {"reason": Reason.WORKER_LOST}

    async def _worker(self) -> _Worker:
        """Return the worker that has the least to do."""
        async with self._starting:
            await self._retire()
            free = min(self._workers, key=lambda one: one.load, default=None)
            if free is None or (free.load and len(self._workers) < self._workers_max):
                try:
                    free = _Worker(await self._start())
                except (OSError, EOFError, TimeoutError, frames.Broken) as error:
                    raise SandboxUnavailable(f"no worker starts: {error}") from error
                self._workers.append(free)
            return free

    async def _retire(self) -> None:
        """Let go of workers that are lost, or have done enough."""
        spent = [one for one in self._workers if one.count >= EXECUTIONS_MAX and not one.load]
        for worker in [*spent, *(one for one in self._workers if one.is_lost)]:
            if worker in self._workers:
                self._workers.remove(worker)
                await worker.close()


class _Mute:
    """A host that answers nothing."""

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        """Refuse."""
        return [Answer(reason="DENIED", message="nothing is answered here")] * len(calls)

    def now(self) -> float:
        """Return the beginning of time."""
        return 0.0


async def receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Read a message; raise `EOFError` at the end, and `Broken`."""
    header = await reader.readexactly(frames.HEADER.size)
    return frames.unpack(await reader.readexactly(frames.size_of(header)))


__all__ = ["Lost", "Pool", "Process", "Suspended", "receive"]
