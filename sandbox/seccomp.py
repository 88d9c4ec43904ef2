"""Writes the seccomp filter of a worker: a program that the kernel runs before each system call."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from errno import EPERM

from .syscalls import (
    ARCHITECTURES,
    GUARDS,
    NUMBERS,
    PROT_EXEC,
    PROTECTIONS,
    UNKNOWN,
    UNKNOWN_ERRNO,
    Architecture,
    Guard,
    number_of,
)

# `struct seccomp_data`: number, architecture, instruction pointer, six arguments of 64 bits. Both
# architectures put the lower half of an argument first.
NUMBER_OFFSET = 0
ARCHITECTURE_OFFSET = 4
ARGUMENTS_OFFSET = 16
# What a jump can reach; the kernel takes 4,096 instructions.
JUMP_MAX = 255
INSTRUCTIONS_MAX = 4096

LOAD = 0x20
JUMP_EQUAL = 0x15
JUMP_IF_ANY_BIT = 0x45
RETURN = 0x06

ALLOW = 0x7FFF_0000
ERRNO = 0x0005_0000
REFUSE = ERRNO | EPERM


@dataclass(frozen=True)
class Instruction:
    """One instruction of classic BPF; both jumps count from the one after it."""

    code: int
    value: int
    jump_true: int = 0
    jump_false: int = 0

    def __post_init__(self) -> None:
        assert max(self.jump_true, self.jump_false) <= JUMP_MAX, "a jump is one byte"

    def encode(self) -> bytes:
        """Return a `struct sock_filter`."""
        return struct.pack("=HBBI", self.code, self.jump_true, self.jump_false, self.value)


def write_filter(machine: str, *, loads_code: bool) -> list[Instruction]:
    """Return the filter for a machine as `uname` calls it; it must be in ARCHITECTURES.

    Only who `loads_code` may make memory executable. The calls of x32 have numbers that are not in
    the table, and are refused with all others.
    """
    architecture = ARCHITECTURES[machine]
    program = [
        Instruction(LOAD, ARCHITECTURE_OFFSET),
        Instruction(JUMP_EQUAL, architecture.audit, jump_true=1),
        Instruction(RETURN, REFUSE),
        Instruction(LOAD, NUMBER_OFFSET),
    ]
    for name in NUMBERS:
        program += _rule(name, architecture, loads_code=loads_code)
    program.append(Instruction(RETURN, REFUSE))
    assert len(program) <= INSTRUCTIONS_MAX, "the kernel takes no longer program"
    return program


def encode(program: list[Instruction]) -> bytes:
    """Return the array of `struct sock_filter` that the kernel takes."""
    return b"".join(one.encode() for one in program)


def _rule(name: str, architecture: Architecture, *, loads_code: bool) -> list[Instruction]:
    """Return what decides about one call, and is skipped for every other one."""
    number = number_of(name, architecture)
    if number is None:
        return []
    if name in UNKNOWN:
        decision = [Instruction(RETURN, ERRNO | UNKNOWN_ERRNO)]
    elif name in GUARDS:
        decision = list(_decide(GUARDS[name]))
    elif name in PROTECTIONS and not loads_code:
        decision = [
            Instruction(LOAD, ARGUMENTS_OFFSET + 8 * PROTECTIONS[name]),
            Instruction(JUMP_IF_ANY_BIT, PROT_EXEC, jump_false=1),
            Instruction(RETURN, REFUSE),
            Instruction(RETURN, ALLOW),
        ]
    else:
        decision = [Instruction(RETURN, ALLOW)]
    return [Instruction(JUMP_EQUAL, number, jump_false=len(decision)), *decision]


def _decide(guard: Guard) -> Iterator[Instruction]:
    """Yield what allows the values of one argument and refuses all others."""
    lower = ARGUMENTS_OFFSET + 8 * guard.argument
    if guard.is_wide:
        yield Instruction(LOAD, lower + 4)
        yield Instruction(JUMP_EQUAL, 0, jump_true=1)
        yield Instruction(RETURN, REFUSE)
    yield Instruction(LOAD, lower)
    for value in guard.values:
        yield Instruction(JUMP_EQUAL, value, jump_false=1)
        yield Instruction(RETURN, ALLOW)
    yield Instruction(RETURN, REFUSE)
