"""Tries cases in the sandbox, and compares what comes of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chassis.canonical import Json
from sandbox.limits import Limits
from sandbox.outcome import Described, Outcome
from sandbox.ports import Code, Order, Sandbox

from .cases import Case, ExpectedCall
from .differences import Difference, is_same, shown
from .recorded import RecordedHost

FUEL_PER_GAS = 1_000_000
# Those of a run that says nothing else: fuel stops code that computes, the same way each time.
LIMITS = Limits(compute_seconds=Limits().wall_seconds)


@dataclass(frozen=True)
class Trial:
    """One execution, with recorded answers."""

    outcome: Outcome
    seconds: float
    calls: int
    differences: tuple[Difference, ...]

    @property
    def gas(self) -> int:
        """Return what its fuel costs."""
        return -(-self.outcome.fuel // FUEL_PER_GAS)


async def try_case(
    sandbox: Sandbox, code: Code, actions: Mapping[str, Described], case: Case
) -> Trial:
    """Execute a case, and return all in which it differs."""
    host = RecordedHost(actions[case.action], case.calls, case.start)
    order = Order(case.action, case.arguments, case.seed, LIMITS)
    outcome, seconds = await _execute(sandbox, code, order, host)
    found = [host.difference, host.missing(), _ending(case, outcome), _logs(case, outcome)]
    # What comes after a call that differs is but its consequence.
    kept = found[:1] if host.difference else found
    return Trial(outcome, seconds, host.count, tuple(one for one in kept if one))


async def try_once(
    sandbox: Sandbox,
    code: Code,
    order: Order,
    *,
    action: Described,
    calls: Sequence[ExpectedCall],
    start: float,
) -> Trial:
    """Execute an order with recorded answers, and expect nothing of it but its calls."""
    host = RecordedHost(action, calls, start)
    outcome, seconds = await _execute(sandbox, code, order, host)
    return Trial(outcome, seconds, host.count, (host.difference,) if host.difference else ())


async def _execute(
    sandbox: Sandbox, code: Code, order: Order, host: RecordedHost
) -> tuple[Outcome, float]:
    start = time.perf_counter()
    outcome = await sandbox.execute(code, order, host)
    return outcome, time.perf_counter() - start


def _ending(case: Case, outcome: Outcome) -> Difference | None:
    ended = _ended(outcome)
    if case.error:
        wanted = [f"error: {case.error.reason}", case.error.message]
        is_right = outcome.reason == case.error.reason and case.error.message in outcome.message
        return None if is_right else Difference("it ended differently", wanted, ended)
    if outcome.reason:
        wanted = _result(case.result) if case.has("result") else ["a result"]
        return Difference("it failed", wanted, ended)
    if case.has("result") and not is_same(case.result, outcome.value):
        return Difference("the result is different", shown(case.result), shown(outcome.value))
    return None


def _ended(outcome: Outcome) -> list[str]:
    if outcome.reason:
        return [f"error: {outcome.reason}", *outcome.message.split("\n")]
    return _result(outcome.value)


def _result(value: Json) -> list[str]:
    first, *rest = shown(value)
    return [f"result: {first}", *rest]


def _logs(case: Case, outcome: Outcome) -> Difference | None:
    if case.logs is None or [*case.logs] == [*outcome.logs]:
        return None
    return Difference("the log is different", case.logs, outcome.logs)
