"""A worker that confined itself can do its work and nothing else."""

from __future__ import annotations

import functools
import os
import re
import socket
from pathlib import Path
from typing import TypeAlias

import pytest

from sandbox import kernel
from sandbox.confinement import NOBODY
from sandbox.jail import Survey

from .attacks import attacks
from .labours import labours
from .prison import Ended, imprison
from .prisoner import ABORT, LOADING, REFUSED, THREADED, TWICE, UNCONFINED, WATCHED

MACHINE = os.uname().machine
ATTACKS = sorted(attacks(MACHINE))
with socket.socket() as _unused:
    LABOURS = sorted(labours(_unused))
# What anybody may do who is not confined, in a container as well.
ORDINARY = (
    *("open a file", "list a folder", "look at a file", "create a file", "make a folder"),
    *("socket of the network", "socket of this machine", "pair of sockets", "start a program"),
    *(
        "connect to the parent",
        "fork",
        "signal to the parent",
        "pipe",
        "change folder",
        "take a core",
        "map code",
    ),
    "make memory executable",
)
# What Landlock alone takes away, with the error that it gives.
TAKEN_BY_LANDLOCK = (
    *("open a file", "open own memory", "open own environment", "open memory of the parent"),
    *("list a folder", "create a file", "make a folder"),
)
SCOPES_SINCE = 6

# What a prisoner tells: how each attack and each labour ended, and its variables.
Told: TypeAlias = "dict[str, dict[str, str]]"

pytestmark = pytest.mark.skipif(not kernel.has_seccomp(), reason="this kernel takes no filter")


@functools.cache
def imprisoned(survey: Survey, layers: str) -> Ended:
    """Let a prisoner try everything once."""
    ended = imprison(survey, layers)
    assert ended.code == 0, ended.errors
    assert isinstance(ended.told, dict), ended.told
    return ended


@pytest.fixture(params=["seccomp", "landlock", "bubblewrap"])
def told(request: pytest.FixtureRequest, surveyed: Survey, bare: Survey) -> Told:
    """Return what a prisoner tells behind a filter alone, and with each wall behind it."""
    if request.param == "bubblewrap" and not surveyed.bubblewrap:
        pytest.skip("bubblewrap is not there: actionvm doctor says why")
    if request.param == "landlock" and not bare.landlock:
        pytest.skip("this kernel has no Landlock")
    machine = surveyed if request.param == "bubblewrap" else bare
    layers = "seccomp" if request.param == "seccomp" else str(machine.layers)
    told: Told = imprisoned(machine, layers).told
    return told


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_fails(told: Told, attack: str) -> None:
    assert told["attacks"][attack] == "EPERM"


@pytest.mark.parametrize("labour", LABOURS)
def test_work_goes_on(told: Told, labour: str) -> None:
    assert told["labours"][labour] == "done"


def test_the_environment_is_empty(told: Told) -> None:
    # Python sets the first, bubblewrap the second.
    assert set(told["environment"]) <= {"LC_CTYPE", "PWD"}


@pytest.mark.parametrize("attack", ORDINARY)
def test_an_attack_succeeds_or_fails_otherwise_without_the_jail(bare: Survey, attack: str) -> None:
    assert imprisoned(bare, UNCONFINED).told["attacks"][attack] not in {"EPERM", "EACCES"}


@pytest.mark.parametrize("attack", TAKEN_BY_LANDLOCK)
def test_landlock_alone_takes_the_files(bare: Survey, attack: str) -> None:
    if not bare.landlock:
        pytest.skip("this kernel has no Landlock")
    assert imprisoned(bare, f"landlock:{bare.landlock}").told["attacks"][attack] == "EACCES"


@pytest.mark.parametrize("attack", ["connect to the parent", "signal to the parent"])
def test_landlock_alone_takes_signals_and_sockets_without_a_file(bare: Survey, attack: str) -> None:
    if bare.landlock < SCOPES_SINCE:
        pytest.skip("Landlock of this kernel does not know them")
    told = imprisoned(bare, f"landlock:{bare.landlock}").told
    assert told["attacks"][attack] == "EPERM"


