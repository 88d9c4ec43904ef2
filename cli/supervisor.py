"""Starts platform and services and starts again what dies: `python -m cli.supervisor HOME BASE`.

One process imports everything, then forks: start is five times faster and most memory is shared.
All that the kernel knows of a child is the command line of its parent, so the supervisor tells
platformd, which is a program of its own, what each child is before the child goes on.
A fork is safe only without gRPC objects and threads, so nothing here speaks to a service; whoever
called `up` asks for their health.

`up` hands over two descriptors: the lock of the home folder, which every process of the system
holds as long as it lives, and a pipe that is written to when the state can be read.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import psutil

from platformd.client import Connection, Refused
from platformd.process import birth_of

from .home import Home
from .services import (
    PLATFORM,
    PLATFORM_PASSED,
    PLATFORM_PROGRAM,
    SERVICES,
    Service,
    addresses,
    environment,
)
from .state import Child, State

# What several services import somewhere below: imported once, its pages are shared by all.
SHARED_MODULES = ("grpc.aio", "sqlmodel", "structlog", "pydantic_settings", "uvloop", "llama_cpp")

# A service that dies this young dies quickly; so many quick deaths in a row, and it stays down.
QUICK_SECONDS = 2.0
QUICK_DEATHS_MAX = 5
BACKOFF_SECONDS = 0.2
STOP_SECONDS = 8.0
# At its very first start platformd reads all sources before it answers.
VOUCH_SECONDS = 20.0
VOUCH_PAUSE_SECONDS = 0.01

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SIGNALS = (signal.SIGCHLD, *STOP_SIGNALS)
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
COMMAND_BYTES_MAX = 15


@dataclass
class Ward:
    """One process as the supervisor sees it; `due` is when to start it, None while it runs."""

    service: Service
    child: Child
    due: float | None = 0.0
    started: float = 0.0
    quick_deaths: int = 0

    def note_exit(self, status: int, now: float) -> None:
        """Decide when it starts again, if ever."""
        quick = now - self.started < QUICK_SECONDS
        self.quick_deaths = self.quick_deaths + 1 if quick else 0
        failed = self.quick_deaths >= QUICK_DEATHS_MAX
        # The first death costs nothing; then the pauses double.
        pause = BACKOFF_SECONDS * 2 ** (self.quick_deaths - 2) if self.quick_deaths > 1 else 0.0
        self.due = None if failed else now + pause
        self.child = replace(self.child, pid=0, last_exit=describe_exit(status), failed=failed)


class Supervisor:
    """Keeps platform and services alive until a signal says stop."""

    def __init__(self, home: Home, port_base: int) -> None:
        self._home = home
        self._port_base = port_base
        listen = addresses(port_base)
        self._start_seconds = psutil.Process().create_time()
        self._platform = Ward(PLATFORM, Child(str(home.platform_socket)))
        self._services = [Ward(one, Child(listen[one.name])) for one in SERVICES]
        self._wards = [self._platform, *self._services]

    def publish(self) -> None:
        """Write the state down."""
        services = {ward.service.name: ward.child for ward in self._services}
        State(
            pid=os.getpid(),
            start_seconds=self._start_seconds,
            port_base=self._port_base,
            platform=self._platform.child,
            services=services,
        ).write(self._home)

    def start_platform(self) -> None:
        """Start platformd ahead of the services, so that it is there when they ask."""
        self._start(self._platform)

    def supervise(self) -> None:
        """Start what is due, until a signal says stop; then stop everything."""
        # A stop that came while the modules were imported comes before the first fork.
        arrived = signal.sigtimedwait(SIGNALS, 0)
        while arrived is None or arrived.si_signo not in STOP_SIGNALS:
            self._reap()
            self._start_due()
            arrived = self._wait()
        self._stop()

    def _wait(self) -> signal.struct_siginfo | None:
        due = [ward.due for ward in self._wards if ward.due is not None]
        if not due:
            return signal.sigwaitinfo(SIGNALS)
        return signal.sigtimedwait(SIGNALS, max(0.0, min(due) - time.monotonic()))

    def _start_due(self) -> None:
        now = time.monotonic()
        due = [ward for ward in self._wards if ward.due is not None and ward.due <= now]
        for ward in due:
            self._start(ward)
        if due:
            self.publish()

    def _start(self, ward: Ward) -> None:
        restarts = ward.child.restarts + bool(ward.started)
        settings = environment(self._home, ward.service, self._port_base)
        log = self._home.log_file(ward.service.name)
        if ward is self._platform:
            pid = start_platform(settings | {"PLATFORMD_VOUCHED": self._vouched()}, log)
        else:
            pid = fork_service(ward.service.name, settings, log, vouch=self._vouch)
        ward.child = replace(ward.child, pid=pid, restarts=restarts)
        ward.started, ward.due = time.monotonic(), None

    def _vouched(self) -> str:
        """Return the services that run, for a platformd that has forgotten them."""
        running = [ward for ward in self._services if ward.child.pid]
        return ",".join(
            f"{ward.child.pid}:{birth_of(ward.child.pid).start_time}:{ward.service.name}"
            for ward in running
        )

    def _vouch(self, pid: int, role: str) -> None:
        """Tell platformd what a child is; one that is down is told at its next start."""
        deadline = time.monotonic() + VOUCH_SECONDS
        birth = birth_of(pid)
        while self._platform_runs() and time.monotonic() < deadline:
            try:
                connection = Connection(self._home.platform_socket, timeout_seconds=1.0)
            except OSError:
                time.sleep(VOUCH_PAUSE_SECONDS)
                continue
            with suppress(OSError, Refused), closing(connection):
                connection.ask("vouch", pid=pid, start_time=birth.start_time, role=role)
                return

    def _platform_runs(self) -> bool:
        """Return whether platformd has not ended, without taking note of its end."""
        pid, flags = self._platform.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
        return pid != 0 and os.waitid(os.P_PID, pid, flags) is None

    def _reap(self) -> None:
        reaped = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if pid == 0:
                break
            for ward in self._wards:
                if ward.child.pid == pid:
                    ward.note_exit(status, time.monotonic())
                    reaped = True
        if reaped:
            self.publish()

    def _stop(self) -> None:
        # The key manager may count until its end.
        self._end(self._services)
        self._end([self._platform])
        self._home.state_file.unlink(missing_ok=True)

    def _end(self, wards: list[Ward]) -> None:
        _signal_all(wards, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(ward.child.pid for ward in wards):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                _signal_all(wards, signal.SIGKILL)
                remaining = 1.0
            signal.sigtimedwait(SIGNALS, remaining)
            self._reap()


def _signal_all(wards: list[Ward], number: signal.Signals) -> None:
    for ward in wards:
        if ward.child.pid:
            with suppress(ProcessLookupError):
                os.kill(ward.child.pid, number)


def describe_exit(status: int) -> str:
    """Say how a process ended, such as `killed by SIGKILL`."""
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def start_platform(settings: Mapping[str, str], log: Path) -> int:
    """Start platformd as a program of its own, without our memory and our environment."""
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            die_with_parent(supervisor)
            redirect_output(log)
            own = {name: value for name, value in os.environ.items() if name in PLATFORM_PASSED}
            command = [sys.executable, "-I", "-c", PLATFORM_PROGRAM]
            os.execve(sys.executable, command, {**own, **settings})  # noqa: S606  # no shell
        finally:
            os._exit(1)
    return pid


def fork_service(
    name: str, settings: Mapping[str, str], log: Path, *, vouch: Callable[[int, str], None]
) -> int:
    """Fork, become the service in the child, and return its process id in the parent."""
    supervisor = os.getpid()
    gate, opener = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(opener)
        # Nothing is written: the end of the file says that platformd knows who this is.
        os.read(gate, 1)
        os.close(gate)
        become(name, settings, log, supervisor)
    os.close(gate)
    try:
        vouch(pid, name)
    finally:
        os.close(opener)
    return pid


def become(name: str, settings: Mapping[str, str], log: Path, supervisor: int) -> NoReturn:
    """Run the `main()` of a service in this process, and end the process with it."""
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        die_with_parent(supervisor)
        name_process(f"avm:{name}")
        redirect_output(log)
        os.environ.update(settings)
        sys.argv = [name]
        importlib.import_module(f"{name}.__main__").main()
        code = 0
    except SystemExit as exit_request:
        code = exit_request.code if isinstance(exit_request.code, int) else 1
    except BaseException:  # noqa: BLE001  # the log of the service is the place to say it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # The stack below belongs to the supervisor: this process must not return into it.
        os._exit(code)


def die_with_parent(parent: int) -> None:
    """Ask for SIGTERM when the parent dies, and stop now if it is dead already."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)


