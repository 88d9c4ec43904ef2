"""The system calls that a confined worker may still make, and their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from errno import ENOSYS


@dataclass(frozen=True)
class Architecture:
    """What the kernel calls an architecture, and where its numbers stand in a row of the table."""

    audit: int
    column: int


ARCHITECTURES = {
    "x86_64": Architecture(audit=0xC000_003E, column=0),
    "aarch64": Architecture(audit=0xC000_00B7, column=1),
}


@dataclass(frozen=True)
class Guard:
    """The values that one argument, counted from 0, may have.

    The kernel reads 32 bits of most of them; all 64 of those that are `wide`.
    """

    argument: int
    values: tuple[int, ...]
    is_wide: bool = False


# What glibc and musl ask for when they start a thread: memory, files, handlers and process are
# those of the caller. A fork has none of these flags, a new namespace has others.
_THREAD_FLAGS = (0x3D_0F00, 0x7D_0F00)
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 1030
# Wait, wake, and both with a mask; private or not, by either clock. Nothing here needs those that
# lend priorities, and they have been a way into the kernel.
_FUTEX_OPERATIONS = tuple(
    operation | private | clock
    for clock in (0, 0x100)
    for private in (0, 0x80)
    for operation in (0, 1, 9, 10)
)

# Not F_SETFL: a pipe that the parent reads without waiting is its pipe, too. Not F_SETOWN: it sends
# signals to whom it names. Sending without an address: a datagram could go to another socket.
GUARDS = {
    "clone": Guard(0, _THREAD_FLAGS),
    "fcntl": Guard(1, (_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC)),
    "futex": Guard(1, _FUTEX_OPERATIONS),
    "sendto": Guard(4, (0,), is_wide=True),
}

# The argument of these that says what memory is for, and the bit that lets it be executed.
PROTECTIONS = {"mmap": 2, "mprotect": 2}
PROT_EXEC = 4

# Whoever asks for these takes another way when the kernel does not know them. The flags of clone3
# lie in memory, where a filter cannot see them.
UNKNOWN = ("clone3", "memfd_create")
UNKNOWN_ERRNO = ENOSYS

# The numbers for x86_64 and for aarch64, which has no call where it has a newer one.
NUMBERS: dict[str, tuple[int, int | None]] = {
    # What is open already.
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "readv": (19, 65),
    "writev": (20, 66),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "shutdown": (48, 210),
    "fcntl": (72, 25),
    # Waiting for it.
    "poll": (7, None),
    "select": (23, None),
    "epoll_wait": (232, None),
    "epoll_ctl": (233, 21),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "epoll_pwait": (281, 22),
    "epoll_create1": (291, 20),
    # Memory: an instance is mapped, made accessible piece by piece, and thrown away.
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "membarrier": (324, 283),
    # Threads.
    "sched_yield": (24, 124),
    "getpid": (39, 172),
    "clone": (56, 220),
    "exit": (60, 93),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "exit_group": (231, 94),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "clone3": (435, 435),
    # A trap of WebAssembly is a signal.
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    # Time, chance, and what was used.
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "time": (201, None),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "getrandom": (318, 278),
    "memfd_create": (319, 279),
}


def number_of(name: str, architecture: Architecture) -> int | None:
    """Return the number of a call, or nothing where the architecture does not have it."""
    return NUMBERS[name][architecture.column]
