"""A sandbox without walls, for tests of what surrounds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from chassis.canonical import Json
from sandbox.outcome import Examined, Outcome
from sandbox.ports import Executable, Host, Order

Script: TypeAlias = Callable[[Order, Host], Awaitable[Json]]


class ScriptedSandbox:
    """`Sandbox` in which all code does what a function of the test does."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.count = 0

    async def examine(self, code: Executable) -> Examined:
        return Examined()

    async def execute(self, code: Executable, order: Order, host: Host) -> Outcome:
        self.count += 1
        host.begin()
        return Outcome(await self._script(order, host), fuel=1_500, logs=("done",))
