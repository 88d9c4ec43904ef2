"""Processes that speak like a worker, or as no worker does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from socket import SHUT_RDWR, socket, socketpair

from sandbox.frames import HEADER, Kind, read

# What a process says, given the kind of what it has read, and that; nothing, before it has read.
Saying = Callable[[int, bytes], Iterable[bytes]]


def honest(kind: int, _: bytes) -> list[bytes]:
    """Return what a worker says of code that returns 1."""
    return [done()] if kind == Kind.ORDER else []


def done(**fields: object) -> bytes:
    """Return the end of an execution."""
    return ended({"answer": json.dumps({"value": 1}), **fields})


def ended(told: object) -> bytes:
    """Return the end of an execution, whatever it is."""
    return framed(json.dumps(told).encode())


def asks(count: int = 1) -> bytes:
    """Return a question."""
    calls = [{"action": "a.b", "arguments": {}}] * count
    return framed(json.dumps(calls).encode(), Kind.QUESTION)


def framed(body: bytes, kind: int = Kind.DONE) -> bytes:
    """Return a message as it is sent, whatever it is."""
    return HEADER.pack(len(body), kind) + body


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
                self._say(theirs, 0, b"")
                while (message := read(stream)) is not None:
                    self._say(theirs, *message)
        except OSError:
            pass

    def _say(self, theirs: socket, kind: int, body: bytes) -> None:
        for one in self._saying(kind, body):
            if not one:
                theirs.shutdown(SHUT_RDWR)
            theirs.sendall(one)
