"""A sandbox of this machine, for as long as one command needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox.errors import SandboxUnavailable
from sandbox.launch import start_worker
from sandbox.outcome import Described
from sandbox.pool import Pool
from sandbox.ports import Sandbox

from ..errors import CommandError, ExitCode
from .flaws import problems_of
from .sources import Authored


@asynccontextmanager
async def open_sandbox() -> AsyncIterator[Sandbox]:
    """Give a sandbox; nothing of it is left afterwards."""
    pool = Pool(start_worker, workers=1)
    try:
        yield pool
    except SandboxUnavailable as error:
        raise CommandError(
            str(error),
            reason="SANDBOX_UNAVAILABLE",
            exit_code=ExitCode.UNREACHABLE,
            fix="actionvm doctor says what this machine lacks",
        ) from error
    finally:
        await pool.close()


async def find_actions(sandbox: Sandbox, authored: Authored) -> dict[str, Described]:
    """Return the actions of code by their names; raise `CommandError` with all that is wrong."""
    examined = await sandbox.examine(authored.code)
    if problems := problems_of(authored, examined):
        raise CommandError(
            f"{authored.code.main} cannot be executed",
            reason="CODE_INVALID",
            fix="actionvm action check FILE shows the lines",
            problems=problems,
        )
    return {one.name: one for one in examined.actions}
