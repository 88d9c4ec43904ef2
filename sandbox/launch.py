"""Starts workers behind the bars that this machine has."""

from __future__ import annotations

import asyncio
import functools
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import jail
from .errors import SandboxUnavailable
from .frames import Kind
from .incoming import Incoming
from .pool import SESSIONS_MAX
from .roles import COMPILES, EXECUTES

START_SECONDS = 30.0
_ROOT = Path(__file__).resolve().parent.parent
_READY_BYTES = 4_096
# What a worker imports of ours; it sees nothing else of this folder.
_PACKAGES = ("chassis", "sandbox")


def installed_runner() -> Path:
    """Return the compiled runner of this environment; raise `SandboxUnavailable`."""
    path = Path(sys.prefix) / "share" / "actionvm" / "runner.cwasm"
    if not path.is_file():
        raise SandboxUnavailable("the runner of code is not installed: run bin/setup")
    return path


def sdk_folder() -> Path:
    """Return where the package is that code is written with."""
    return _ROOT / "sdk"


@functools.cache
def surveyed() -> jail.Survey:
    """Return which bars this machine has."""
    return jail.survey()


class WorkerProcess:
    """A worker, and our ends of its sockets."""

    def __init__(self, process: subprocess.Popen[bytes], channels: Sequence[socket.socket]) -> None:
        self._process = process
        self.channels = channels

    @property
    def pid(self) -> int:
        """Return the number of its process, or of the bars around it."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Return what it, or the bars around it, ended with."""
        return self._process.returncode

    def kill(self) -> None:
        """Kill it, whatever it does."""
        self._process.kill()

    async def gone(self) -> None:
        """Wait until it is dead."""
        await asyncio.to_thread(self._process.wait)


async def start_worker(
    sessions: int = SESSIONS_MAX, *, runner: Path | None = None, compiles: bool = False
) -> WorkerProcess:
    """Start a worker, and wait until it is behind bars and ready; raise `SandboxUnavailable`.

    One that `compiles` executes components, too; its memory may become executable.
    """
    runner = runner or installed_runner()
    survey = await asyncio.to_thread(surveyed)
    arguments = [str(runner), str(survey.layers), COMPILES if compiles else EXECUTES]
    return await start_process("sandbox.worker", arguments, sessions=sessions, readable=[runner])


async def start_process(
    module: str, arguments: Sequence[str], *, sessions: int, readable: Sequence[Path]
) -> WorkerProcess:
    """Start `main` of a module in bubblewrap; its first argument are the sockets that it serves."""
    survey = await asyncio.to_thread(surveyed)
    pairs = [socket.socketpair() for _ in range(sessions)]
    theirs = [their.fileno() for _, their in pairs]
    argv = [
        *(sys.executable, "-I", "-c", _MAIN, str(_ROOT), module),
        *(",".join(map(str, theirs)), *arguments),
    ]
    always = [*jail.interpreter_paths(), *(_ROOT / name for name in _PACKAGES)]
    # From this thread, since bubblewrap ends with the one that started it.
    process = subprocess.Popen(  # noqa: ASYNC220  # it takes a millisecond
        jail.command(survey, argv, readable=[*always, *readable], descriptors=theirs),
        env={},
        pass_fds=theirs,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    started = WorkerProcess(process, [ours for ours, _ in pairs])
    for ours, their in pairs:
        their.close()
        ours.setblocking(False)  # noqa: FBT003  # its name for it
    try:
        async with asyncio.timeout(START_SECONDS):
            await _ready(started.channels[0])
    except BaseException:
        started.kill()
        for channel in started.channels:
            channel.close()
        await started.gone()
        raise
    return started


async def _ready(channel: socket.socket) -> None:
    told = await asyncio.get_running_loop().sock_recv(channel, _READY_BYTES)
    messages = [*Incoming().feed(told)]
    if messages != [(Kind.READY, b"")]:
        said = messages[0][1].decode() if messages else "it ended before it was ready"
        raise SandboxUnavailable(f"no worker starts: {said}")


# Isolated Python does not look beside itself for modules.
_MAIN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "import importlib; importlib.import_module(sys.argv.pop(1)).main()"
)
