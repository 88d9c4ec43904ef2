"""Types of Solidity, and methods and events as people write them.

`transfer(address to, uint256 amount) returns (bool)`, `Transfer(address indexed from, …)`: the
"human-readable ABI", which ethers and viem read as well (https://abitype.dev/api/human).
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

from chassis.ethereum import keccak256

SIGNATURE_CHARACTERS_MAX = 500
PARAMETERS_MAX = 32
# Arrays of arrays, and tuples in them.
DEPTH_MAX = 4
SELECTOR_BYTES = 4
_LENGTH_MAX = 1_024

Kind: TypeAlias = Literal[
    "uint", "int", "address", "bool", "fixed bytes", "bytes", "string", "array", "tuple"
]

_WORD = re.compile(r"\s*([A-Za-z_$][A-Za-z0-9_$]*|[0-9]+|[()\[\],;])")
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_SIZED = re.compile(r"(uint|int|bytes)([0-9]{1,3})")
_SHORT: dict[str, Kind] = {
    "uint": "uint",
    "int": "int",
    "address": "address",
    "bool": "bool",
    "bytes": "bytes",
    "string": "string",
}
_PLACES = {"calldata", "memory", "storage", "payable"}
_MODIFIERS = {"external", "public", "view", "pure", "payable", "nonpayable", "virtual", "override"}
_BITS = 256


class SignatureInvalid(Exception):
    """What is wrong with a signature."""


@dataclass(frozen=True)
class Type:
    """A type; `size` is in bits of numbers, in bytes, or how long an array is: -1, any length."""

    kind: Kind
    size: int = 0
    parts: tuple[Type, ...] = ()

    @property
    def name(self) -> str:
        """Return it as a selector is made of it."""
        match self.kind:
            case "uint" | "int":
                return f"{self.kind}{self.size}"
            case "fixed bytes":
                return f"bytes{self.size}"
            case "array":
                length = "" if self.size < 0 else str(self.size)
                return f"{self.parts[0].name}[{length}]"
            case "tuple":
                return f"({','.join(part.name for part in self.parts)})"
        return self.kind

    @property
    def is_dynamic(self) -> bool:
        """Tell whether a value of it has no size that is known before."""
        if self.kind in ("bytes", "string") or (self.kind == "array" and self.size < 0):
            return True
        return any(part.is_dynamic for part in self.parts)


@dataclass(frozen=True)
class Parameter:
    """One of what is given or returned; the name may be empty."""

    type: Type
    name: str = ""
    is_indexed: bool = False


@dataclass(frozen=True)
class Signature:
    """A method or an event."""

    name: str
    parameters: tuple[Parameter, ...]
    returns: tuple[Parameter, ...] = ()

    @property
    def canonical(self) -> str:
        """Return it as its hash is made of it."""
        return f"{self.name}({','.join(one.type.name for one in self.parameters)})"

    @property
    def topic(self) -> bytes:
        """Return the hash, by which the logs of an event are known."""
        return keccak256(self.canonical.encode())

    @property
    def selector(self) -> bytes:
        """Return what a call of the method begins with."""
        return self.topic[:SELECTOR_BYTES]


def read_method(text: str) -> Signature:
    """Return a method, or raise `SignatureInvalid`."""
    reader = _Reader(text)
    name = reader.name(skip="function")
    parameters = reader.parameters()
    returns: tuple[Parameter, ...] = ()
    while word := reader.next():
        if word == "returns":
            returns = reader.parameters()
            break
        if word not in _MODIFIERS:
            raise reader.wrong(f"does not go on with {word}")
    reader.end()
    return Signature(name, parameters, returns)


def read_event(text: str) -> Signature:
    """Return an event, or raise `SignatureInvalid`."""
    reader = _Reader(text)
    name = reader.name(skip="event")
    parameters = reader.parameters(is_event=True)
    reader.end()
    return Signature(name, parameters)


class _Reader:
    """The words of a signature, one after the other."""

    def __init__(self, text: str) -> None:
        if len(text) > SIGNATURE_CHARACTERS_MAX:
            raise self.wrong(f"has more than {SIGNATURE_CHARACTERS_MAX} characters")
        self._words: deque[str] = deque()
        place = 0
        while text[place:].strip():
            found = _WORD.match(text, place)
            if not found:
                raise self.wrong(f"has something that is no word: {text[place:].strip()[:10]!r}")
            self._words.append(found[1])
            place = found.end()

    def wrong(self, problem: str) -> SignatureInvalid:
        """Return what is wrong."""
        return SignatureInvalid(f"{problem}; write it as in transfer(address to, uint256 amount)")

    def next(self) -> str:
        """Return the next word; the empty one at the end."""
        return self._words.popleft() if self._words else ""

    def end(self) -> None:
        """Hold that nothing follows."""
        if self._words and self._words[0] == ";":
            self.next()
        if self._words:
            raise self.wrong(f"goes on with {self._words[0]} after its end")

    def name(self, *, skip: str) -> str:
        """Return the name of what the signature is of."""
        word = self.next()
        if word == skip and self._words and self._words[0] != "(":
            word = self.next()
        if not _NAME.fullmatch(word):
            raise self.wrong("has no name before the parameters")
        return word

    def parameters(self, *, is_event: bool = False) -> tuple[Parameter, ...]:
        """Return what stands in parentheses."""
        return self._list(DEPTH_MAX, is_event=is_event)

    def _list(self, depth: int, *, is_event: bool = False) -> tuple[Parameter, ...]:
        if self.next() != "(":
            raise self.wrong("has no ( where parameters begin")
        return self._rest(depth, is_event=is_event)

    def _rest(self, depth: int, *, is_event: bool = False) -> tuple[Parameter, ...]:
        """Return what follows a parenthesis."""
        found: list[Parameter] = []
        if self._words and self._words[0] == ")":
            self.next()
            return ()
        while True:
            found.append(self._parameter(depth, is_event=is_event))
            if len(found) > PARAMETERS_MAX:
                raise self.wrong(f"has more than {PARAMETERS_MAX} parameters")
            word = self.next()
            if word == ")":
                return tuple(found)
            if word != ",":
                raise self.wrong("has parameters without a , between them or a ) after them")

    def _parameter(self, depth: int, *, is_event: bool) -> Parameter:
        kind, is_indexed, name = self._type(depth), False, ""
        while self._words and self._words[0] not in (",", ")"):
            word = self.next()
            if word == "indexed" and is_event and not is_indexed:
                is_indexed = True
            elif word in _PLACES and not name:
                continue
            elif _NAME.fullmatch(word) and not name:
                name = word
            else:
                raise self.wrong(f"has {word} after a parameter")
        return Parameter(kind, name, is_indexed)

    def _type(self, depth: int) -> Type:
        word = self.next()
        if depth == 0:
            raise self.wrong(f"is nested deeper than {DEPTH_MAX} levels")
        if word == "tuple" and self._words and self._words[0] == "(":
            word = self.next()
        if word == "(":
            found = Type("tuple", parts=tuple(one.type for one in self._rest(depth - 1)))
            if not found.parts:
                raise self.wrong("has a tuple of nothing")
        else:
            found = self._elementary(word)
        while self._words and self._words[0] == "[":
            depth -= 1
            if depth == 0:
                raise self.wrong(f"is nested deeper than {DEPTH_MAX} levels")
            self.next()
            found = Type("array", self._length(), (found,))
        return found

    def _length(self) -> int:
        word = self.next()
        if word == "]":
            return -1
        if not word.isdigit() or not 1 <= int(word[:6]) <= _LENGTH_MAX or self.next() != "]":
            raise self.wrong(f"has an array whose length is not from 1 to {_LENGTH_MAX}")
        return int(word)

    def _elementary(self, word: str) -> Type:
        kind = _SHORT.get(word)
        if kind:
            return Type(kind, _BITS if kind in ("uint", "int") else 0)
        sized = _SIZED.fullmatch(word)
        size = int(sized[2]) if sized else 0
        if sized and sized[1] == "bytes" and 1 <= size <= _BITS // 8:
            return Type("fixed bytes", size)
        if sized and sized[1] != "bytes" and 8 <= size <= _BITS and size % 8 == 0:  # noqa: PLR2004  # bits of a byte
            return Type("uint" if sized[1] == "uint" else "int", size)
        raise self.wrong(f"has a type that is not known: {word or 'nothing'}")
