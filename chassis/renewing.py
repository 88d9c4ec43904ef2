"""A channel that outlives its certificates: each call goes over the line of the present one.

gRPC fixes the certificate of a client when a channel is made, and a stub binds to its channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from grpc import aio

if TYPE_CHECKING:
    from .membership import Identity

# What gRPC does not type: a multicallable, and the call that it makes.
Multicallable = Callable[..., Any]


class _Line:
    """One channel, with the calls that are on it."""

    def __init__(self, identity: Identity, channel: aio.Channel) -> None:
        self.identity = identity
        self.channel = channel
        self.calls: WeakSet[Any] = WeakSet()

    def is_idle(self) -> bool:
        return all(call.done() for call in self.calls)


class RenewingChannel:
    """The part of `aio.Channel` that stubs use, over one line after the other.

    A line that was replaced is closed when its calls are done, at the earliest with the next one.
    """

    def __init__(
        self, present: Callable[[], Identity], open_now: Callable[[Identity], aio.Channel]
    ) -> None:
        self._present = present
        self._open_now = open_now
        self._line: _Line | None = None
        self._replaced: list[_Line] = []
        self._closing: set[asyncio.Task[None]] = set()

    def unary_unary(self, *arguments: Any, **options: Any) -> Multicallable:  # noqa: ANN401  # as in grpc
        """Return what a stub calls for one response."""
        return self._bind("unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Multicallable:  # noqa: ANN401  # as in grpc
        """Return what a stub calls for a stream of responses."""
        return self._bind("unary_stream", arguments, options)

    async def close(self, grace: float | None = None) -> None:
        """Close every line; calls have `grace` seconds to end."""
        lines = [*self._replaced, *([self._line] if self._line else [])]
        self._replaced, self._line = [], None
        for line in lines:
            await line.channel.close(grace)
        if self._closing:
            await asyncio.wait(self._closing)

    async def __aenter__(self) -> Self:
        """Return the channel, which closes with the block."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every line."""
        await self.close(None)

    def _bind(
        self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Multicallable:
        bound: tuple[_Line, Multicallable] | None = None

        def call(*call_arguments: Any, **call_options: Any) -> Any:  # noqa: ANN401  # as in grpc
            nonlocal bound
            line = self._present_line()
            if bound is None or bound[0] is not line:
                bound = (line, getattr(line.channel, kind)(*arguments, **options))
            made = bound[1](*call_arguments, **call_options)
            line.calls.add(made)
            return made

        return call

    def _present_line(self) -> _Line:
        identity = self._present()
        if self._line is None or self._line.identity is not identity:
            if self._line is not None:
                self._close_idle()
                self._replaced.append(self._line)
            self._line = _Line(identity, self._open_now(identity))
        return self._line

    def _close_idle(self) -> None:
        idle = [line for line in self._replaced if line.is_idle()]
        self._replaced = [line for line in self._replaced if line not in idle]
        for line in idle:
            task = asyncio.get_running_loop().create_task(line.channel.close(None))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
