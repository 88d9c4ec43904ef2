"""Locks the worker in, from within, before the first byte of an agent arrives.

What is open stays open, what is imported stays imported; nothing else can be reached any more.
"""

from __future__ import annotations

import os
import resource
import socket
from contextlib import suppress
from pathlib import Path

from . import kernel
from .descriptors import open_descriptors, ways_out
from .layers import Layers
from .seccomp import encode, write_filter

DESCRIPTORS_MAX = 64
THREADS_MAX = 512
# Of memory that is written to: what all its executions may have at once, and then some for a
# compiler. Reserved address space does not count.
DATA_BYTES_MAX = 4 * 1024**3
# Nobody, also in the namespace that bubblewrap makes.
NOBODY = 65534
# What bubblewrap adds to an empty environment.
HARMLESS_VARIABLES = frozenset({"PWD"})


class Unconfined(Exception):
    """The worker is not locked in, or only in part: it must end, and run nothing."""


def confine(
    layers: Layers,
    *,
    loads_code: bool = False,
    descriptors_max: int = DESCRIPTORS_MAX,
    threads_max: int = THREADS_MAX,
    data_bytes_max: int = DATA_BYTES_MAX,
) -> None:
    """Put on the layers that the parent found; raise Unconfined.

    Call it once, in the only thread, when all is imported, opened and warm. What is done for the
    first time later (an import, a lookup of a host, a timeout of a socket) fails with EPERM. Memory
    stays as executable as it is, unless the worker `loads_code` later: compiles or deserializes it.
    """
    _look_around()
    try:
        _drop_user()
        threads = threads_max if layers.bubblewrap else None
        _set_limits(descriptors_max, threads, data_bytes_max)
        kernel.drop_capabilities()
        kernel.hide_memory()
        kernel.forbid_new_privileges()
        if layers.landlock:
            kernel.restrict_by_landlock(layers.landlock)
            _prove_no_files()
        if layers.seccomp:
            program = write_filter(kernel.machine(), loads_code=loads_code)
            kernel.install_filter(encode(program))
            _prove_no_sockets()
    except (OSError, ValueError) as error:
        raise Unconfined(f"{error}; the machine was surveyed as {layers}") from error


def _look_around() -> None:
    """Refuse what no layer would take away: other threads, variables, and open doors."""
    try:
        threads = len(list(Path("/proc/self/task").iterdir()))
        environment = Path("/proc/self/environ").read_bytes()
        doors = ways_out(open_descriptors())
    except OSError as error:
        raise Unconfined(f"{error}: a worker looks at itself in /proc first") from error
    if not kernel.machine():
        raise Unconfined("only Linux on x86_64 and aarch64 has these layers")
    if threads > 1:
        # Landlock and capabilities are those of a thread, and new threads inherit them.
        raise Unconfined(f"{threads} threads run: start them after confine()")
    names = {one.partition(b"=")[0].decode(errors="replace") for one in environment.split(b"\0")}
    if left := sorted(names - HARMLESS_VARIABLES - {""}):
        raise Unconfined(f"the environment has {left[0]}: start a worker with an empty one")
    if doors:
        raise Unconfined(doors[0])


def _drop_user() -> None:
    """Stop being root, where nobody else did that yet."""
    if os.geteuid() != 0:
        return
    # A container may have no other user; without capabilities, root is one like any other.
    with suppress(OSError):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _set_limits(descriptors_max: int, threads_max: int | None, data_bytes_max: int) -> None:
    """Let the kernel count; not the address space, of which each instance reserves 4 GB."""
    counted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: data_bytes_max,
        # No file can be written, whatever is open.
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: descriptors_max,
    }
    if threads_max is not None:
        # Outside a namespace of the worker, all that its user runs would count.
        counted[resource.RLIMIT_NPROC] = threads_max
    for kind, wanted in counted.items():
        _, hard = resource.getrlimit(kind)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def _prove_no_files() -> None:
    try:
        descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return
    os.close(descriptor)
    raise OSError("Landlock was put on and holds nothing")


def _prove_no_sockets() -> None:
    try:
        opened = socket.socket(socket.AF_UNIX)
    except PermissionError:
        return
    opened.close()
    raise OSError("the filter was put on and holds nothing")
