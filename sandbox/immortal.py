"""Makes the objects of a snapshot of CPython immortal, so that calls do not write to their pages.

Whoever uses an object counts its references in it, so an instance that only reads its snapshot
copies most of its pages. CPython counts none of an immortal object (PEP 683), and has no function
that makes one. So the guest says where its objects are, and their counts are written here, into the
data of the component.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# `_Py_IMMORTAL_INITIAL_REFCNT`, where pointers have 32 bits.
_IMMORTAL = struct.pack("<I", 5 << 28)
_COUNT_MAX = 1 << 18
# Some have died since they were listed, but no more than one of so many.
_MISSING_SHARE = 50
_HEAD = struct.Struct("<II")
_MODULE_SECTION, _DATA_SECTION = 1, 11
_HEADER_BYTES = 8


class NoSnapshot(Exception):
    """A component is not what the guest has made."""


@dataclass(frozen=True)
class _Segment:
    """A piece of memory, and where it lies in the file."""

    address: int
    start: int
    size: int


def immortalized(component: bytes, mark: bytes) -> bytes:
    """Return a component whose objects, which the guest lists between two marks, live for ever.

    Raise `NoSnapshot` if most of them are not where it says.
    """
    wasm = bytearray(component)
    segments = sorted(_segments(component), key=lambda one: one.address)
    objects = list(_objects(_memory(component, segments), mark))
    missing = 0
    for address, kind in objects:
        at = _place(segments, address)
        count, found = _HEAD.unpack_from(wasm, at) if at else (0, 0)
        if found != kind:
            missing += 1
        # Larger ones are those of immortal objects; those of freed ones are pointers.
        elif 0 < count < _COUNT_MAX:
            wasm[at : at + len(_IMMORTAL)] = _IMMORTAL
    if missing * _MISSING_SHARE > len(objects):
        raise NoSnapshot(f"of the {len(objects)} objects that it lists, {missing} are not there")
    return bytes(wasm)


def _place(segments: Sequence[_Segment], address: int) -> int:
    """Return where in the file the head of an object lies; 0 if it is in no segment."""
    index = bisect_right(segments, address, key=lambda one: one.address) - 1
    offset = address - segments[index].address
    is_inside = index >= 0 and offset + _HEAD.size <= segments[index].size
    return segments[index].start + offset if is_inside else 0


def _objects(memory: bytes, mark: bytes) -> Iterator[tuple[int, int]]:
    """Yield the address of each object, and that of its type."""
    at = memory.find(mark)
    while at >= 0:
        start = at + len(mark) + 4
        (count,) = struct.unpack_from("<I", memory, start - 4)
        end = start + count * _HEAD.size
        if memory[end : end + len(mark)] == mark:
            yield from _HEAD.iter_unpack(memory[start:end])
            return
        # The name of the mark, in some code.
        at = memory.find(mark, at + 1)
    raise NoSnapshot("its objects are not listed in it")


def _memory(wasm: bytes, segments: list[_Segment]) -> bytes:
    memory = bytearray(segments[-1].address + segments[-1].size)
    for one in segments:
        memory[one.address : one.address + one.size] = wasm[one.start : one.start + one.size]
    return bytes(memory)


def _segments(component: bytes) -> Iterator[_Segment]:
    """Yield the data of all modules, of which one has the memory."""
    for kind, start, end in _sections(component, _HEADER_BYTES, len(component)):
        if kind == _MODULE_SECTION:
            for inner, first, last in _sections(component, start + _HEADER_BYTES, end):
                if inner == _DATA_SECTION:
                    yield from _data(component, first, last)


def _sections(wasm: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    while at < end:
        kind = wasm[at]
        size, start = _number(wasm, at + 1)
        yield kind, start, start + size
        at = start + size


def _data(wasm: bytes, at: int, end: int) -> Iterator[_Segment]:
    """Yield active segments, which begin with `0 i32.const ADDRESS end`."""
    count, at = _number(wasm, at)
    for _ in range(count):
        if wasm[at : at + 2] != b"\x00\x41":
            raise NoSnapshot("its data has no fixed place")
        address, at = _number(wasm, at + 2)
        size, start = _number(wasm, at + 1)
        yield _Segment(address, start, size)
        at = start + size
    if at != end:
        raise NoSnapshot("its data ends too soon")


def _number(wasm: bytes, at: int) -> tuple[int, int]:
    """Return a number in LEB128, and what comes after it; addresses below 2 GiB have no sign."""
    value = shift = 0
    while True:
        byte = wasm[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:  # noqa: PLR2004  # the bit that says whether another one follows
            return value, at
