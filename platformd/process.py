"""What the kernel says about a process; nothing of it is asked of the process itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_NAMESPACES = ("mnt", "pid", "user")


class Unreadable(Exception):
    """The process has ended, or hides from this user."""


@dataclass(frozen=True)
class Birth:
    """Which process it is; `start_time` (clock ticks since boot) tells it from a later one."""

    pid: int
    start_time: int


@dataclass(frozen=True)
class Process:
    """A process as it is now: `libraries` are the files that are mapped as code.

    `shares_namespaces` says that a path and a number mean for it what they mean for platformd.
    """

    birth: Birth
    parent: int
    executable: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    libraries: tuple[str, ...]
    shares_namespaces: bool


def birth_of(pid: int) -> Birth:
    """Return which process has this number now; raise Unreadable if none has."""
    return Birth(pid, int(_status(pid)[19]))


def parent_of(pid: int) -> int:
    """Return the process that is responsible for this one."""
    return int(_status(pid)[1])


def read_process(pid: int) -> Process:
    """Return what a process is; raise Unreadable if it cannot be known."""
    own = PROC / str(pid)
    try:
        birth = birth_of(pid)
        process = Process(
            birth=birth,
            parent=parent_of(pid),
            executable=str((own / "exe").readlink()),
            arguments=tuple(_strings(own / "cmdline")),
            environment=dict(
                entry.partition("=")[::2] for entry in _strings(own / "environ") if "=" in entry
            ),
            libraries=tuple(sorted(_libraries(own / "maps"))),
            shares_namespaces=_shares_namespaces(own),
        )
        # A number that was given to somebody else meanwhile would mix two processes.
        same = birth_of(pid) == birth
    except (OSError, ValueError) as error:
        raise Unreadable(f"process {pid} cannot be read") from error
    if not same:
        raise Unreadable(f"process {pid} has changed")
    return process


def _status(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name, which may contain anything."""
    try:
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError as error:
        raise Unreadable(f"process {pid} has ended") from error


def _strings(path: Path) -> list[str]:
    content = path.read_bytes()
    return [os.fsdecode(one) for one in content.removesuffix(b"\0").split(b"\0")]


def _libraries(path: Path) -> set[str]:
    """Return what is mapped so that it can be executed; a name ends in ` (deleted)` if it is."""
    rows = (
        line.split(maxsplit=5) for line in path.read_text(errors="surrogateescape").splitlines()
    )
    return {row[5] for row in rows if "x" in row[1] and row[4] != "0"}


def _shares_namespaces(own: Path) -> bool:
    """Tell whether a path means for the process what it means for us."""
    mine = PROC / "self"
    return (own / "root").readlink() == Path("/") and all(
        (own / "ns" / name).readlink() == (mine / "ns" / name).readlink() for name in _NAMESPACES
    )
