"""Messages between a sandbox and its worker: a length of four bytes, a kind, and a body."""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import BinaryIO

# Code with its packages, and the answers of a host, fit into it.
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
HEADER = struct.Struct(">IB")
# The time of answers, before their JSON.
TIME = struct.Struct(">d")

to_json = json.JSONEncoder(separators=(",", ":")).encode


class Kind(IntEnum):
    """What a body is."""

    # Of the worker: nothing or why it does not start; the JSON of calls; the JSON of an end; that
    # an instance waits for the next order, after an end.
    READY = 1
    QUESTION = 2
    DONE = 3
    PREPARED = 7
    # Of the sandbox: the JSON of an order; a time and the JSON of answers; a reason to end.
    ORDER = 4
    ANSWERS = 5
    STOP = 6


class Broken(Exception):
    """What came is no message."""


def pack(kind: Kind, body: bytes) -> bytes:
    """Return a message as bytes; raise `Broken` if it is larger than may be."""
    if len(body) > MESSAGE_BYTES_MAX:
        raise Broken(f"a message of {len(body)} bytes")
    return HEADER.pack(len(body), kind) + body


def read(stream: BinaryIO) -> tuple[int, bytes] | None:
    """Wait for a message of the sandbox, which is believed; return nothing at the end."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    size, kind = HEADER.unpack(header)
    body = stream.read(size)
    return (kind, body) if len(body) == size else None
