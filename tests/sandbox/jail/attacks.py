"""What a confined worker must not be able to do, with arguments that hurt nobody if it can."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from signal import SIGCHLD

_LIBRARY = ctypes.CDLL(None, use_errno=True)
_LIBRARY.syscall.restype = ctypes.c_long

CLONE_NEWUSER = 0x1000_0000
THREAD_FLAGS = 0x3D_0F00
AT_FDCWD = -100
F_SETFL, F_SETOWN = 4, 8
FUTEX_LOCK_PI = 6
SYSCALLS_OF_X86_64 = {
    "accept": (43, -1, 0, 0),
    "bind": (49, -1, 0, 0),
    "bpf": (321, 0, 0, 0),
    "connect": (42, -1, 0, 0),
    "execveat": (322, AT_FDCWD, 0, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "io_uring_setup": (425, 0, 0),
    "kcmp": (312, 0, 0, 99, 0, 0),
    "keyctl": (250, 99),
    "mount": (165, 0, 0, 0, 0, 0),
    "move_mount": (429, 0, 0, 0, 0, 0),
    "name_to_handle_at": (303, 0, 0, 0, 0, 0),
    "perf_event_open": (298, 0, 0, 0, 0, 0),
    "personality": (135, 0xFFFF_FFFF),
    "pidfd_open": (434, 0, 0),
    "pivot_root": (155, 0, 0),
    "prctl": (157, 99, 0, 0, 0, 0),
    "process_vm_readv": (310, 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 0, 0, 0, 0, 0),
    "ptrace": (101, 99, 0, 0, 0),
    "seccomp": (317, 99, 0, 0),
    "setns": (308, -1, 0),
    "setuid": (105, -1),
    "tgkill": (234, -1, 0, 0),
    "unshare": (272, CLONE_NEWUSER),
    "userfaultfd": (323, 0xFFFF_FFFF),
    "x32 getpid": (0x4000_0000 | 39,),
    "x32 openat": (0x4000_0000 | 257, AT_FDCWD, 0, 0),
    "number beyond all": (0x7FFF_FFFF,),
    "clone of a process": (56, SIGCHLD, 0, 0, 0, 0),
    "clone of a thread in a namespace": (56, THREAD_FLAGS | CLONE_NEWUSER, 0, 0, 0, 0),
    "fcntl that blocks the parent's end": (72, 0, F_SETFL, os.O_NONBLOCK),
    "fcntl that sends signals": (72, 0, F_SETOWN, 1),
    "futex that lends priorities": (202, 0, FUTEX_LOCK_PI, 0, 0, 0, 0),
    "sendto an address": (44, -1, 0, 0, 0, 1, 0),
    "sendto a far address": (44, -1, 0, 0, 0, 1 << 32, 0),
}


def system_call(number: int, *arguments: int) -> int:
    """Make a system call; raise OSError."""
    words = [ctypes.c_ulong(one & 0xFFFF_FFFF_FFFF_FFFF) for one in arguments]
    result = int(_LIBRARY.syscall(ctypes.c_long(number), *words))
    if result == -1:
        raise OSError(ctypes.get_errno(), "system call")
    if number == SYSCALLS_OF_X86_64["clone of a process"][0] and result == 0:
        os._exit(0)  # a child that should not be
    return result


def write_a_file() -> None:
    descriptor, name = tempfile.mkstemp(dir="/tmp")
    os.close(descriptor)
    Path(name).unlink()


def make_a_folder() -> None:
    Path(tempfile.mkdtemp(dir="/tmp")).rmdir()


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def execute_in_place() -> None:
    os.execv("/none", ["none"])  # noqa: S606  # there is no such program


def write_interrupt() -> Callable[[], None]:
    """Return what asks for getpid by the numbers of i386."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20; int 0x80; ret
    code = ctypes.c_char.from_buffer(memory)

    def call() -> None:
        result = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(code))()
        if result < 0:
            raise OSError(-result, "int 0x80")

    return call


def door_of(process: int) -> str:
    """Return the name of a socket that a process listens at, in no file."""
    return f"\0actionvm-prison-{process}"


def knock() -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.connect(door_of(os.getppid()))


def map_executable() -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()


def make_executable() -> None:
    """Do what loading compiled WebAssembly does."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    words = (ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE))
    if _LIBRARY.mprotect(*words, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "mprotect")


def attacks(machine: str) -> dict[str, Callable[[], object]]:
    """Return the attacks by name; those by number are for one architecture."""
    found: dict[str, Callable[[], object]] = {
        "open a file": lambda: Path("/etc/ld.so.cache").read_bytes(),
        "open own memory": lambda: Path("/proc/self/mem").read_bytes(),
        "open own environment": lambda: Path("/proc/self/environ").read_bytes(),
        "open memory of the parent": lambda: Path(f"/proc/{os.getppid()}/maps").read_bytes(),
        "list a folder": lambda: list(Path("/").iterdir()),
        "look at a file": lambda: Path("/etc/ld.so.cache").stat(),
        "create a file": write_a_file,
        "make a folder": make_a_folder,
        "remove a file": lambda: Path("/none").unlink(),
        "link a file": lambda: Path("/none/a").symlink_to("b"),
        "socket of the network": lambda: socket.socket(socket.AF_INET),
        "socket of this machine": lambda: socket.socket(socket.AF_UNIX),
        "socket of the kernel": lambda: socket.socket(socket.AF_NETLINK),
        "raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "pair of sockets": socket.socketpair,
        "connect to the parent": knock,
        "start a program": lambda: subprocess.run(["/none"], check=False),
        "become a program": execute_in_place,
        "fork": fork,
        "signal to the parent": lambda: os.kill(os.getppid(), 0),
        "signal to all": lambda: os.kill(-1, 0),
        "pipe": os.pipe,
        "map code": map_executable,
        "make memory executable": make_executable,
        "change folder": lambda: os.chdir("/"),
        "become another": lambda: os.setuid(0),
        "take a core": lambda: os.sched_setaffinity(0, {0}),
    }
    if machine == "x86_64":
        found["call of i386"] = write_interrupt()
        for name, words in SYSCALLS_OF_X86_64.items():
            found[name] = functools.partial(system_call, *words)
    return found
