"""Executes code in CPython outside of WebAssembly, one process for each execution.

It is for code that the operator has approved because it needs native wheels (`choosing.py`): the
jail is its only wall. Fuel is time of the processor here, so it is never the same twice.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .errors import SandboxUnavailable
from .frames import Broken
from .lanes import Lane, Lost
from .launch import WorkerProcess, sdk_folder, start_process, surveyed
from .limits import MEBIBYTE, Limits
from .orders import ArgumentsTooLarge, CodeTooLarge, Mute, examine_order, execute_order
from .outcome import Examined, Flaw, Outcome, Reason
from .ports import Component, Executable, Host, Order
from .reading import Done, read_examined, read_outcome

_EXAMINE = Limits(fuel=20_000_000_000, memory_bytes=256 * MEBIBYTE)
# It ends by itself as soon as its end of the socket is closed.
_END_SECONDS = 5.0
_NO_COMPONENTS = "a component is executed in WebAssembly only"
_OUT_OF_TIME = {signal.SIGPROF, signal.SIGXCPU}
# What bubblewrap adds to the signal that ended the process in it.
_SIGNALLED = 128


async def start_native() -> WorkerProcess:
    """Start a process for one execution; raise `SandboxUnavailable`."""
    survey = await asyncio.to_thread(surveyed)
    sdk = sdk_folder()
    arguments = [str(survey.layers), str(sdk)]
    return await start_process("sandbox.native_worker", arguments, sessions=1, readable=[sdk])


class Native:
    """A `Sandbox` of processes, so many of which run at once."""

    def __init__(self, start: Callable[[], Awaitable[WorkerProcess]], *, processes: int) -> None:
        self._start = start
        self._room = asyncio.Semaphore(processes)

    async def examine(self, code: Executable) -> Examined:
        """Compile code and let it describe itself; see `Sandbox`."""
        if isinstance(code, Component):
            return Examined(flaws=(Flaw("failed", _NO_COMPONENTS, code.main),))
        try:
            order = examine_order(code, _EXAMINE)
        except CodeTooLarge as error:
            return Examined(flaws=(Flaw("failed", str(error), code.main),))
        return read_examined(await self._run(order, Mute(), _EXAMINE), code)

    async def execute(self, code: Executable, order: Order, host: Host) -> Outcome:
        """Execute an action; see `Sandbox`."""
        if isinstance(code, Component):
            return Outcome(reason=Reason.CODE_INVALID, message=_NO_COMPONENTS)
        try:
            message = execute_order(code, order)
        except ArgumentsTooLarge:
            return Outcome(reason=Reason.ARGUMENTS_EXCEEDED)
        except CodeTooLarge as error:
            return Outcome(reason=Reason.CODE_INVALID, message=str(error))
        return read_outcome(await self._run(message, host, order.limits), order)

    async def _run(self, order: Mapping[str, Any], host: Host, limits: Limits) -> Done:
        async with self._room:
            try:
                process = await self._start()
            except (OSError, EOFError, TimeoutError, Broken) as error:
                raise SandboxUnavailable(f"no process starts: {error}") from error
            try:
                return await _executed(process, order, host, limits)
            finally:
                process.kill()
                await process.gone()


async def _executed(
    process: WorkerProcess, order: Mapping[str, Any], host: Host, limits: Limits
) -> Done:
    loop = asyncio.get_running_loop()
    refused: list[str] = []

    def fail(told: str) -> None:
        refused.append(told)
        lane.close()

    _, lane = await loop.create_connection(
        lambda: Lane(lambda _: None, fail), sock=process.channels[0]
    )
    deadline = asyncio.timeout(limits.wall_seconds)
    try:
        async with deadline:
            return await lane.run(order, host, limits)
    except TimeoutError:
        if not deadline.expired():
            raise
        return Done(reason=Reason.TIME_EXCEEDED, fuel=limits.fuel)
    except Lost:
        return await _ended(process, limits)
    finally:
        lane.close()


async def _ended(process: WorkerProcess, limits: Limits) -> Done:
    """Return why a process has ended that did not say so."""
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.gone()
    except TimeoutError:
        # It said what no worker says.
        return Done(reason=Reason.WORKER_LOST, fuel=limits.fuel)
    assert process.status is not None, "it is gone"
    number = -process.status if process.status < 0 else process.status - _SIGNALLED
    if number in _OUT_OF_TIME:
        return Done(reason=Reason.FUEL_EXHAUSTED, fuel=limits.fuel)
    told = signal.strsignal(number) if number > 0 else None
    message = f"its process ended by itself: {told or process.status}"
    return Done(reason=Reason.TRAPPED, message=message, fuel=limits.fuel)