def test_variables_do_not_pass_bubblewrap(surveyed: Survey) -> None:
    if not surveyed.bubblewrap:
        pytest.skip("bubblewrap is not there: actionvm doctor says why")
    ended = imprison(surveyed, str(surveyed.layers), environment={"CANARY": "sings"})
    assert "CANARY" not in ended.told["environment"]
    assert set(ended.told["attacks"].values()) == {"EPERM"}


def test_a_worker_with_an_environment_is_not_confined(bare: Survey) -> None:
    told = imprison(bare, str(bare.layers), environment={"CANARY": "sings"}).told
    assert told == f"{REFUSED}the environment has CANARY: start a worker with an empty one"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("folder", "a folder or a disk"),
        ("written", "open for writing"),
        ("network", "a socket of the network"),
        ("datagram", "a socket that can send to any address"),
        ("listener", "a socket that listens"),
        ("terminal", "the device /dev/pts/.*"),
        ("process", "anon_inode:\\[pidfd\\]"),
    ],
)
def test_a_worker_with_an_open_door_is_not_confined(
    bare: Survey, tmp_path: Path, kind: str, words: str
) -> None:
    descriptor = _open_door(kind, tmp_path)
    try:
        told = imprison(bare, str(bare.layers), descriptors=[descriptor]).told
    finally:
        os.close(descriptor)
    assert re.match(rf"{REFUSED}descriptor {descriptor} is .*{words}: give a worker", told)


def _open_door(kind: str, folder: Path) -> int:
    if kind == "folder":
        return os.open(folder, os.O_RDONLY)
    if kind == "written":
        return os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    if kind == "terminal":
        ours, theirs = os.openpty()
        os.close(ours)
        return theirs
    if kind == "process":
        return os.pidfd_open(os.getpid())
    if kind == "network":
        return socket.socket(socket.AF_INET).detach()
    if kind == "datagram":
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "s"))
    listener.listen()
    return listener.detach()


def test_the_kernel_says_that_a_worker_is_confined(bare: Survey) -> None:
    seen = _seen_from_outside(bare)

    assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("1", "2")
    assert {int(seen[kind], 16) for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert seen["Max core file size"] == seen["Max file size"] == seen["Max locked memory"] == "0"
    assert seen["Max open files"] == "64"


def test_a_worker_is_nobody_whose_memory_only_root_may_see(bare: Survey) -> None:
    if not _nobody_exists():
        pytest.skip("this container has one user only")
    seen = _seen_from_outside(bare)
    users = set(seen["Uid"].split())

    assert users == {str(os.getuid() or NOBODY)}
    # What cannot be dumped belongs to root, whoever runs it.
    assert seen["owner"] not in users


def _seen_from_outside(bare: Survey) -> dict[str, str]:
    seen: dict[str, str] = {}

    def look(process: int) -> None:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        seen.update(re.findall(r"^(\w+):\t(.*)$", status, re.MULTILINE))
        limits = Path(f"/proc/{process}/limits").read_text(encoding="utf-8")
        seen.update(re.findall(r"^(Max .*?)  +\S+ +(\S+)", limits, re.MULTILINE))
        seen["owner"] = str(Path(f"/proc/{process}/limits").stat().st_uid)

    imprison(bare, str(bare.layers), WATCHED, look=look)
    return seen


def _nobody_exists() -> bool:
    users = Path("/proc/self/uid_map").read_text(encoding="utf-8")
    ranges = [tuple(map(int, line.split())) for line in users.splitlines()]
    return any(first <= NOBODY < first + count for first, _, count in ranges)


def test_a_worker_that_loads_code_may_make_memory_executable(bare: Survey) -> None:
    told = imprison(bare, str(bare.layers), LOADING).told["attacks"]
    allowed = {attack for attack, end in told.items() if end != "EPERM"}
    assert allowed == {"map code", "make memory executable"}


def test_a_worker_with_threads_is_not_confined(bare: Survey) -> None:
    told = imprison(bare, str(bare.layers), THREADED).told
    assert told == f"{REFUSED}2 threads run: start them after confine()"


def test_a_worker_is_confined_once(bare: Survey) -> None:
    told = imprison(bare, str(bare.layers), TWICE).told
    assert told.startswith(f"{REFUSED}[Errno 1] Operation not permitted")


def test_a_bug_in_native_code_still_ends_the_worker(bare: Survey) -> None:
    assert imprison(bare, str(bare.layers), ABORT).code < 0
