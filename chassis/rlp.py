"""Recursive Length Prefix, the canonical form only: one value, one sequence of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from chassis.errors import InvalidField

Item: TypeAlias = "bytes | Sequence[Item]"

DEPTH_MAX = 4

_STRING = 0x80
_LIST = 0xC0
# Up to this length the first byte holds it; above, the length of the length.
_SHORT_MAX = 55


def decode(field: str, content: bytes) -> Item:
    """Parse all of it, or raise `InvalidField`."""
    item, end = _decode(field, content, 0, len(content), DEPTH_MAX)
    if end != len(content):
        raise InvalidField(field, "goes on after its end")
    return item


def encode(item: Item) -> bytes:
    """Return the one encoding."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < _STRING:
            return item
        return _head(_STRING, len(item)) + item
    content = b"".join(encode(child) for child in item)
    return _head(_LIST, len(content)) + content


def encode_integer(value: int) -> bytes:
    """Return the shortest big-endian bytes; zero is none."""
    return value.to_bytes((value.bit_length() + 7) // 8)


def _head(base: int, length: int) -> bytes:
    if length <= _SHORT_MAX:
        return bytes([base + length])
    size = encode_integer(length)
    return bytes([base + _SHORT_MAX + len(size)]) + size


def _decode(field: str, content: bytes, start: int, end: int, depth: int) -> tuple[Item, int]:
    """Return the item at `start` and where it ends, at most at `end`."""
    if start >= end:
        raise InvalidField(field, "ends too early")
    first = content[start]
    if first < _STRING:
        return content[start : start + 1], start + 1
    base = _LIST if first >= _LIST else _STRING
    begin, stop = _span(field, content, start, end, first - base)
    if base == _STRING:
        if stop - begin == 1 and content[begin] < _STRING:
            raise InvalidField(field, "is not in the shortest form")
        return content[begin:stop], stop
    if depth == 0:
        raise InvalidField(field, f"is nested deeper than {DEPTH_MAX} levels")
    items = []
    while begin < stop:
        item, begin = _decode(field, content, begin, stop, depth - 1)
        items.append(item)
    return tuple(items), stop


def _span(field: str, content: bytes, start: int, end: int, size: int) -> tuple[int, int]:
    """Return where the content of an item begins and ends."""
    begin = start + 1
    length = size
    if size > _SHORT_MAX:
        digits = content[begin : begin + size - _SHORT_MAX]
        begin += size - _SHORT_MAX
        length = int.from_bytes(digits)
        if digits[:1] == b"\0" or length <= _SHORT_MAX:
            raise InvalidField(field, "is not in the shortest form")
    if begin + length > end:
        raise InvalidField(field, "ends too early")
    return begin, begin + length
