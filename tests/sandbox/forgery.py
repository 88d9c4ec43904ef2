"""Processes that speak like a worker, or as no worker does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from socket import SHUT_RDWR, socket, socketpair
from typing import Any

from sandbox import frames

# What a process says, given the message that it has read; before the first one, nothing was read.
Saying = Callable[[dict[str, Any] | None], Iterable[bytes]]


def honest(message: dict[str, Any] | None) -> list[bytes]:
    """Return what a worker says of code that returns 1."""
    return [done()] if message and "files" in message else []


def done(**fields: object) -> bytes:
    """Return the end of an execution."""
    return said({"done": {"answer": json.dumps({"value": 1}), **fields}})


def said(message: Any) -> bytes:  # noqa: ANN401  # whatever a forger says
    """Return a message as it is sent, whatever it is."""
    return framed(json.dumps(message).encode())


def framed(text: bytes) -> bytes:
    """Return bytes with their length before them."""
    return len(text).to_bytes(4, "big") + text


class Forger:
    """A process of `sandbox.pool` that is none: a thread for each of its sockets."""

    def __init__(self, saying: Saying, sessions: int = 2) -> None:
        pairs = [socketpair() for _ in range(sessions)]
        self.channels = [ours for ours, _ in pairs]
        self.is_killed = False
        self._theirs = [theirs for _, theirs in pairs]
        self._saying = saying
        self._threads = [
            threading.Thread(target=self._speak, args=(theirs,)) for theirs in self._theirs
        ]
        for thread in self._threads:
            thread.start()

    def kill(self) -> None:
        """Close its ends."""
        self.is_killed = True
        for theirs in self._theirs:
            try:
                theirs.shutdown(SHUT_RDWR)
            except OSError:
                continue

    async def gone(self) -> None:
        """Wait for its threads."""
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        for theirs in self._theirs:
            theirs.close()

    def _speak(self, theirs: socket) -> None:
        try:
            with theirs.makefile("rb") as stream:
                self._say(theirs, None)
                while (message := frames.read(stream)) is not None:
                    self._say(theirs, message)
        except OSError:
            pass

    def _say(self, theirs: socket, message: dict[str, Any] | None) -> None:
        for one in self._saying(message):
            if not one:
                theirs.shutdown(SHUT_RDWR)
            theirs.sendall(one)
