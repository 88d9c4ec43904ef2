"""Typed structured data (EIP-712): checked against its own types, then hashed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis.errors import InvalidField
from chassis.ethereum import ADDRESS_BYTES, keccak256, parse_address

from .operation import FACT_CHARACTERS_MAX, Fact, Facts
from .strictjson import Value, parse_json

TYPES_MAX = 64
MEMBERS_MAX = 64
TYPE_CHARACTERS_MAX = 128
VALUES_MAX = 4_096
# So many values of a message a policy can look at, in the order in which its types have them.
FACTS_MAX = 32
# Of all texts among them together; a record holds them at six bytes for a letter.
FACTS_CHARACTERS_MAX = 4_096

DOMAIN = "EIP712Domain"
# The members that a domain may have, in the order in which it has them.
_DOMAIN_MEMBERS = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
    "salt": "bytes32",
}

# `typed_data.message` and members of structs, as far as policies can name them.
_FACT_PATH = re.compile(r"typed_data\.(message\.[A-Za-z0-9_.]{1,56})")
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,63}")
# Some exchanges have types such as `HyperliquidTransaction:UsdSend`; a colon is not ambiguous.
_TYPE_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$:]{0,63}")
_ARRAY = re.compile(r"(.+)\[([1-9][0-9]{0,3})?\]")
_NUMBER = re.compile(r"(u?)int([1-9][0-9]*)")
_FIXED = re.compile(r"bytes([1-9][0-9]*)")
_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,77}", re.ASCII)
_HEX_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,64}")
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_WORD_BYTES = 32
_BITS_MAX = 256
_BYTE_BITS = 8


@dataclass(frozen=True)
class Member:
    """A member of a struct."""

    name: str
    type: str


@dataclass(frozen=True)
class TypedData:
    """Typed data that fits its types; the digest is what is signed.

    `facts` are the values of the message that are in no array, each under its path.
    """

    primary_type: str
    domain: Mapping[str, Value] = field(repr=False)
    message: Value = field(repr=False)
    facts: Facts = field(repr=False)
    digest: bytes = field(repr=False)


def parse_typed_data(content: bytes) -> TypedData:
    """Parse the JSON that wallets take: `types`, `primaryType`, `domain` and `message`.

    Where a value does not fit its type, `InvalidField` has its path.
    """
    data = parse_json("typed_data", content)
    wanted = {"types", "primaryType", "domain", "message"}
    if not isinstance(data, dict) or data.keys() != wanted:
        raise InvalidField("typed_data", "is no object of types, primaryType, domain and message")
    domain = _mapping("typed_data.domain", data["domain"])
    declared = _mapping("typed_data.types", data["types"])
    if len(declared) > TYPES_MAX:
        raise InvalidField("typed_data.types", f"has more than {TYPES_MAX} types")
    types = {name: _members(name, members) for name, members in declared.items()}
    types[DOMAIN] = _domain_type(domain, types.get(DOMAIN))
    _check_types(types)
    primary_type = data["primaryType"]
    if not isinstance(primary_type, str) or primary_type not in types or primary_type == DOMAIN:
        raise InvalidField("typed_data.primaryType", "is none of the types")
    encoder = _Encoder(types)
    domain_hash = encoder.hash_struct("typed_data.domain", DOMAIN, domain)
    message_hash = encoder.hash_struct("typed_data.message", primary_type, data["message"])
    digest = keccak256(b"\x19\x01" + domain_hash + message_hash)
    return TypedData(primary_type, domain, data["message"], encoder.facts, digest)


def _mapping(path: str, value: Value) -> Mapping[str, Value]:
    if not isinstance(value, dict):
        raise InvalidField(path, "is no object")
    return value


def _members(name: str, value: Value) -> tuple[Member, ...]:
    """Check the shape of a type; `_check_types` looks at what its members refer to."""
    if not _TYPE_NAME.fullmatch(name) or _is_atomic(name):
        raise InvalidField("typed_data.types", "has a type whose name is no name of a struct")
    path = f"typed_data.types.{name}"
    if not isinstance(value, list) or len(value) > MEMBERS_MAX:
        raise InvalidField(path, f"is no list of at most {MEMBERS_MAX} members")
    members = []
    for index, entry in enumerate(value):
        if not isinstance(entry, dict) or entry.keys() != {"name", "type"}:
            raise InvalidField(f"{path}[{index}]", "is no object of name and type")
        member, kind = entry["name"], entry["type"]
        if not isinstance(member, str) or not _NAME.fullmatch(member):
            raise InvalidField(f"{path}[{index}].name", "is no name")
        if not isinstance(kind, str) or len(kind) > TYPE_CHARACTERS_MAX:
            raise InvalidField(f"{path}[{index}].type", "is no name of a type")
        members.append(Member(member, kind))
    if len({member.name for member in members}) != len(members):
        raise InvalidField(path, "has a member twice")
    return tuple(members)


def _domain_type(
    domain: Mapping[str, Value], declared: tuple[Member, ...] | None
) -> tuple[Member, ...]:
    if not domain or domain.keys() - _DOMAIN_MEMBERS.keys():
        raise InvalidField("typed_data.domain", f"has none but {', '.join(_DOMAIN_MEMBERS)}")
    members = tuple(Member(name, kind) for name, kind in _DOMAIN_MEMBERS.items() if name in domain)
    if declared is not None and declared != members:
        raise InvalidField(
            f"typed_data.types.{DOMAIN}", "is not the members of the domain in their order"
        )
    return members


def _check_types(types: Mapping[str, tuple[Member, ...]]) -> None:
    for name, members in types.items():
        for index, member in enumerate(members):
            base = _base_of(member.type)
            if base == DOMAIN or (base not in types and not _is_atomic(base)):
                raise InvalidField(f"typed_data.types.{name}[{index}].type", "is no known type")


def _base_of(kind: str) -> str:
    """Return the type without its arrays."""
    while found := _ARRAY.fullmatch(kind):
        kind = found[1]
    return kind


def _is_atomic(kind: str) -> bool:
    if kind in ("address", "bool", "bytes", "string"):
        return True
    if found := _NUMBER.fullmatch(kind):
        bits = int(found[2][:4])
        return bits <= _BITS_MAX and bits % _BYTE_BITS == 0
    fixed = _FIXED.fullmatch(kind)
    return bool(fixed and int(fixed[1][:4]) <= _WORD_BYTES)


class _Encoder:
    """Hashes values by their types; a type is described once, however often it is used."""

    def __init__(self, types: Mapping[str, tuple[Member, ...]]) -> None:
        self._types = types
        self._type_hashes: dict[str, bytes] = {}
        self._values_left = VALUES_MAX
        self.facts: dict[str, Fact] = {}
        self._characters_left = FACTS_CHARACTERS_MAX

    def hash_struct(self, path: str, name: str, value: Value | Mapping[str, Value]) -> bytes:
        members = self._types[name]
        if not isinstance(value, Mapping):
            raise InvalidField(path, "is no object")
        if value.keys() != {member.name for member in members}:
            raise InvalidField(path, "does not have exactly the members of its type")
        words = [
            self._word(f"{path}.{member.name}", member.type, value[member.name])
            for member in members
        ]
        return keccak256(self._type_hash(name) + b"".join(words))

    def _type_hash(self, name: str) -> bytes:
        if name not in self._type_hashes:
            others = sorted(self._reachable(name) - {name})
            description = "".join(map(self._describe, (name, *others)))
            self._type_hashes[name] = keccak256(description.encode())
        return self._type_hashes[name]

    def _describe(self, name: str) -> str:
        members = ",".join(f"{member.type} {member.name}" for member in self._types[name])
        return f"{name}({members})"

    def _reachable(self, name: str) -> set[str]:
        found, waiting = set[str](), [name]
        while waiting:
            here = waiting.pop()
            if here in self._types and here not in found:
                found.add(here)
                waiting += [_base_of(member.type) for member in self._types[here]]
        return found

    def _word(self, path: str, kind: str, value: Value) -> bytes:
        self._values_left -= 1
        if self._values_left < 0:
            raise InvalidField("typed_data.message", f"has more than {VALUES_MAX} values")
        if array := _ARRAY.fullmatch(kind):
            if not isinstance(value, list) or (array[2] and len(value) != int(array[2])):
                raise InvalidField(path, "is no array of the length that its type says")
            words = [self._word(f"{path}[{i}]", array[1], each) for i, each in enumerate(value)]
            return keccak256(b"".join(words))
        if kind in self._types:
            return self.hash_struct(path, kind, value)
        word = _atom(path, kind, value)
        if len(self.facts) < FACTS_MAX and (found := _FACT_PATH.fullmatch(path)):
            fact = _fact(kind, value, word)
            length = len(fact) if isinstance(fact, str) else 0
            # A part of a text would match what the whole does not.
            if length <= min(FACT_CHARACTERS_MAX, self._characters_left):
                self._characters_left -= length
                self.facts[found[1]] = fact
        return word


def _fact(kind: str, value: Value, word: bytes) -> Fact:
    """Return a value that fits its type in the one way in which policies write it."""
    if kind == "bool":
        return bool(value)
    if number := _NUMBER.fullmatch(kind):
        return int.from_bytes(word, signed=not number[1])
    if kind == "address":
        return f"0x{word[-ADDRESS_BYTES:].hex()}"
    assert isinstance(value, str), "the value fits its type"
    return value if kind == "string" else value.lower()


def _atom(path: str, kind: str, value: Value) -> bytes:
    if kind == "bool":
        if not isinstance(value, bool):
            raise InvalidField(path, "is neither true nor false")
        return int(value).to_bytes(_WORD_BYTES)
    if number := _NUMBER.fullmatch(kind):
        return _number(path, value, bits=int(number[2]), is_signed=not number[1])
    if not isinstance(value, str):
        raise InvalidField(path, "is no text")
    if kind == "string":
        return _string(path, value)
    if kind == "address":
        address = parse_address(value)
        if address is None:
            raise InvalidField(path, "is no address, or its checksum is wrong")
        return address.rjust(_WORD_BYTES, b"\0")
    return _bytes(path, kind, value)


def _string(path: str, value: str) -> bytes:
    try:
        return keccak256(value.encode())
    except UnicodeEncodeError:
        raise InvalidField(path, "has half of a surrogate pair") from None


def _bytes(path: str, kind: str, value: str) -> bytes:
    if not _HEX.fullmatch(value):
        raise InvalidField(path, "is no text of 0x and pairs of hexadecimal digits")
    content = bytes.fromhex(value[2:])
    if kind == "bytes":
        return keccak256(content)
    if len(content) != int(kind.removeprefix("bytes")):
        raise InvalidField(path, f"has {len(content)} bytes; its type is {kind}")
    return content.ljust(_WORD_BYTES, b"\0")


def _number(path: str, value: Value, *, bits: int, is_signed: bool) -> bytes:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    elif isinstance(value, str) and _HEX_NUMBER.fullmatch(value):
        value = int(value, 16)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidField(path, "is no integer; send a number, decimals or 0x and digits")
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if is_signed else (0, 2**bits)
    if not least <= value < most:
        raise InvalidField(path, "is out of the range of its type")
    return value.to_bytes(_WORD_BYTES, signed=is_signed)
