"""Messages between a sandbox and its worker: a length of four bytes, then JSON."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

# Code with its packages, and the answers of a host, fit into it.
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
HEADER = struct.Struct(">I")


class Broken(Exception):
    """What came is no message."""


def pack(message: dict[str, Any]) -> bytes:
    """Return a message as bytes; raise `Broken` if it is larger than may be."""
    text = json.dumps(message, separators=(",", ":")).encode()
    if len(text) > MESSAGE_BYTES_MAX:
        raise Broken(f"a message of {len(text)} bytes")
    return HEADER.pack(len(text)) + text


def read(stream: BinaryIO) -> dict[str, Any] | None:
    """Wait for a message of the sandbox, which is believed; return nothing at the end."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    text = stream.read(size_of(header))
    if not text:
        return None
    message = json.loads(text)
    assert isinstance(message, dict), "the sandbox says objects"
    return message


def size_of(header: bytes | bytearray) -> int:
    """Return how long the rest of a message is; raise `Broken` if that is more than may be."""
    (size,) = HEADER.unpack(header)
    if size > MESSAGE_BYTES_MAX:
        raise Broken(f"a message of {size} bytes")
    return int(size)
