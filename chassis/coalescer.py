"""Calls of one operation each that travel together, in calls of a method that takes many.

The shape of such a method is the same in every contract: it takes `operations`, and answers as many
`outcomes`, each with a `refusal` that is the `google.rpc.Status` of a call of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import grpc
from google.rpc import status_pb2
from grpc import aio

from .channel import DEADLINE_SECONDS

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any

# A second one is for a first one that is full, or slow; more would only wait for the other side.
CALLS_MAX = 2
# Longer than a full call takes where nobody hangs.
PATIENCE_SECONDS = 0.05


class Outcome(Protocol):
    """What became of one operation; of one that was done the refusal is empty."""

    @property
    def refusal(self) -> Any: ...


Asked = TypeVar("Asked")
Done = TypeVar("Done", bound=Outcome)
Done_co = TypeVar("Done_co", bound=Outcome, covariant=True)


class Response(Protocol[Done_co]):
    """What a method that takes many operations answers."""

    @property
    def outcomes(self) -> Sequence[Done_co]: ...


@dataclass(frozen=True)
class _Waiting(Generic[Asked, Done]):
    """An operation, and the promise of its outcome."""

    asked: Asked
    answer: asyncio.Future[Done]
    context: Context


class Coalescer(Generic[Asked, Done]):
    """Calls a method that takes many operations, for callers who have one each.

    An operation goes out at once, unless a call is under way: then it goes with all others that
    wait, `size_max` at most, when that call ends. They go before, in one of `calls_max` calls, if
    so many wait or if the call takes longer than `patience_seconds`. A call that fails, fails for
    all its operations; each must be idempotent, because some of them may have been done.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Asked]], Awaitable[Response[Done]]],
        *,
        size_max: int,
        calls_max: int = CALLS_MAX,
        patience_seconds: float = PATIENCE_SECONDS,
        seconds_max: float = DEADLINE_SECONDS,
    ) -> None:
        self._send = send
        self._size_max = size_max
        self._calls_max = calls_max
        self._patience_seconds = patience_seconds
        self._seconds_max = seconds_max
        self._queue: deque[_Waiting[Asked, Done]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        # Those under way that nobody has lost patience with.
        self._quick: set[asyncio.Task[None]] = set()
        self._boarding: asyncio.Task[None] | None = None

    async def call(self, asked: Asked) -> Done:
        """Return what became of one operation.

        Raise `aio.AioRpcError` as a call of its own would have: for its refusal, for the failure of
        the call with which it went, and if there is no outcome within `seconds_max`.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Done] = loop.create_future()
        self._queue.append(_Waiting(asked, answer, copy_context()))
        self._depart()
        late = loop.call_later(self._seconds_max, _be_late, answer)
        try:
            # Who goes away cancels only what is theirs.
            outcome = await answer
        finally:
            late.cancel()
        if outcome.refusal.value:
            raise _refused(outcome.refusal)
        return outcome

    def _depart(self) -> None:
        """Begin a call if one may begin; it takes what waits when it runs, a moment later."""
        while self._queue and self._queue[0].answer.done():
            self._queue.popleft()
        if self._queue and self._may_depart():
            # In the context of the first, so that what goes alone is traced as a call of its own.
            call = asyncio.create_task(self._travel(), context=self._queue[0].context)
            call.add_done_callback(self._arrive)
            self._under_way.add(call)
            self._quick.add(call)
            self._boarding = call

    def _may_depart(self) -> bool:
        if self._boarding is not None or len(self._under_way) >= self._calls_max:
            return False
        return not self._quick or len(self._queue) >= self._size_max

    def _lose_patience(self, call: asyncio.Task[None]) -> None:
        self._quick.discard(call)
        self._depart()

    async def _travel(self) -> None:
        call = self._boarding
        assert call is not None, "it is this one"
        boarded = self._board()
        self._boarding = None
        if not boarded:
            # All went away a moment ago.
            return
        self._depart()
        loop = asyncio.get_running_loop()
        slow = loop.call_later(self._patience_seconds, self._lose_patience, call)
        try:
            response = await self._send([one.asked for one in boarded])
            outcomes = response.outcomes
            assert len(outcomes) == len(boarded), "each operation has an outcome"
        except Exception as error:  # noqa: BLE001  # all who went along get it
            for one in boarded:
                if not one.answer.done():
                    one.answer.set_exception(error)
        else:
            for one, outcome in zip(boarded, outcomes, strict=True):
                if not one.answer.done():
                    one.answer.set_result(outcome)
        finally:
            slow.cancel()
            # Of a call that was cancelled, because its channel was closed.
            for one in boarded:
                one.answer.cancel()

    def _arrive(self, call: asyncio.Task[None]) -> None:
        self._under_way.discard(call)
        self._quick.discard(call)
        if self._boarding is call:
            # Cancelled before it ran.
            self._boarding = None
        self._depart()

    def _board(self) -> list[_Waiting[Asked, Done]]:
        boarded: list[_Waiting[Asked, Done]] = []
        while self._queue and len(boarded) < self._size_max:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                boarded.append(waiting)
        return boarded


def _be_late(answer: asyncio.Future[Done]) -> None:
    if not answer.done():
        answer.set_exception(_error(grpc.StatusCode.DEADLINE_EXCEEDED, "no outcome in time"))


def _refused(refusal: Any) -> aio.AioRpcError:
    status = status_pb2.Status()
    refusal.Unpack(status)
    return _error(_CODES[status.code], status.message, status.SerializeToString())


def _error(code: grpc.StatusCode, message: str, details: bytes = b"") -> aio.AioRpcError:
    trailer = aio.Metadata(("grpc-status-details-bin", details)) if details else aio.Metadata()
    return aio.AioRpcError(code, aio.Metadata(), trailer, message, None)


_CODES = {code.value[0]: code for code in grpc.StatusCode}
