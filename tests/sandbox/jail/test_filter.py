"""The filter decides as it should, on both architectures, before any kernel sees it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from errno import ENOSYS, EPERM

import pytest

from sandbox.seccomp import (
    ALLOW,
    ERRNO,
    INSTRUCTIONS_MAX,
    JUMP_EQUAL,
    JUMP_IF_ANY_BIT,
    LOAD,
    REFUSE,
    RETURN,
    Instruction,
    encode,
    write_filter,
)
from sandbox.syscalls import ARCHITECTURES, GUARDS, NUMBERS, UNKNOWN, number_of

MACHINES = sorted(ARCHITECTURES)
SIGCHLD = 17
CLONE_NEWUSER = 0x1000_0000
THREAD_FLAGS = 0x3D_0F00


def decide(
    program: Sequence[Instruction], *, audit: int, number: int, arguments: Sequence[int] = ()
) -> int:
    """Run a program as the kernel would."""
    words = [*arguments, *[0] * 6][:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFF_FFFF, audit, 0, *words)
    accumulator, position = 0, 0
    while True:
        one = program[position]
        position += 1
        if one.code == LOAD:
            (accumulator,) = struct.unpack_from("<I", data, one.value)
        elif one.code == RETURN:
            return one.value
        elif one.code == JUMP_EQUAL:
            position += one.jump_true if accumulator == one.value else one.jump_false
        elif one.code == JUMP_IF_ANY_BIT:
            position += one.jump_true if accumulator & one.value else one.jump_false
        else:
            raise AssertionError(f"no kernel knows {one}")


def ask(machine: str, name: str, *arguments: int, loads_code: bool = False) -> int:
    architecture = ARCHITECTURES[machine]
    number = number_of(name, architecture)
    assert number is not None
    program = write_filter(machine, loads_code=loads_code)
    return decide(program, audit=architecture.audit, number=number, arguments=arguments)


@pytest.mark.parametrize("machine", MACHINES)
def test_only_the_numbers_of_the_table_are_allowed(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    free = {number_of(name, architecture) for name in NUMBERS if name not in (*GUARDS, *UNKNOWN)}
    program = write_filter(machine, loads_code=False)

    allowed = {
        number
        for number in range(2_000)
        # No guard lets all of these through.
        if decide(program, audit=architecture.audit, number=number, arguments=[1 << 33] * 6)
        == ALLOW
        and number != number_of("fcntl", architecture)
        and number != number_of("futex", architecture)
    }

    assert allowed == free - {None}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_for_another_architecture_is_refused(machine: str) -> None:
    program = write_filter(machine, loads_code=False)
    i386, arm = 0x4000_0003, 0x4000_0028
    others = {one.audit for one in ARCHITECTURES.values()} - {ARCHITECTURES[machine].audit}

    for audit in (*sorted(others), i386, arm, 0):
        decisions = {decide(program, audit=audit, number=number) for number in range(500)}
        assert decisions == {REFUSE}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_of_x32_are_refused(machine: str) -> None:
    program, audit = write_filter(machine, loads_code=False), ARCHITECTURES[machine].audit
    numbers = [0x4000_0000 | number for number in range(600)]

    assert {decide(program, audit=audit, number=one) for one in (*numbers, -1)} == {REFUSE}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_thread_may_be_started_and_no_process(machine: str) -> None:
    assert ask(machine, "clone", THREAD_FLAGS) == ALLOW
    for flags in (0, SIGCHLD, THREAD_FLAGS | CLONE_NEWUSER, THREAD_FLAGS & ~0x1_0000, 0x4000_4111):
        assert ask(machine, "clone", flags) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_what_hides_its_flags_is_said_to_be_unknown(machine: str) -> None:
    assert ask(machine, "clone3") == ERRNO | ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_a_message_goes_to_no_address(machine: str) -> None:
    assert ask(machine, "sendto", 3, 1, 1, 0, 0, 0) == ALLOW
    assert ask(machine, "sendto", 3, 1, 1, 0, 1, 0) == REFUSE
    assert ask(machine, "sendto", 3, 1, 1, 0, 1 << 32, 0) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("operation", "decision"), [(1, ALLOW), (4, REFUSE), (8, REFUSE)])
def test_a_descriptor_is_not_made_to_signal_or_to_block(
    machine: str, operation: int, decision: int
) -> None:
    assert ask(machine, "fcntl", 0, operation) == decision


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["mmap", "mprotect"])
def test_memory_becomes_executable_only_for_who_loads_code(machine: str, name: str) -> None:
    for protection in (0, 1, 3):
        assert ask(machine, name, 0, 4096, protection) == ALLOW
    for protection in (4, 5, 7):
        assert ask(machine, name, 0, 4096, protection) == REFUSE
        assert ask(machine, name, 0, 4096, protection, loads_code=True) == ALLOW


def test_a_refusal_is_an_error_and_kills_nobody() -> None:
    assert REFUSE == 0x0005_0000 | EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_the_kernel_takes_a_program_of_this_size(machine: str) -> None:
    program = write_filter(machine, loads_code=False)

    assert len(encode(program)) == 8 * len(program)
    assert len(program) <= INSTRUCTIONS_MAX
    assert program[-1] == Instruction(RETURN, REFUSE)
