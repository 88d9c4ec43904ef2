"""Starts workers behind the bars that this machine has."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

from .errors import SandboxUnavailable
from .pool import receive

START_SECONDS = 30.0
_ROOT = Path(__file__).resolve().parent.parent


def installed_runner() -> Path:
    """Return the compiled runner of this environment; raise `SandboxUnavailable`."""
    path = Path(sys.prefix) / "share" / "actionvm" / "runner.cwasm"
    if not path.is_file():
        raise SandboxUnavailable("the runner of code is not installed: run bin/setup")
    return path


class WorkerProcess:
    """A worker, and its end of the socket."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self.reader = reader
        self.writer = writer

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    def kill(self) -> None:
        """Kill it, whatever it does."""
        self._process.kill()

    async def gone(self) -> None:
        """Wait until it is dead."""
        await asyncio.to_thread(self._process.wait)


async def start_worker() -> WorkerProcess:
    """Start a worker, and wait until it is behind bars and ready."""
    runner = installed_runner()
    ours, theirs = socket.socketpair()
    with theirs:
        argv = [sys.executable, "-I", "-c", _MAIN, str(_ROOT), str(theirs.fileno()), str(runner)]
        process = await asyncio.to_thread(
            subprocess.Popen,
            argv,
            env={},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
    reader, writer = await asyncio.open_connection(sock=ours)
    started = WorkerProcess(process, reader, writer)
    try:
        async with asyncio.timeout(START_SECONDS):
            await receive(reader)
    except BaseException:
        started.kill()
        raise
    return started


# Isolated Python does not look beside itself for modules.
_MAIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sandbox.worker import main; main()"
