"""The calls of Linux that Python has no function for."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from errno import EFAULT

from .syscalls import ARCHITECTURES

PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38

SECCOMP = {"x86_64": 317, "aarch64": 277}
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1
INSTRUCTION_BYTES = 8

CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITIES_VERSION = 0x2008_0522

LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
# How many rights about files there are since a version of the ABI, in the order of their bits.
LANDLOCK_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
LANDLOCK_TCP_SINCE, LANDLOCK_BIND_AND_CONNECT = 4, 0b11
LANDLOCK_SCOPES_SINCE, LANDLOCK_SOCKETS_AND_SIGNALS = 6, 0b11

# Functions of the C library that is loaded already.
_LIBRARY = ctypes.CDLL(None, use_errno=True)
_LIBRARY.syscall.restype = ctypes.c_long


def machine() -> str:
    """Return the architecture as the filter names it, or nothing where there is no filter."""
    name = os.uname().machine
    # A Python of 32 bits on a kernel of 64 has the numbers of another architecture.
    is_known = sys.platform == "linux" and name in ARCHITECTURES and sys.maxsize > 2**32
    return name if is_known else ""


def has_seccomp() -> bool:
    """Whether this kernel takes a filter for all threads at once."""
    if not machine():
        return False
    # The kernel looks at the flags before it looks at the program, which is missing.
    arguments = (SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, 0)
    _, error = _try(SECCOMP[machine()], *arguments)
    return error == EFAULT


def landlock_abi() -> int:
    """Return the version of Landlock's ABI, 0 where there is none."""
    if not machine():
        return 0
    version, error = _try(LANDLOCK_CREATE_RULESET, 0, 0, LANDLOCK_CREATE_RULESET_VERSION)
    return 0 if error else version


def forbid_new_privileges() -> None:
    """Let no program that is started have more rights; both walls ask for it."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def hide_memory() -> None:
    """Keep other processes of this user out of the memory of this one."""
    _prctl(PR_SET_DUMPABLE, 0)


def drop_capabilities() -> None:
    """Give up every right that root has, in this thread."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITIES_VERSION, 0))
    nothing = ctypes.create_string_buffer(struct.pack("=6I", *[0] * 6))
    _call("capset", CAPSET[machine()], ctypes.addressof(header), ctypes.addressof(nothing))


def restrict_by_landlock(abi: int) -> None:
    """Take all files, TCP, and signals and abstract sockets of others from this thread."""
    rights = max(count for since, count in LANDLOCK_FILE_RIGHTS.items() if since <= abi)
    attributes = struct.pack(
        "=QQQ",
        (1 << rights) - 1,
        LANDLOCK_BIND_AND_CONNECT if abi >= LANDLOCK_TCP_SINCE else 0,
        LANDLOCK_SOCKETS_AND_SIGNALS if abi >= LANDLOCK_SCOPES_SINCE else 0,
    )
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = _call(
        "landlock", LANDLOCK_CREATE_RULESET, ctypes.addressof(buffer), len(attributes), 0
    )
    try:
        _call("landlock", LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def install_filter(program: bytes) -> None:
    """Let the kernel ask a program of `struct sock_filter` before each call, in all threads."""
    length, rest = divmod(len(program), INSTRUCTION_BYTES)
    assert rest == 0, "a program is whole instructions"
    instructions = ctypes.create_string_buffer(program, len(program))
    address = ctypes.addressof(instructions)
    header = ctypes.create_string_buffer(struct.pack("@HP", length, address))
    arguments = (SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, ctypes.addressof(header))
    thread = _call("seccomp", SECCOMP[machine()], *arguments)
    if thread:
        raise OSError(f"seccomp: thread {thread} has a filter of its own")


def _prctl(option: int, value: int) -> None:
    if _LIBRARY.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _call(name: str, number: int, *arguments: int) -> int:
    result, error = _try(number, *arguments)
    if error:
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def _try(number: int, *arguments: int) -> tuple[int, int]:
    """Return the result and the number of the error, 0 for none."""
    words = [ctypes.c_ulong(one) for one in arguments]
    result = int(_LIBRARY.syscall(ctypes.c_long(number), *words))
    return result, ctypes.get_errno() if result == -1 else 0
