"""The machine: what happens to one instance, no other thread hears of."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
from wasmtime.component import _enter

from sandbox import machine
from sandbox.launch import installed_runner
from sandbox.limits import Limits
from sandbox.machine import Machine, Session
from sandbox.outcome import Reason
from sandbox.trap import Trap
from tests.sandbox.worlds import acting

ROUNDS = 25
CALL = json.dumps({"action": "act", "arguments": {}, "seed": 1})


@cache
def _machine() -> Machine:
    return machine.load(installed_runner())


def _session(ask: Callable[[str], str]) -> Session:
    return Session(
        limits=Limits(fuel=300_000_000),
        ask=ask,
        now=lambda: 0.0,
        dice=random.Random(1),
        deadline=time.monotonic() + 60,
    )


def _call(export: str, ask: Callable[[str], str], *arguments: str) -> str:
    return _machine().call(_session(ask), export, *arguments)


def _compiled(body: str) -> str:
    files = json.dumps(dict(acting(body).files))
    code = json.loads(_call("compile", lambda _: "[]", files))["code"]
    assert isinstance(code, str)
    return code


def _execute(code: str, ask: Callable[[str], str]) -> str:
    return _call("execute", ask, code, "act.py", CALL)


def test_what_a_host_function_raises_in_one_thread_is_heard_in_no_other() -> None:
    asks, loops, returns = (
        _compiled(body) for body in ('ctx.call("a.b")', "while True: pass", "return 7")
    )

    def fails(_: str) -> str:
        raise ValueError("a secret of this run")

    def ending(code: str) -> str:
        try:
            return _execute(code, fails)
        except Trap as trap:
            return trap.reason

    with ThreadPoolExecutor(3) as threads:
        ends = [*threads.map(ending, [asks, loops, returns] * ROUNDS)]
    assert ends[0::3] == [Reason.TRAPPED] * ROUNDS
    assert ends[1::3] == [Reason.FUEL_EXHAUSTED] * ROUNDS
    assert [json.loads(end) for end in ends[2::3]] == [{"value": 7}] * ROUNDS
    assert _enter.LAST_EXCEPTION is None


@pytest.mark.parametrize("answered", ["no JSON", "[", "{}", "[]", "[1]"])
def test_wrong_answers_are_exceptions_of_the_code(answered: str) -> None:
    told = json.loads(_execute(_compiled('ctx.call("a.b")'), lambda _: answered))
    assert "error" in told


def test_the_host_is_on_the_bill() -> None:
    spent = []
    for body in ("return 1", "for _ in range(100): ctx.now()\nreturn 1"):
        code, session = _compiled(body), _session(lambda _: "[]")
        _machine().call(session, "execute", code, "act.py", CALL)
        spent.append(session.fuel)
    assert spent[1] - spent[0] > 100 * 100_000


def test_time_runs_out_also_after_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_IDLE_TICKS_MAX", 1)
    rested = machine.load(installed_runner())
    rested.ticker.start()
    code = _compiled("while True: pass")
    time.sleep(20 * machine.TICK_SECONDS)  # noqa: TID251  # it is the rest
    session = _session(lambda _: "[]")
    session.limits = Limits(fuel=50_000_000_000, compute_seconds=0.2)
    with pytest.raises(Trap) as raised:
        rested.call(session, "execute", code, "act.py", CALL)
    assert raised.value.reason == Reason.TIME_EXCEEDED
