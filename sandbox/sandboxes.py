"""Several sandboxes as one: each code goes to the one that is made for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from .choosing import Wall, choose
from .jail import Survey
from .launch import start_worker, surveyed
from .native import Native, start_native
from .outcome import Examined, Outcome
from .pool import Pool
from .ports import Executable, Host, Order, Sandbox


class Sandboxes:
    """A `Sandbox` of others; code that is told apart never meets in one worker."""

    def __init__(
        self, sandboxes: Mapping[Wall, Sandbox], *, native: frozenset[str], survey: Survey
    ) -> None:
        self._sandboxes = sandboxes
        self._native = native
        self._survey = survey

    async def examine(self, code: Executable) -> Examined:
        """Compile code and let it describe itself; see `Sandbox`."""
        return await self._of(code).examine(code)

    async def execute(self, code: Executable, order: Order, host: Host) -> Outcome:
        """Execute an action; see `Sandbox`."""
        return await self._of(code).execute(code, order, host)

    def _of(self, code: Executable) -> Sandbox:
        return self._sandboxes[choose(code, native=self._native, survey=self._survey)]


@asynccontextmanager
async def opened(workers: int, *, native: frozenset[str] = frozenset()) -> AsyncIterator[Sandboxes]:
    """Have sandboxes with so many workers each while the block runs; they start when needed."""
    files = Pool(start_worker, workers=workers)
    components = Pool(partial(start_worker, compiles=True), workers=workers)
    sandboxes: dict[Wall, Sandbox] = {
        Wall.FILES: files,
        Wall.COMPONENTS: components,
        Wall.NATIVE: Native(start_native, processes=workers),
    }
    try:
        yield Sandboxes(sandboxes, native=native, survey=await asyncio.to_thread(surveyed))
    finally:
        await files.close()
        await components.close()
