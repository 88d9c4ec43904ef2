"""Puts together what a worker says, which may be anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydantic_core

from .frames import HEADER, MESSAGE_BYTES_MAX, Broken


class Incoming:
    """What has come of messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Return kinds and bodies that are complete; raise `Broken`."""
        self._bytes += data
        while len(self._bytes) >= HEADER.size:
            size, kind = HEADER.unpack_from(self._bytes)
            if size > MESSAGE_BYTES_MAX:
                raise Broken(f"a message of {size} bytes")
            end = HEADER.size + size
            if len(self._bytes) < end:
                return
            body = bytes(self._bytes[HEADER.size : end])
            del self._bytes[:end]
            yield kind, body


def from_json(body: bytes) -> Any:  # noqa: ANN401  # JSON
    """Return what a body says; raise `Broken`."""
    try:
        # Unlike `json`, it refuses half a character and any depth.
        return pydantic_core.from_json(body)
    except ValueError as error:
        raise Broken("not JSON") from error
