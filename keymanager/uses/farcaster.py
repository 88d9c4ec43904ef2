"""Messages of Farcaster: read from the wire before they are signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from blake3 import blake3

from chassis.errors import InvalidField
from chassis.fields import require_size

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import Ed25519Key, LoadedKey
from .operation import Facts, fitting

# More than this is not taken by a hub.
DATA_BYTES_MAX = 2_048
HASH_BYTES = 20

# Type -> its name, and the field of its body.
_TYPES: Mapping[int, tuple[str, int]] = {
    1: ("CAST_ADD", 5),
    2: ("CAST_REMOVE", 6),
    3: ("REACTION_ADD", 7),
    4: ("REACTION_REMOVE", 7),
    5: ("LINK_ADD", 14),
    6: ("LINK_REMOVE", 14),
    7: ("VERIFICATION_ADD_ADDRESS", 9),
    8: ("VERIFICATION_REMOVE", 10),
    11: ("USER_DATA_ADD", 12),
    12: ("USERNAME_PROOF", 15),
    13: ("FRAME_ACTION", 16),
    14: ("VERIFICATION_ADD_SOL_ADDRESS", 9),
}
_NETWORKS = {1: "MAINNET", 2: "TESTNET", 3: "DEVNET"}
# The fields of MessageData before its body: type, fid, timestamp, network.
_HEAD = (1, 2, 3, 4)
_VARINT = 0
_LENGTH_DELIMITED = 2
_VARINT_BYTES_MAX = 10
_UINT32_MAX = 2**32 - 1
_UINT64_MAX = 2**64 - 1


@dataclass(frozen=True)
class FarcasterSignature:
    """What goes into a Message beside its data."""

    hash: bytes
    signature: bytes
    signer: bytes


@dataclass(frozen=True)
class SignFarcaster:
    """Sign a serialised MessageData; it goes into the Message as `data_bytes`."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.ED25519})
    name: ClassVar[str] = "farcaster"

    data: bytes = field(repr=False)
    _facts: Facts = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_facts", _read(self.data))

    def facts(self) -> Facts:
        return self._facts

    def perform(
        self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes
    ) -> FarcasterSignature:
        """Return the BLAKE3 hash of 20 bytes, and its signature."""
        private = fitting(key, Ed25519Key).private
        digest = blake3(self.data).digest(HASH_BYTES)
        return FarcasterSignature(
            hash=digest,
            signature=private.sign(digest),
            signer=private.public_key().public_bytes_raw(),
        )


def _read(data: bytes) -> Facts:
    """Read the head of the message; every reader of these bytes finds the same in them."""
    require_size("data", data, size_max=DATA_BYTES_MAX)
    numbers = []
    position = 0
    for expected in _HEAD:
        tag, position = _varint(data, position)
        if tag != expected << 3 | _VARINT:
            raise InvalidField("data", "does not start with type, fid, timestamp and network")
        number, position = _varint(data, position)
        numbers.append(number)
    tag, position = _varint(data, position)
    length, position = _varint(data, position)
    if position + length != len(data):
        raise InvalidField("data", "has not exactly one body after its head")
    kind, fid, timestamp, network = numbers
    if kind not in _TYPES or tag != _TYPES[kind][1] << 3 | _LENGTH_DELIMITED:
        raise InvalidField("data.type", "is not known, or its body is one of another type")
    if not fid:
        raise InvalidField("data.fid", "is 0")
    if not 0 < timestamp <= _UINT32_MAX:
        raise InvalidField("data.timestamp", "is no number of 32 bits above 0")
    if network not in _NETWORKS:
        raise InvalidField("data.network", "is not known")
    return {"message_type": _TYPES[kind][0], "fid": fid, "network": _NETWORKS[network]}


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a number in its shortest form, and where it ends."""
    value = 0
    for index, byte in enumerate(data[position : position + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004  # the bit that says that more follows
            if (index and not byte) or value > _UINT64_MAX:
                break
            return value, position + index + 1
    raise InvalidField("data", "is no protobuf in its shortest form")
