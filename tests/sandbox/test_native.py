"""Code outside of WebAssembly: the jail is its only wall, and the operator lets it there."""

from __future__ import annotations

import pytest

from sandbox.choosing import Wall, choose, read_digests
from sandbox.errors import SandboxUnavailable
from sandbox.jail import Survey
from sandbox.native import Native
from sandbox.outcome import Reason
from sandbox.ports import Component
from tests.sandbox.worlds import acting, execute

CODE = acting("return 1")
STRONG = Survey(bubblewrap="", refusal="", landlock=7, seccomp=True)
WEAK = Survey(bubblewrap="", refusal="", landlock=0, seccomp=False)


def test_code_leaves_webassembly_only_where_its_operator_says_so() -> None:
    approved = frozenset({CODE.sha256})
    assert choose(CODE, native=frozenset(), survey=STRONG) == Wall.FILES
    assert choose(acting("return 2"), native=approved, survey=STRONG) == Wall.FILES
    assert choose(CODE, native=approved, survey=STRONG) == Wall.NATIVE
    assert choose(Component(b"x"), native=approved, survey=STRONG) == Wall.COMPONENTS


def test_a_weak_jail_is_never_the_only_wall() -> None:
    with pytest.raises(SandboxUnavailable, match="outside of WebAssembly"):
        choose(CODE, native=frozenset({CODE.sha256}), survey=WEAK)


@pytest.mark.parametrize("text", ["0" * 63, "G" * 64, f"{'0' * 64},{'1' * 64}"])
def test_a_setting_that_has_no_digests_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no SHA-256"):
        read_digests(text)


async def test_code_has_native_wheels(native: Native) -> None:
    what = acting("import numpy\nreturn int(numpy.arange(5).sum())")
    assert (await execute(native, what)).value == 10


@pytest.mark.parametrize(
    "body",
    [
        'return open("/etc/passwd").read()',
        'return __import__("os").listdir("/")',
        'return str(__import__("socket").socket())',
        'return __import__("os").fork()',
        'return __import__("subprocess").run(["id"])',
        'return open("/proc/self/environ").read()',
        'return __import__("os").kill(1, 9)',
    ],
)
async def test_the_jail_stops_what_webassembly_does_not_have(native: Native, body: str) -> None:
    outcome = await execute(native, acting(body))
    assert outcome.reason in {Reason.CODE_FAILED, Reason.TRAPPED}
    assert outcome.value is None


async def test_the_environment_has_nothing_of_its_host(
    native: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "canary-of-the-host")
    outcome = await execute(native, acting('return sorted(__import__("os").environ)'))
    assert isinstance(outcome.value, list)
    assert "CANARY" not in outcome.value
    assert [name for name in outcome.value if not str(name).endswith("_THREADS")] == []


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        ("while True: pass", {Reason.FUEL_EXHAUSTED}),
        (
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
            {Reason.FUEL_EXHAUSTED},
        ),
        ('return len("x" * 2_000_000_000)', {Reason.MEMORY_EXHAUSTED}),
        ('__import__("time").sleep(60)', {Reason.TIME_EXCEEDED}),
        ('__import__("os")._exit(3)', {Reason.TRAPPED}),
        ('__import__("os").abort()', {Reason.TRAPPED}),
        ('return "x" * 1_000_000', {Reason.OUTPUT_EXCEEDED}),
        ("while True: ctx.call('a.b')", {Reason.HOST_CALLS_EXCEEDED}),
    ],
)
async def test_what_uses_too_much_is_stopped_for_its_own_reason(
    native: Native, body: str, reasons: set[Reason]
) -> None:
    outcome = await execute(native, acting(body), fuel=2_000_000_000, wall_seconds=3.0)
    assert outcome.reason in reasons
    assert (await execute(native, CODE)).value == 1


async def test_a_component_is_not_for_it(native: Native) -> None:
    (flaw,) = (await native.examine(Component(b"\0asm"))).flaws
    assert "WebAssembly only" in flaw.message
