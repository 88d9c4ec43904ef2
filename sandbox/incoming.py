"""Puts together what a worker says, which may be anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydantic_core

from .frames import HEADER, Broken, size_of


class Incoming:
    """What has come of messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Return what is complete; raise `Broken`."""
        self._bytes += data
        while len(self._bytes) >= HEADER.size:
            end = HEADER.size + size_of(self._bytes[: HEADER.size])
            if len(self._bytes) < end:
                return
            text = bytes(self._bytes[HEADER.size : end])
            del self._bytes[:end]
            yield _unpack(text)


def _unpack(text: bytes) -> dict[str, Any]:
    try:
        # Unlike `json`, it refuses half a character and any depth.
        message = pydantic_core.from_json(text)
    except ValueError as error:
        raise Broken("not JSON") from error
    if not isinstance(message, dict):
        raise Broken("not an object")
    return message
