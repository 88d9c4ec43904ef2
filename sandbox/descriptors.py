"""Says which open descriptors would be a way out of the jail."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

OWN = Path("/proc/self/fd")
# null, zero, random and urandom.
HARMLESS_DEVICES = {os.makedev(1, minor) for minor in (3, 5, 8, 9)}
HARMLESS_ANONYMOUS = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]")
# What wasmtime keeps the first bytes of memories in; it has no name that others could open.
MEMORY_FILE = "/memfd:"
TO_PARENT = "give a worker a pipe, /dev/null, or a socket of socket.socketpair()"


def open_descriptors() -> list[int]:
    """Return the descriptors of this process."""
    # One of the names is that of the listing itself, which is closed by then.
    found = [int(path.name) for path in OWN.iterdir()]
    return [one for one in sorted(found) if _is_open(one)]


def ways_out(descriptors: Iterable[int]) -> list[str]:
    """Return a sentence for each descriptor through which a worker would reach more than it may.

    The filter does not stop what is done with a descriptor that is open already.
    """
    found = ((one, _what(one)) for one in descriptors)
    return [f"descriptor {one} is {what}: {TO_PARENT}" for one, what in found if what]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _what(descriptor: int) -> str:
    """Return what a descriptor is, or nothing if it is harmless."""
    status = os.fstat(descriptor)
    mode = status.st_mode
    name = str((OWN / str(descriptor)).readlink())
    if name.startswith("anon_inode:"):
        return "" if name in HARMLESS_ANONYMOUS else name
    if stat.S_ISSOCK(mode):
        return _what_socket(descriptor)
    if stat.S_ISFIFO(mode):
        return ""
    if stat.S_ISCHR(mode):
        return "" if status.st_rdev in HARMLESS_DEVICES else f"the device {name}"
    if not stat.S_ISREG(mode):
        return f"{name}, a folder or a disk"
    access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    is_written = access != os.O_RDONLY and not name.startswith(MEMORY_FILE)
    return f"{name}, open for writing" if is_written else ""


def _what_socket(descriptor: int) -> str:
    opened = socket.socket(fileno=descriptor)
    try:
        if opened.family != socket.AF_UNIX:
            return "a socket of the network"
        if opened.type not in {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}:
            return "a socket that can send to any address"
        if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return "a socket that listens"
        return ""
    finally:
        opened.detach()
