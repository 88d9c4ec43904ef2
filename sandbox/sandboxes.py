"""Several sandboxes as one: each code goes to the one that is made for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from .launch import start_worker
from .outcome import Examined, Outcome
from .pool import Pool
from .ports import Component, Executable, Host, Order, Sandbox


class Sandboxes:
    """A `Sandbox` of others; files and components never meet in one worker."""

    def __init__(self, *, files: Sandbox, components: Sandbox) -> None:
        self._files = files
        self._components = components

    async def examine(self, code: Executable) -> Examined:
        """Compile code and let it describe itself; see `Sandbox`."""
        return await self._of(code).examine(code)

    async def execute(self, code: Executable, order: Order, host: Host) -> Outcome:
        """Execute an action; see `Sandbox`."""
        return await self._of(code).execute(code, order, host)

    def _of(self, code: Executable) -> Sandbox:
        return self._components if isinstance(code, Component) else self._files


@asynccontextmanager
async def opened(workers: int) -> AsyncIterator[Sandboxes]:
    """Have sandboxes with so many workers each while the block runs; they start when needed."""
    files = Pool(start_worker, workers=workers)
    components = Pool(partial(start_worker, compiles=True), workers=workers)
    try:
        yield Sandboxes(files=files, components=components)
    finally:
        await files.close()
        await components.close()
