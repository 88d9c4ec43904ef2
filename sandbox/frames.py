"""Messages between a sandbox and its worker: a length of four bytes, then JSON."""

from __future__ import annotations

import json
import struct
from typing import Any

# Code with its packages, and the answers of a host, fit into it.
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
HEADER = struct.Struct(">I")


class Broken(Exception):
    """What came is no message."""


def pack(message: dict[str, Any]) -> bytes:
    """Return a message as bytes."""
    text = json.dumps(message, separators=(",", ":")).encode()
    return HEADER.pack(len(text)) + text


def size_of(header: bytes) -> int:
    """Return how long the rest is; raise `Broken` if that is more than may be."""
    (size,) = HEADER.unpack(header)
    if size > MESSAGE_BYTES_MAX:
        raise Broken(f"a message of {size} bytes")
    return int(size)


def unpack(text: bytes) -> dict[str, Any]:
    """Return a message; raise `Broken`."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Broken("not JSON") from error
    if not isinstance(message, dict):
        raise Broken("not an object")
    return message
