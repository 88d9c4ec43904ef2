"""Fixtures: one real system for each module of tests, its command, and the board of the example."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.home import Home
from cli.services import PEER_OFFSET, ROOT, SERVICE_NAMES
from cli.state import Child, State, read_alive
from cli.supervisor import QUICK_SECONDS

EXAMPLE = ROOT / "examples" / "market-brief"
COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.02
PORTS = 20


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    output: str
    errors: str

    @property
    def documents(self) -> list[Any]:
        """Return the JSON documents of its output, one per line."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def document(self) -> Any:  # noqa: ANN401  # JSON
        """Return the one JSON document of its output."""
        (document,) = self.documents
        return document


@dataclass(frozen=True)
class System:
    """A home folder with its ports, and the real command to use on it, with its settings."""

    home: Home
    port_base: int
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """Return what its supervisor says."""
        state = read_alive(self.home)
        assert state is not None, "the supervisor runs"
        return state

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "--home", str(self.home.folder), *arguments],
            cwd=ROOT,
            env={**os.environ, **self.settings},  # noqa: TID251  # the environment of a process
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *arguments: str) -> Done:
        """Run a command to its end."""
        with self.start(*arguments) as process:
            output, errors = process.communicate(timeout=COMMAND_SECONDS)
        return Done(process.returncode, output, errors)

    def up(self) -> Done:
        """Start the system unless it runs."""
        return self.command("up", "--detach", "--port-base", str(self.port_base), "--json")

    def settle(self, service: str) -> None:
        """Wait until a service has lived long enough that its death is not its own fault."""
        process = psutil.Process(self.state.services[service].pid)
        while time.time() - process.create_time() <= QUICK_SECONDS:
            pause()

    def kill(self, service: str) -> None:
        """Kill a service as a power cut would, and return when the supervisor has noticed."""
        killed = self.state.services[service]
        assert killed.pid, f"{service} runs"
        os.kill(killed.pid, signal.SIGKILL)
        self.wait_for_child(service, restarts=killed.restarts + 1)

    def wait_for_child(self, service: str, *, restarts: int) -> Child:
        """Return a service when it has been started this often again."""
        deadline = time.monotonic() + COMMAND_SECONDS
        while (child := self.state.services[service]).restarts < restarts or not child.pid:
            assert time.monotonic() < deadline, f"{service} is not started again: {child}"
            pause()
        return child


@dataclass(frozen=True)
class Board:
    """The board of the example, as a process."""

    url: str
    data: Path

    def posts_of(self, run: str) -> list[dict[str, str]]:
        """Return the posts that a run made."""
        lines = self.data.read_text().splitlines() if self.data.exists() else []
        return [post for post in map(json.loads, lines) if post["key"].startswith(f"{run}/")]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Start a system in a home of its own, and stop it in the end."""
    with running_system({}) as made:
        yield made


@contextmanager
def running_system(settings: Mapping[str, str]) -> Iterator[System]:
    """Let a system with settings run while the block does."""
    # Not below pytest's folder, which keeps the homes of the last three runs.
    folder = Path(tempfile.mkdtemp(prefix="actionvm-"))
    made = System(Home(folder), free_port_base(), settings)
    try:
        started = made.up()
        assert started.code == 0, started.errors
        yield made
    finally:
        stopped = made.command("down")
        shutil.rmtree(folder)
        assert stopped.code == 0, stopped.errors


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, system: System) -> Iterator[Board]:
    """Start the board of the example, and make the key that signs posts."""
    data = tmp_path_factory.mktemp("board") / "posts.jsonl"
    command = [sys.executable, str(EXAMPLE / "board.py"), "--port", "0", "--data", str(data)]
    done = system.command("secrets", "put", "board-key", "--kind", "ed25519", "--generate")
    assert done.code == 0, done.errors
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        yield Board(url, data)
        process.terminate()


def free_port_base() -> int:
    """Return the first of the ports of a system, all free, and that no other test is given.

    The last port of the twenty is bound until this process ends: between here and the start of a
    service another process of tests may look for ports too.
    """
    for port_base in range(20_000, 40_000, PORTS):
        with ExitStack() as probes:
            guard = socket.socket()
            try:
                guard.bind(("127.0.0.1", port_base + PORTS - 1))
                for port in range(port_base, port_base + PEER_OFFSET + len(SERVICE_NAMES)):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                guard.close()
                continue
            atexit.register(guard.close)
            return port_base
    raise AssertionError("no free ports")


def pause() -> None:
    """Let other processes work for a moment."""
    signal.sigtimedwait((), POLL_SECONDS)


def processes_of(system: System) -> list[psutil.Process]:
    """Return every process that belongs to a home folder."""
    marker = str(system.home.folder)
    return [process for process in psutil.process_iter() if marker in _command_line(process)]


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still does anything; a zombie waits for its parent to notice."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command_line(process: psutil.Process) -> list[str]:
    try:
        command = process.cmdline()
    except psutil.Error:
        return []
    return command if "cli.supervisor" in command else []
