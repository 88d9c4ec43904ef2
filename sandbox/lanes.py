"""One socket to a worker, on which one execution is under way at a time.

So no worker can speak for an execution of another one, nor answer twice. What it says is believed
as far as the limits of its execution reach; a worker that says anything else is not ours any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from chassis.log import log

from .frames import TIME, Broken, Kind, pack, to_json
from .incoming import Incoming, from_json
from .limits import Limits
from .outcome import Reason
from .ports import Answer, Asked, Host
from .reading import Done, read_asked, read_done

# Beyond the time that an execution may compute, after which its worker is not believed to end it.
GRACE_SECONDS = 2.0


class Lost(Exception):
    """A worker died while it executed something."""


class _Execution:
    """What is under way."""

    def __init__(self, host: Host, limits: Limits) -> None:
        self.host = host
        self.limits = limits
        self.done: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self.asking: asyncio.Task[None] | None = None
        self.asked = 0
        # Whether its worker has asked, and has no answer.
        self.is_waiting = False
        self.is_stopped = False
        self.timer: asyncio.TimerHandle | None = None


class Lane(asyncio.Protocol):
    """The side of the sandbox; `freed` is told when an execution is over, `failed` of any end."""

    def __init__(self, freed: Callable[[Lane], None], failed: Callable[[str], None]) -> None:
        self._freed = freed
        self._failed = failed
        self._incoming = Incoming()
        self._transport: asyncio.Transport | None = None
        self._execution: _Execution | None = None
        self._is_lost = False
        # Of an instance that its worker makes after an end, for the next order.
        self._may_prepare = self._prepares = self._is_prepared = False

    @property
    def delay(self) -> int:
        """Return how long an order waits: an instance is there, is being made, or has to be."""
        return 2 - self._prepares - self._is_prepared

    async def run(self, order: Mapping[str, Any], host: Host, limits: Limits) -> Done:
        """Have an order carried out; raise `Lost`, and whatever the host raises."""
        assert self._execution is None, "a lane has room for one"
        execution = self._execution = _Execution(host, limits)
        self._is_prepared = False
        if self._is_lost:
            self._end()
            raise Lost
        try:
            host.begin()
            self._send(Kind.ORDER, to_json({**order, "now": host.now()}).encode())
        except BaseException:
            # Nothing was said, so nothing is under way.
            self._end()
            raise
        self._later(execution, limits.wall_seconds, self._run_out)
        try:
            return await execution.done
        finally:
            if self._execution is execution:
                # Nobody waits for it any more: it ends where it asks next.
                self._stop(execution, Reason.TRAPPED)

    def close(self) -> None:
        """End it at once."""
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # That of uvloop is one without saying so.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take what a worker says."""
        try:
            for kind, body in self._incoming.feed(data):
                self._take(kind, body)
        except Broken as error:
            self._failed(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._is_lost = True
        if (execution := self._execution) and not execution.done.done():
            execution.done.set_exception(Lost())
        self._end()
        self._failed(str(exc or "it ended"))

    def _take(self, kind: int, body: bytes) -> None:
        execution = self._execution
        if kind == Kind.PREPARED and self._may_prepare:
            # The next order may be on its way.
            self._may_prepare, self._prepares = False, True
            self._is_prepared = execution is None
            return
        if execution is None:
            raise Broken("nothing was asked of it")
        if kind == Kind.QUESTION:
            self._take_question(execution, body)
        elif kind == Kind.DONE:
            done = read_done(from_json(body), execution.limits)
            if not execution.done.done():
                execution.done.set_result(done)
            self._may_prepare = True
            self._end()
        else:
            raise Broken("it says what no worker says")

    def _take_question(self, execution: _Execution, body: bytes) -> None:
        if execution.is_waiting:
            raise Broken("it asks before it was answered, or after it was stopped")
        execution.is_waiting = True
        asked = read_asked(body, execution.limits)
        execution.asked += max(1, len(asked)) if isinstance(asked, list) else 1
        if execution.is_stopped:
            return
        if execution.asked > execution.limits.host_calls:
            self._stop(execution, Reason.HOST_CALLS_EXCEEDED)
            return
        execution.asking = asyncio.create_task(self._ask(execution, asked))

    async def _ask(self, execution: _Execution, asked: list[Asked] | str) -> None:
        try:
            if isinstance(asked, str):
                answers: Sequence[Answer] = [Answer(reason="CALL_INVALID", message=asked)]
            else:
                answers = await execution.host.ask(asked)
                assert len(answers) == len(asked), "a host answers each call"
            text = _answers_json(answers, execution.limits.answer_bytes)
            time = TIME.pack(execution.host.now())
            execution.is_waiting = False
            if self._execution is execution:
                self._send(Kind.ANSWERS, time + text.encode())
        except Exception as error:  # noqa: BLE001  # whoever executes is told
            if not execution.done.done():
                execution.done.set_exception(error)

    def _run_out(self, execution: _Execution) -> None:
        self._stop(execution, Reason.TIME_EXCEEDED)

    def _stop(self, execution: _Execution, reason: Reason) -> None:
        """Have an execution end by itself, or its worker with it."""
        execution.is_stopped = True
        if execution.asking:
            execution.asking.cancel()
        self._send(Kind.STOP, reason.encode())
        self._later(execution, execution.limits.compute_seconds + GRACE_SECONDS, self._stuck)

    def _stuck(self, execution: _Execution) -> None:
        log.warning("sandbox.stuck")
        if not execution.done.done():
            told = Done(reason=Reason.TIME_EXCEEDED, fuel=execution.limits.fuel)
            execution.done.set_result(told)
        self._failed("it is stuck")

    def _later(
        self, execution: _Execution, seconds: float, then: Callable[[_Execution], None]
    ) -> None:
        if execution.timer:
            execution.timer.cancel()
        execution.timer = asyncio.get_running_loop().call_later(seconds, then, execution)

    def _end(self) -> None:
        if execution := self._execution:
            self._execution = None
            if execution.timer:
                execution.timer.cancel()
            if execution.asking:
                execution.asking.cancel()
            self._freed(self)

    def _send(self, kind: Kind, body: bytes) -> None:
        assert self._transport, "a lane is connected"
        self._transport.write(pack(kind, body))


def _answers_json(answers: Sequence[Answer], bytes_max: int) -> str:
    """Return answers as JSON; those that do not fit are refused."""
    texts = []
    for one in answers:
        text = _answer_json(one)
        if len(text) > bytes_max:
            text = _answer_json(Answer(reason="ANSWER_TOO_LARGE", message=_TOO_LARGE))
        bytes_max -= len(text)
        texts.append(text)
    return f"[{','.join(texts)}]"


def _answer_json(answer: Answer) -> str:
    return to_json({"value": answer.value, "reason": answer.reason, "message": answer.message})


_TOO_LARGE = "the answers are larger than code may be told at once: ask for less"
