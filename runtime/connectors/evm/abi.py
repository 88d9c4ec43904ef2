"""Values of Solidity as bytes (https://docs.soliditylang.org/en/latest/abi-spec.html).

Of JSON, whole numbers are texts, addresses and bytes are hexadecimal, arrays and tuples are lists.
What is read comes from strangers: each value of it counts, so that few bytes never become many.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from chassis.ethereum import ADDRESS_BYTES, parse_address

from .transactions import WORD_BYTES, word
from .types import Type
from .values import HEX

# Of one answer, with all that is in arrays.
VALUES_MAX = 1_000
_DIGITS_MAX = 78


class AbiInvalid(Exception):
    """What is wrong with a value, and where."""


def encode(types: Sequence[Type], values: Sequence[JsonValue], where: str = "arguments") -> bytes:
    """Return values as the arguments of a method, or raise `AbiInvalid`."""
    if len(values) != len(types):
        raise AbiInvalid(f"{where} has {len(values)} values and the method takes {len(types)}")
    heads, tails = list[bytes](), list[bytes]()
    offset = sum(_head_bytes(one) for one in types)
    for index, (kind, value) in enumerate(zip(types, values, strict=True)):
        content = _encode_one(kind, value, f"{where}[{index}]")
        if kind.is_dynamic:
            heads.append(word(offset))
            tails.append(content)
            offset += len(content)
        else:
            heads.append(content)
    return b"".join(heads + tails)


def decode(types: Sequence[Type], content: bytes) -> list[JsonValue]:
    """Return what a method returned, or raise `AbiInvalid`."""
    return _Reader(content).values(types, 0)


def _head_bytes(kind: Type) -> int:
    """Return how many bytes a value has where all values stand beside each other."""
    if kind.is_dynamic:
        return WORD_BYTES
    if kind.kind == "array":
        return kind.size * _head_bytes(kind.parts[0])
    if kind.kind == "tuple":
        return sum(_head_bytes(part) for part in kind.parts)
    return WORD_BYTES


def _encode_one(kind: Type, value: JsonValue, where: str) -> bytes:
    match kind.kind:
        case "array" | "tuple":
            return _encode_many(kind, value, where)
        case "bytes":
            return _padded(_bytes(value, where))
        case "string":
            if not isinstance(value, str):
                raise AbiInvalid(f"{where} must be a text")
            return _padded(value.encode())
    return _encode_word(kind, value, where)


def _encode_word(kind: Type, value: JsonValue, where: str) -> bytes:
    match kind.kind:
        case "uint" | "int":
            return _number(kind, value, where)
        case "bool":
            if not isinstance(value, bool):
                raise AbiInvalid(f"{where} must be true or false")
            return word(int(value))
        case "address":
            found = parse_address(value) if isinstance(value, str) else None
            if found is None:
                raise AbiInvalid(f"{where} is no address, or its checksum is wrong")
            return found.rjust(WORD_BYTES, b"\0")
    content = _bytes(value, where)
    if len(content) != kind.size:
        raise AbiInvalid(f"{where} must have {kind.size} bytes")
    return content.ljust(WORD_BYTES, b"\0")


def _encode_many(kind: Type, value: JsonValue, where: str) -> bytes:
    if not isinstance(value, list):
        raise AbiInvalid(f"{where} must be a list")
    count = len(kind.parts) if kind.kind == "tuple" else kind.size
    if count not in (-1, len(value)):
        raise AbiInvalid(f"{where} must have {count} values")
    types = kind.parts if kind.kind == "tuple" else kind.parts * len(value)
    content = encode(types, value, where)
    return word(len(value)) + content if count == -1 else content


def _number(kind: Type, value: JsonValue, where: str) -> bytes:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
        raise AbiInvalid(f"{where} must be a whole number in a text, such as '1000'")
    number = int(text)
    least, most = (0, 2**kind.size - 1)
    if kind.kind == "int":
        least, most = -(2 ** (kind.size - 1)), 2 ** (kind.size - 1) - 1
    if not least <= number <= most:
        raise AbiInvalid(f"{where} is beyond what {kind.name} holds")
    return number.to_bytes(WORD_BYTES, signed=kind.kind == "int")


def _bytes(value: JsonValue, where: str) -> bytes:
    if not isinstance(value, str) or not HEX.fullmatch(value):
        raise AbiInvalid(f"{where} must be bytes such as '0x00ff'")
    return bytes.fromhex(value[2:])


def _padded(content: bytes) -> bytes:
    return word(len(content)) + content + bytes(-len(content) % WORD_BYTES)


class _Reader:
    """Bytes that a contract has written."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        # Several values may point to the same bytes.
        self._left, self._bytes_left = VALUES_MAX, len(content)

    def values(self, types: Sequence[Type], start: int) -> list[JsonValue]:
        """Return the values that stand from an offset on, from which theirs count."""
        found: list[JsonValue] = []
        place = start
        for kind in types:
            at = start + self._length(place) if kind.is_dynamic else place
            found.append(self._one(kind, at))
            place += _head_bytes(kind)
        return found

    def _one(self, kind: Type, at: int) -> JsonValue:
        self._left -= 1
        if self._left < 0:
            raise AbiInvalid(f"has more than {VALUES_MAX} values")
        match kind.kind:
            case "tuple":
                return self.values(kind.parts, at)
            case "array":
                count, begin = kind.size, at
                if count < 0:
                    count, begin = self._length(at), at + WORD_BYTES
                if count > self._left:
                    raise AbiInvalid(f"has more than {VALUES_MAX} values")
                return self.values(kind.parts * count, begin)
            case "bytes" | "string":
                content = self._take(at + WORD_BYTES, self._length(at))
                self._bytes_left -= len(content)
                if self._bytes_left < 0:
                    raise AbiInvalid("has more bytes in its values than it has")
                if kind.kind == "bytes":
                    return f"0x{content.hex()}"
                # Nothing makes contracts write UTF-8.
                return content.decode(errors="replace")
        return _read_word(kind, self._take(at, WORD_BYTES))

    def _length(self, at: int) -> int:
        """Return a length or an offset; one beyond the end is none."""
        number = int.from_bytes(self._take(at, WORD_BYTES))
        if number > len(self._content):
            raise AbiInvalid("ends too early")
        return number

    def _take(self, at: int, size: int) -> bytes:
        if at + size > len(self._content):
            raise AbiInvalid("ends too early")
        return self._content[at : at + size]


def _read_word(kind: Type, content: bytes) -> JsonValue:
    number = int.from_bytes(content, signed=kind.kind == "int")
    match kind.kind:
        case "uint" | "int":
            bits = kind.size - (1 if kind.kind == "int" else 0)
            if (number if number >= 0 else ~number) >> bits:
                raise AbiInvalid(f"has a number that is no {kind.name}")
            return str(number)
        case "bool":
            if number > 1:
                raise AbiInvalid("has something that is neither true nor false")
            return bool(number)
        case "address":
            if number >> (8 * ADDRESS_BYTES):
                raise AbiInvalid("has something that is no address")
            return f"0x{content[-ADDRESS_BYTES:].hex()}"
    if any(content[kind.size :]):
        raise AbiInvalid(f"has something that is no {kind.name}")
    return f"0x{content[: kind.size].hex()}"
