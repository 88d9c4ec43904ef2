"""The worker's side of a lane: what code asks goes out, its answer comes in."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from . import frames
from .frames import Kind
from .limits import Limits
from .outcome import Reason
from .trap import Trap

_FLAWS_MAX = 32
_TEXT_MAX = 4_096


class Asking:
    """What one execution asks; `now` is the time of the last answer."""

    def __init__(
        self, limits: Limits, now: float, channel: socket.socket, stream: BinaryIO
    ) -> None:
        self.now = now
        self._limits = limits
        self._channel = channel
        self._stream = stream

    def ask(self, calls: str) -> str:
        """Wait for the answers; raise `Trap` where none come."""
        question = calls.encode()
        if len(question) > self._limits.argument_bytes:
            raise Trap(Reason.ARGUMENTS_EXCEEDED)
        self._channel.sendall(frames.pack(Kind.QUESTION, question))
        answered = frames.read(self._stream)
        if answered is None:
            raise Trap(Reason.TRAPPED)
        kind, body = answered
        if kind == Kind.STOP:
            raise Trap(Reason(body.decode()))
        (self.now,) = frames.TIME.unpack_from(body)
        return body[frames.TIME.size :].decode()


def cut(problems: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return problems, as many and as long as they may be."""
    return [
        {
            name: value[:_TEXT_MAX] if isinstance(value, str) else value
            for name, value in problem.items()
        }
        for problem in problems[:_FLAWS_MAX]
    ]
