"""Starting and stopping a system from outside: the lock, the ports, the supervisor, the end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from .errors import CommandError, ExitCode
from .home import Home
from .services import HOST, PLATFORM_PROGRAM, ROOT, SERVICE_NAMES, addresses
from .state import State, read_alive, read_state

# A supervisor gives its services 8 seconds, then kills them.
STOP_SECONDS = 12.0
POLL_SECONDS = 0.02
PORT_MAX = 65_535
SUPERVISOR = "supervisor"


@dataclass(frozen=True)
class Started:
    """A system that is up or on its way up; `is_new` says that this call started it."""

    state: State
    is_new: bool


async def start(home: Home, port_base: int, *, attached: bool) -> Started:
    """Start a supervisor unless one runs; `attached` ends it together with this process."""
    check_port_base(port_base)
    deadline = time.monotonic() + STOP_SECONDS
    with _lock(home) as lock:
        # Whoever holds the lock is a system that runs, one that starts, or one that is ending.
        while not await _take(lock, 0):
            running = read_alive(home)
            if running is not None:
                return Started(running, is_new=False)
            if time.monotonic() > deadline:
                raise _left_over(home)
            await asyncio.sleep(POLL_SECONDS)
        home.prepare(SERVICE_NAMES)
        check_ports(port_base)
        _spawn(home, port_base, lock, attached=attached)
    state = read_alive(home)
    if state is None:
        raise _dead_supervisor(home)
    return Started(state, is_new=True)


async def stop(home: Home) -> bool:
    """Stop the system and wait for its last process; return whether there was anything to stop."""
    if not home.lock_file.exists():
        return False
    with _lock(home) as lock:
        if await _take(lock, 0):
            home.state_file.unlink(missing_ok=True)
            return False
        _signal_system(home, signal.SIGTERM)
        if not await _take(lock, STOP_SECONDS):
            _signal_system(home, signal.SIGKILL)
            if not await _take(lock, STOP_SECONDS):
                raise _left_over(home)
        home.state_file.unlink(missing_ok=True)
    return True


def check_port_base(port_base: int) -> None:
    """Refuse a base whose six ports are not all ports."""
    least, most = 1024, PORT_MAX - len(SERVICE_NAMES) + 1
    if not least <= port_base <= most:
        raise CommandError(
            f"the base port is {port_base}; it must be {least} to {most}",
            reason="INVALID_FIELD",
            field="--port-base",
        )


def check_ports(port_base: int) -> None:
    """Refuse to start when somebody listens on one of the ports, and say who it is."""
    for name, address in addresses(port_base).items():
        port = int(address.rpartition(":")[2])
        if is_free(port):
            continue
        raise CommandError(
            f"port {port}, which {name} needs, is taken{_describe_owner(port)}",
            reason="PORT_TAKEN",
            field="--port-base",
            fix=f"stop it, or take others: actionvm up --detach --port-base {port_base + 100}",
        )


def is_free(port: int) -> bool:
    """Return whether this port can be listened on now."""
    with socket.socket() as probe:
        # As servers do: a connection that lingers from before does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
    return True


def _describe_owner(port: int) -> str:
    """Say who listens, as far as this user may know."""
    try:
        listeners = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
        ]
        pid = next((pid for pid in listeners if pid), None)
        if pid is None:
            return ""
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return ""
    if "cli.supervisor" in command:
        other = command[command.index("cli.supervisor") + 1]
        return f" by another ActionVM (stop it with: actionvm --home {other} down)"
    program = Path(command[0]).name if command else "?"
    return f" by process {pid} ({' '.join([program, *command[1:3]])})"


@contextmanager
def _lock(home: Home) -> Iterator[int]:
    """Open the lock file; what was taken is given back unless a child process inherited it."""
    home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def _take(lock: int, seconds: float) -> bool:
    """Take the lock, which is free when every process of the last system has ended."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)


def _spawn(home: Home, port_base: int, lock: int, *, attached: bool) -> None:
    """Start the supervisor in a session of its own, and return when its state can be read.

    Only the main thread may do this: an attached supervisor ends with the thread that started it.
    """
    ready, tell_ready = os.pipe()
    # What it imports must not depend on where and how the command was called: platformd gives a
    # role only to services of which that is known.
    command = [sys.executable, "-P", "-m", "cli.supervisor", str(home.folder), str(port_base)]
    paths = {"PYTHONPATH": str(ROOT)}
    command += ["--ready-descriptor", str(tell_ready)]
    if attached:
        command += ["--attached-to", str(os.getpid())]
    log = os.open(home.log_file(SUPERVISOR), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **paths},  # noqa: TID251  # the environment of a child process
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock, tell_ready),
        )
    finally:
        os.close(log)
        os.close(tell_ready)
    with os.fdopen(ready, "rb") as pipe:
        if not pipe.read(1):
            raise _dead_supervisor(home)


def _signal_system(home: Home, number: signal.Signals) -> None:
    state = read_state(home)
    if state is None:
        return
    pids = [state.pid] if state.is_alive else []
    if number == signal.SIGKILL or not pids:
        pids += [
            child.pid for child in state.children.values() if child.pid and _is_ours(child.pid)
        ]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _is_ours(pid: int) -> bool:
    """Return whether a process is a supervisor's: its number may be somebody else's by now."""
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return "cli.supervisor" in command or PLATFORM_PROGRAM in command


def _left_over(home: Home) -> CommandError:
    return CommandError(
        f"a process of the last system does not end; it holds {home.lock_file}",
        reason="PROCESS_LEFT_OVER",
        fix=f"find it with: fuser {home.lock_file}",
        exit_code=ExitCode.UNREACHABLE,
    )


def _dead_supervisor(home: Home) -> CommandError:
    return CommandError(
        "the supervisor died at its start: " + " / ".join(home.tail(SUPERVISOR, 3)),
        reason="SUPERVISOR_FAILED",
        fix=f"see {home.log_file(SUPERVISOR)}, or run: actionvm doctor",
        exit_code=ExitCode.UNREACHABLE,
    )