def name_process(name: str) -> None:
    """Set what `ps` and `top` show."""
    _prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()[:COMMAND_BYTES_MAX]))


def redirect_output(log: Path) -> None:
    """Append what this process writes to a file that only its owner reads."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for output in (sys.stdout, sys.stderr):
        assert isinstance(output, io.TextIOWrapper), "nobody replaces the streams of a supervisor"
        output.flush()
        os.dup2(descriptor, output.fileno())
        # What was written is in the log, also when the process is killed.
        output.reconfigure(line_buffering=True)
    os.close(descriptor)


def import_shared() -> None:
    """Import what the services need, and keep the collector from touching its pages."""
    for module in (*SHARED_MODULES, *(f"{service.name}.__main__" for service in SERVICES)):
        # What cannot be imported fails again in its own service, whose log then says why.
        with suppress(Exception, SystemExit):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()


def main() -> None:
    """Supervise until a signal says stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("port_base", type=int)
    parser.add_argument("--ready-descriptor", type=int, required=True)
    parser.add_argument("--attached-to", type=int, default=0, help="process to end with")
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    # Whatever file a service makes, a database or a log, is its owner's alone.
    os.umask(0o077)
    if arguments.attached_to:
        die_with_parent(arguments.attached_to)
    # A library that starts threads on import would make the fork unsafe.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    supervisor = Supervisor(Home(arguments.home), arguments.port_base)
    supervisor.publish()
    os.write(arguments.ready_descriptor, b"!")
    os.close(arguments.ready_descriptor)
    supervisor.start_platform()
    import_shared()
    supervisor.supervise()


def _prctl(option: int, value: object) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    main()
