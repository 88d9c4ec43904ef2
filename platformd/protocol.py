"""The contract of platformd: how a packet is written, and what a quote signs.

A connection is a Unix socket of type SOCK_SEQPACKET; a packet is one JSON object of at most
`PACKET_BYTES_MAX` bytes. JSON is flat (strings, integers, booleans) and canonical: keys are sorted,
there is no space, all is ASCII. A packet that is written in any other way is refused. Bytes are
lower-case hexadecimal.

1. platformd measures who connects, then sends `{"challenge": "<32 hex>"}`. Every request repeats
   it: a request that was sent before the measurement, by a program that was replaced since, is
   worth nothing. Each packet must come from the very process that connected.
2. One request, one answer, in order. A refusal is `{"message": "...", "refused": "<REASON>"}`,
   and the connection stays, except after `PACKET_INVALID` and `CALLER_REFUSED`.

Operations, their fields -> their answer:

    measure                                -> role, code, signer, security_version, debug, problem
    derive_key  policy label security_version
                                           -> key (32 bytes), identity (32 bytes)
                policy is `code` or `signer`; the security version is at most the own one;
                identity is the hash of the code, or of the signer, that the key belongs to
    quote       report_data (64 bytes)     -> the fields of a quote
    read_counter                           -> counter
    increment_counter  request (16 bytes)  -> counter; the same request again changes nothing
    vouch       pid start_time role        -> nothing; for the parent process of platformd alone

Standard library only: platformd, its callers and the supervisor import this module.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

PACKET_BYTES_MAX = 4096
CHALLENGE_BYTES = 16
REQUEST_BYTES = 16
REPORT_BYTES = 64
HASH_BYTES = 32
KEY_BYTES = 32
LABEL_CHARACTERS_MAX = 100
ROLE_CHARACTERS_MAX = 32
NUMBER_MAX = 2**53 - 1
_HEXADECIMAL = frozenset("0123456789abcdef")

QUOTE_FORMAT = "actionvm.quote/v1"
QUOTE_PURPOSE = b"actionvm/quote/v1\n"

Value: TypeAlias = str | int | bool
Fields: TypeAlias = Mapping[str, Value]


class PacketInvalid(ValueError):
    """Whoever wrote this does not speak the protocol."""


def encode(fields: Fields) -> bytes:
    """Return the one way to write an object."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def decode(packet: bytes) -> dict[str, Value]:
    """Read an object; raise PacketInvalid if it is not flat, or not written in the one way."""
    try:
        found = json.loads(packet.decode("ascii"))
        canonical = encode(found) == packet
    except (ValueError, RecursionError) as error:
        raise PacketInvalid("the packet is no JSON") from error
    if not isinstance(found, dict):
        raise PacketInvalid("the packet is no object")
    if not all(isinstance(value, str | int | bool) for value in found.values()):
        raise PacketInvalid("a field is neither a text nor a number nor true or false")
    if not canonical:
        raise PacketInvalid("the packet is not canonical")
    return found


def text(fields: Fields, name: str, characters_max: int) -> str:
    """Return a text."""
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > characters_max:
        raise PacketInvalid(f"{name} is no text of at most {characters_max} characters")
    return value


def number(fields: Fields, name: str) -> int:
    """Return a number from 0 to `NUMBER_MAX`."""
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= NUMBER_MAX:
        raise PacketInvalid(f"{name} is no number from 0 to {NUMBER_MAX}")
    return value


def truth(fields: Fields, name: str) -> bool:
    """Return true or false."""
    value = fields.get(name)
    if not isinstance(value, bool):
        raise PacketInvalid(f"{name} is neither true nor false")
    return value


def octets(fields: Fields, name: str, length: int) -> bytes:
    """Return so many bytes."""
    value = fields.get(name)
    hexadecimal = isinstance(value, str) and set(value) <= _HEXADECIMAL
    if not isinstance(value, str) or not hexadecimal or len(value) != 2 * length:
        raise PacketInvalid(f"{name} is not {length} bytes in lower-case hexadecimal")
    return bytes.fromhex(value)


def expect(fields: Fields, *names: str) -> None:
    """Raise PacketInvalid unless an object has these fields and no other."""
    if set(fields) != set(names):
        raise PacketInvalid(f"the fields are not {', '.join(sorted(names)) or 'none'}")


def quoted(quote: Fields) -> bytes:
    """Return what the attestation key signs: all fields of a quote but the signature."""
    content = {name: value for name, value in quote.items() if name != "signature"}
    return QUOTE_PURPOSE + encode(content)


@contextmanager
def reachable(socket_path: Path) -> Iterator[str]:
    """Yield an address for a socket whose path may be longer than the 107 bytes of an address."""
    folder = os.open(socket_path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{socket_path.name}"
    finally:
        os.close(folder)
