"""Executes the code of a call: what it asks for are calls of its run, and go their way.

So a crash loses nothing: the code is executed again, gets the results that are in the journal, and
goes on where it was. Only these results and the times that are kept with them vary.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar, cast

from pydantic import JsonValue

from chassis.canonical import Json, sha256_hex
from chassis.clock import Clock
from chassis.errors import PeerUnavailable
from sandbox.errors import SandboxUnavailable
from sandbox.limits import Limits
from sandbox.outcome import Outcome, Reason
from sandbox.ports import Answer, Asked, Order, Sandbox, Suspended

from .facts import ActionCall, ActionFinished, Callers, CodeExecuted, HostCalled, Usage
from .jsontext import read_json, write_json
from .machines.effects import Act
from .policy import decided_arguments
from .ports import GasMeter
from .program import CodeLimits, ProgramCode

# Code whose answers take longer is dropped, and executed again once they are there.
SUSPEND_SECONDS = 5.0
# What fuel is counted in on a bill: as many instructions of WebAssembly.
FUEL_UNIT = 1_000
# The reason of code that does not ask for the same again.
DIVERGED = "CODE_DIVERGED"

_Answer = TypeVar("_Answer")


class Way(Protocol):
    """The run that a call belongs to, as far as its code needs it."""

    def asked(self, call_id: str) -> Sequence[HostCalled]:
        """Return what the code of a call has asked for so far."""

    async def results(
        self, call_ids: Sequence[str], *, seconds: float | None
    ) -> Sequence[ActionFinished] | None:
        """Return the results of calls of code; None if that takes longer."""

    async def record(self, event: HostCalled, /) -> None:
        """Make an event durable; raise `TooLate`."""

    async def insist(self, effect: Act, work: Callable[[], Awaitable[_Answer]], /) -> _Answer:
        """Return what the work gives, however often a peer has to be asked."""


class Executor:
    """Executes the code of calls of one run."""

    def __init__(
        self,
        sandbox: Sandbox,
        meter: GasMeter,
        way: Way,
        *,
        clock: Clock,
        run: str,
        account: str,
        callers: Callers,
    ) -> None:
        self._sandbox = sandbox
        self._meter = meter
        self._way = way
        self._clock = clock
        self._run = run
        self._account = account
        self._callers = callers

    async def execute(self, act: Act) -> CodeExecuted:
        """Execute code to its end: hold gas for the most that it may use, charge what it was."""
        code = act.action.code
        assert code is not None, "it is a call of code"
        limits = limits_of(code.limits)
        order = Order(
            action=code.function,
            arguments=decided_arguments(act.call),
            seed=seed_of(self._run, act.call.id),
            limits=limits,
        )
        hold = await self._way.insist(
            act,
            lambda: self._meter.reserve(
                request_id=f"{self._run}/call/{act.call.id}",
                account=self._account,
                run=self._run,
                callers=self._callers,
                item=f"code {act.action.name}",
                usages=_usages(limits.fuel, limits.host_calls),
            ),
        )
        host = CodeHost(self._way, act.call, self._clock)
        outcome = await self._play(act, code, order, host)
        used = _usages(outcome.fuel if outcome else limits.fuel, host.count)
        gas = await self._way.insist(act, lambda: self._meter.settle(hold, used))
        reason, result = told_of(outcome)
        return CodeExecuted(
            call_id=act.call.id,
            result=result,
            reason=reason,
            gas=gas,
            fuel=outcome.fuel if outcome else limits.fuel,
            seed=order.seed,
            now=host.time,
            logs=logs_of(outcome) if outcome else (),
            logs_dropped=outcome.logs_dropped if outcome else 0,
        )

    async def _play(
        self, act: Act, code: ProgramCode, order: Order, host: CodeHost
    ) -> Outcome | None:
        """Return how the code ends, however often it is dropped on the way; None if it diverges."""

        async def attempt() -> Outcome:
            try:
                return await self._sandbox.execute(code.executable, order, host)
            except SandboxUnavailable as error:
                raise PeerUnavailable("sandbox") from error

        while True:
            try:
                return await self._way.insist(act, attempt)
            except Diverged:
                return None
            except Suspended:
                await self._way.results(host.waits_for, seconds=None)


class Diverged(Exception):
    """Code asks for something else than it did with the same answers."""


class CodeHost:
    """A `sandbox.ports.Host`: answers with the results of calls of the run."""

    def __init__(self, way: Way, call: ActionCall, clock: Clock) -> None:
        self._way = way
        self._call = call
        self._clock = clock
        self.waits_for: tuple[str, ...] = ()
        self.begin()

    def begin(self) -> None:
        """Answer from the start, as an execution asks that begins; see `Host`."""
        self._batches = 0
        self.count = 0
        self.time = self._time_now()

    def now(self) -> float:
        """Return the time that the code sees; see `Host`."""
        return self.time.timestamp()

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        """Make calls of the run, or find those that were made before; see `Host`."""
        made = made_by(self._call, calls, self.count)
        if isinstance(made, str):
            return [Answer(reason="CALL_INVALID", message=made)] * len(calls)
        known = self._way.asked(self._call.id)
        if self._batches >= len(known):
            await self._way.record(HostCalled(self._call.id, made, self.time))
        elif known[self._batches].calls != made:
            raise Diverged
        self._batches += 1
        self.count += len(made)
        self.waits_for = tuple(call.id for call in made)
        results = await self._way.results(self.waits_for, seconds=SUSPEND_SECONDS)
        if results is None:
            raise Suspended
        self.time = max(self.time, self._time_now())
        return [answer_of(result) for result in results]

    def _time_now(self) -> datetime:
        """Return the time since the last answer, as it is in the journal if it is there."""
        known = self._way.asked(self._call.id)
        return known[self._batches].now if self._batches < len(known) else self._clock.now()


def made_by(call: ActionCall, asked: Sequence[Asked], count: int) -> tuple[ActionCall, ...] | str:
    """Return the calls that the code of a call asks for after `count` others, or what is wrong."""
    try:
        return tuple(
            ActionCall(f"{call.id}.{number}", f"{call.action}/{one.action}", _json(one.arguments))
            for number, one in enumerate(asked, start=count + 1)
        )
    except ValueError as error:
        return str(error)


def limits_of(limits: CodeLimits) -> Limits:
    """Return the limits of a bundle as the sandbox takes them.

    Fuel stops code that computes, the same way each time; time is for what fuel does not count.
    """
    return Limits(
        fuel=limits.fuel,
        memory_bytes=limits.memory_bytes,
        compute_seconds=float(limits.wall_seconds),
        wall_seconds=float(limits.wall_seconds),
        host_calls=limits.host_calls,
    )


def seed_of(run: str, call_id: str) -> int:
    """Return the seed of the dice of a call: who does not know the run cannot tell it."""
    return int(sha256_hex(f"{run}/call/{call_id}".encode())[:13], 16)


def told_of(outcome: Outcome | None) -> tuple[str, str]:
    """Return the reason of a failure, and as JSON text what the model is told."""
    if outcome is None:
        told = "the code asked for something else than before; it may have a new runner"
        return DIVERGED, _json({"error": DIVERGED, "message": told})
    if outcome.reason is None:
        try:
            return "", _json(outcome.value)
        except ValueError as error:
            failed = str(Reason.CODE_FAILED)
            return failed, _json({"error": failed, "message": f"its result {error}"})
    at = "".join(f" ({frame.file}:{frame.line})" for frame in outcome.frames[-1:])
    reason = str(outcome.reason)
    return reason, _json({"error": reason, "message": _clean(f"{outcome.message}{at}")})


def logs_of(outcome: Outcome) -> tuple[str, ...]:
    """Return the lines that code wrote, as they can be kept."""
    return tuple(map(_clean, outcome.logs))


def answer_of(result: ActionFinished) -> Answer:
    """Return what code hears of the result of a call."""
    value = read_json(result.result)
    if not result.reason:
        return Answer(value)
    message = value.get("message") if isinstance(value, dict) else ""
    return Answer(reason=result.reason, message=str(message))


def _json(value: Json) -> str:
    """Return JSON text that everybody can read again; raise `ValueError` if there is none."""
    # The two names of JSON differ in what they let be frozen.
    text = write_json(cast("JsonValue", value))
    read_json(text)
    return text


def _clean(text: str) -> str:
    """Return text without halves of surrogate pairs, which cannot be written."""
    return text.encode(errors="replace").decode()


def _usages(fuel: int, host_calls: int) -> tuple[Usage, ...]:
    used = (Usage("sandbox_fuel", -(-fuel // FUEL_UNIT)), Usage("host_calls", host_calls))
    return tuple(usage for usage in used if usage.amount)
