"""Code that attacks: each attack ends with a reason of its own, and the same worker goes on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from sandbox.launch import WorkerProcess, start_worker
from sandbox.limits import Limits
from sandbox.outcome import Outcome, Reason
from sandbox.pool import Pool
from sandbox.ports import Code
from tests.sandbox.worlds import RecordingHost, acting, execute

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Beyond what an execution may compute, on a machine that does other things, too.
SLACK_SECONDS = 5.0
# More than any code computes in its time.
ENDLESS = 10**12
# What code that knows Python gets hold of, whatever it may import.
TOOLS = """\
sys = __import__("sys")
os, posix = sys.modules["os"], sys.modules["posix"]
load = __import__("importlib").import_module
host = sys.modules["wit_world.imports.host"]
"""


@dataclass
class House:
    """A sandbox with one worker, which must never be replaced."""

    pool: Pool
    started: list[WorkerProcess] = field(default_factory=list)

    async def attack(self, body: str, **limits: Any) -> Outcome:  # noqa: ANN401  # of `Limits`
        """Execute code; then see that the worker still executes the next one."""
        start = time.monotonic()
        outcome = await execute(self.pool, acting(TOOLS + body), **limits)
        took = time.monotonic() - start
        assert took < limits.get("compute_seconds", Limits.compute_seconds) + SLACK_SECONDS
        after = await execute(self.pool, acting("return [1, ctx.call('a.b')]"))
        assert (after.value, after.logs) == ([1, {"asked": "a.b"}], ())
        assert len(self.started) == 1, "the worker was lost"
        return outcome


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house() -> AsyncIterator[House]:
    started: list[WorkerProcess] = []

    async def start() -> WorkerProcess:
        started.append(await start_worker())
        return started[-1]

    pool = Pool(start, workers=1)
    yield House(pool, started)
    await pool.close()


STOPPED: Mapping[str, tuple[str, Reason]] = {
    "a loop": ("while True: pass", Reason.FUEL_EXHAUSTED),
    "a loop that catches all": (
        """
while True:
    try:
        while True: pass
    except BaseException: pass
""",
        Reason.FUEL_EXHAUSTED,
    ),
    "a regular expression": (
        "return __import__('re').match(r'(a+)+$', 'a' * 40 + 'b')",
        Reason.FUEL_EXHAUSTED,
    ),
    "a large power": ("return 3 ** 10**8 % 7", Reason.FUEL_EXHAUSTED),
    "colliding hashes": (
        """
class Same:
    def __hash__(self): return 1
    def __eq__(self, other): return False
return len({Same() for _ in range(100_000)})
""",
        Reason.FUEL_EXHAUSTED,
    ),
    "a text of an error that loops": (
        """
class Endless(Exception):
    def __str__(self):
        while True: pass
raise Endless
""",
        Reason.FUEL_EXHAUSTED,
    ),
    "a flood of `now`": ("while True: ctx.now()", Reason.FUEL_EXHAUSTED),
    "a flood of dice": ("while True: posix.urandom(65_536)", Reason.FUEL_EXHAUSTED),
    "a flood of lines": ("while True: ctx.log('x')", Reason.FUEL_EXHAUSTED),
    "a flood of calls": ("while True: ctx.call('a.b')", Reason.HOST_CALLS_EXCEEDED),
    "a batch of calls": ("ctx.gather(*[Call('a.b', {})] * 40)", Reason.HOST_CALLS_EXCEEDED),
    "lists": (
        "x = []\nwhile True: x.append(bytes(1_000_000))",
        Reason.MEMORY_EXHAUSTED,
    ),
    "a range": ("return len(list(range(10**9)))", Reason.MEMORY_EXHAUSTED),
    "one buffer": ("return len(bytearray(10**9))", Reason.MEMORY_EXHAUSTED),
    "a packed bomb": (
        """
zlib = __import__("zlib")
packer = zlib.compressobj()
packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
return len(zlib.decompress(packed))
""",
        Reason.FUEL_EXHAUSTED,
    ),
    "a line that does not fit twice": ("ctx.log('x' * 40_000_000)", Reason.MEMORY_EXHAUSTED),
    # CPython itself stumbles over memory that it did not get.
    "a text that doubles": ("x = 'a' * 1_000\nwhile True: x += x", Reason.TRAPPED),
    "a result": ("return 'x' * 1_000_000", Reason.OUTPUT_EXCEEDED),
    "an argument": ("ctx.call('a.b', x='y' * 2_000_000)", Reason.ARGUMENTS_EXCEEDED),
    "arguments that grow in JSON": (
        "ctx.call('a.b', x='\\x00' * 500_000)",
        Reason.ARGUMENTS_EXCEEDED,
    ),
    "recursion": ("f = lambda: f()\nreturn f()", Reason.CODE_FAILED),
    "recursion without a limit": (
        "sys.setrecursionlimit(10**8)\nf = lambda: f()\nreturn f()",
        Reason.STACK_EXHAUSTED,
    ),
    "recursion in C": (
        "x = []\nfor _ in range(100_000): x = [x]\nreturn repr(x)",
        Reason.STACK_EXHAUSTED,
    ),
    "deep JSON": ("return sys.modules['json'].loads('[' * 10**6)", Reason.STACK_EXHAUSTED),
    "a deep expression": ("return eval('(' * 1_000 + ')' * 1_000)", Reason.STACK_EXHAUSTED),
    "sleep": ("__import__('time').sleep(10**6)", Reason.TRAPPED),
    "select": ("load('select').select([], [], [], 10**6)", Reason.TRAPPED),
    "poll": ("load('select').poll().poll(10**6)", Reason.TRAPPED),
    "abort": ("posix.abort()", Reason.TRAPPED),
    "_exit": ("posix._exit(0)", Reason.TRAPPED),
    "exit": ("sys.exit(0)", Reason.CODE_FAILED),
    "an interrupt": ("raise KeyboardInterrupt", Reason.CODE_FAILED),
    "a wrong address": ("load('faulthandler')._sigsegv()", Reason.TRAPPED),
    "corrupt bytecode": (
        "f = lambda: 1\nf.__code__ = f.__code__.replace(co_code=bytes(range(256)))\nreturn f()",
        Reason.TRAPPED,
    ),
    "corrupt marshal": ("load('marshal').loads(b'\\xe3' + b'\\xff' * 99)", Reason.CODE_FAILED),
    "dice in one piece": ("posix.urandom(10**6)", Reason.FUEL_EXHAUSTED),
    "no text for a line": ("host.log(None)", Reason.TRAPPED),
    "half a character in a line": ("ctx.log('\\ud800')", Reason.TRAPPED),
    "no text for a call": ("host.ask(None)", Reason.TRAPPED),
    "a large text for a call": ("host.ask(' ' * 2_000_000)", Reason.ARGUMENTS_EXCEEDED),
}


@pytest.mark.parametrize("name", STOPPED)
async def test_code_is_stopped_for_a_reason(house: House, name: str) -> None:
    body, reason = STOPPED[name]
    assert (await house.attack(body)).reason == reason


LOCKED: Mapping[str, tuple[str, str]] = {
    "a file": ("return open('/etc/passwd').read()", "FileNotFoundError"),
    "a file to write": ("return open('/tmp/x', 'w')", "FileNotFoundError"),
    "a file by its descriptor": ("return posix.open('/etc/passwd', 0)", "FileNotFoundError"),
    "a folder": ("return posix.listdir('/')", "FileNotFoundError"),
    "the environment of the process": ("open('/proc/self/environ')", "FileNotFoundError"),
    "a socket": ("return load('_socket').socket()", ""),
    "the network": ("return load('socket').create_connection(('a', 1))", "ModuleNotFoundError"),
    "a process": ("return load('subprocess').run('id')", "ModuleNotFoundError"),
    "a fork": ("return posix.fork()", "AttributeError"),
    "a shell": ("return posix.system('id')", "AttributeError"),
    "a signal": ("return posix.kill(1, 9)", "AttributeError"),
    "a library": ("return load('ctypes').CDLL(None)", "ModuleNotFoundError"),
    "a thread": ("load('_thread').start_new_thread(print, ())", "RuntimeError"),
    "standard input": ("return posix.read(0, 1)", ""),
    "standard output": ("return posix.write(1, b'x')", ""),
    "the keyboard": ("return input()", ""),
}


@pytest.mark.parametrize("name", LOCKED)
async def test_there_is_nothing_around_code(house: House, name: str) -> None:
    body, error = LOCKED[name]
    outcome = await house.attack(body)
    assert outcome.reason == (Reason.CODE_FAILED if error else Reason.TRAPPED)
    assert outcome.message.startswith(error)


async def test_nothing_of_the_host_is_in_the_memory_of_code(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "canary-7f3a"
    monkeypatch.setenv("ACTIONVM_CANARY", canary)
    outcome = await house.attack(
        """
gc = load("gc")
seen = [dict(os.environ), sys.argv, sys.executable, sorted(sys.modules), posix.uname()]
frame = sys._getframe()
while frame:
    seen.append([frame.f_code.co_filename, list(frame.f_locals), list(frame.f_globals)])
    frame = frame.f_back
everything, pending = {}, [*gc.get_objects(), *map(vars, sys.modules.values())]
while pending and len(everything) < 20_000:
    one = pending.pop()
    if id(one) not in everything:
        everything[id(one)] = one
        pending += gc.get_referents(one)
texts = [one for one in everything.values() if isinstance(one, (str, bytes))]
word = "canary" + "-"
found = [repr(one) for one in texts if (word if isinstance(one, str) else word.encode()) in one]
return [len(texts), found, [name for name in os.environ], sys.argv, sys.executable, repr(seen)]
""",
        fuel=ENDLESS,
    )
    assert isinstance(outcome.value, list), outcome
    count, found, variables, argv, executable, seen = outcome.value
    assert isinstance(count, int)
    assert count > 1_000, "it looked at little"
    assert (found, variables, argv, executable) == ([], [], [], "")
    assert canary not in str(seen)


async def test_time_is_over_even_if_fuel_is_not(house: House) -> None:
    outcome = await house.attack("while True: pass", fuel=ENDLESS, compute_seconds=0.2)
    assert (outcome.reason, outcome.fuel) == (Reason.TIME_EXCEEDED, ENDLESS)


@pytest.mark.parametrize("cheap", ["ctx.now()", "ctx.log('x')", "posix.urandom(8)"])
async def test_cheap_calls_do_not_extend_the_time(house: House, cheap: str) -> None:
    outcome = await house.attack(f"while True: {cheap}", fuel=ENDLESS, compute_seconds=0.2)
    assert outcome.reason == Reason.TIME_EXCEEDED


async def test_calls_do_not_extend_the_time_of_the_whole(house: House) -> None:
    start = time.monotonic()
    outcome = await house.attack(
        "while True: ctx.call('a.b')", fuel=ENDLESS, host_calls=10**9, wall_seconds=0.3
    )
    assert outcome.reason == Reason.TIME_EXCEEDED
    assert time.monotonic() - start < 0.3 + SLACK_SECONDS


async def test_a_log_has_a_limit_and_what_is_dropped_is_counted(house: House) -> None:
    outcome = await house.attack("for _ in range(100): print('x' * 999)", log_bytes=10_000)
    assert (len(outcome.logs), outcome.logs_dropped) == (10, 90)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ("float('nan')", "is nan"),
        ("float('-inf')", "is -inf"),
        ("2**400", "2^53"),
        ("{1: 2}", "keys that are not text"),
        ("object()", "is object"),
        ("b'x'", "is bytes"),
        ("'\\ud800'", "Invalid JSON"),
    ],
)
async def test_a_result_that_is_not_json_is_said_to_be_none(
    house: House, result: str, told: str
) -> None:
    outcome = await house.attack(f"return {result}")
    assert (outcome.value, outcome.reason) == (None, Reason.CODE_FAILED)
    assert told in outcome.message


@pytest.mark.parametrize(
    "written",
    [
        "x",
        "[]",
        '{"value": NaN}',
        '{"value": 1e999}',
        '{"value": 9007199254740993}',
        '{"value": ' + "[" * 200 + "]" * 200 + "}",
        '{"value": "\\ud800"}',
        '{"error": 1}',
        '{"error": {"kind": "E", "message": "m", "frames": [{}]}}',
    ],
)
async def test_a_forged_result_is_not_believed(house: House, written: str) -> None:
    forge = f"sys.modules['json'].JSONEncoder.encode = lambda *_: {written!r}\nreturn 1"
    outcome = await house.attack(forge)
    assert (outcome.value, outcome.reason) == (None, Reason.CODE_FAILED)


@pytest.mark.parametrize(
    "asked",
    [
        "{",
        "{}",
        "[1]",
        "[" * 100_000,
        "[" + "1" * 100_000 + "]",
        '[{"action": 1, "arguments": {}}]',
        '[{"action": "a.b", "arguments": []}]',
        '[{"action": "../a", "arguments": {}}]',
        '[{"action": "a.b", "arguments": {"x": NaN}}]',
        '[{"action": "a.b", "arguments": {"x": 1e999}}]',
        '[{"action": "a.b", "arguments": {"x": 9007199254740993}}]',
        '[{"action": "a.b", "arguments": {"x": "\\ud800"}}]',
        f'[{{"action": "a.b", "arguments": {{"x": {"[" * 100}{"]" * 100}}}}}]',
    ],
)
async def test_a_host_hears_nothing_that_is_no_call(house: House, asked: str) -> None:
    host = RecordingHost()
    body = f"{TOOLS}return sys.modules['json'].loads(host.ask({asked!r}))[0]['reason']"
    assert (await execute(house.pool, acting(body), host=host)).value == "CALL_INVALID"
    assert host.asked == []


async def test_code_that_answers_itself_reaches_nobody(house: House) -> None:
    host = RecordingHost()
    body = """
    class Own:
        def ask(self, calls): return ["granted"]
    ctx._host = Own()
    return ctx.call("board.post")
    """
    outcome = await execute(house.pool, acting(body), host=host)
    assert (outcome.value, host.asked) == ("granted", [])


async def test_what_code_poisons_is_gone_with_it(house: House) -> None:
    body = """
load("builtins").len = lambda _: 99
sys.modules["actionvm_sdk"].Context.call = lambda *_, **__: "poisoned"
sys.meta_path.clear()
sys.modules.clear()
return 1
"""
    await house.attack(body)
    assert (await house.attack("return len([1])")).value == 1


async def test_arguments_have_a_limit_too(house: House) -> None:
    arguments = {"text": "x" * 2_000_000}
    outcome = await execute(house.pool, acting("return 1"), arguments=arguments)
    assert outcome.reason == Reason.ARGUMENTS_EXCEEDED


async def test_an_error_is_told_in_a_few_words(house: House) -> None:
    outcome = await house.attack("raise ValueError('x' * 10**6)")
    assert outcome.reason == Reason.CODE_FAILED
    assert len(outcome.message) <= 4_096


@pytest.mark.parametrize("name", ["evil.cwasm", "evil.pyc", "evil.so", "evil.py"])
async def test_code_that_is_compiled_already_is_nothing_to_execute(house: House, name: str) -> None:
    # What each of them begins with, as text: there is no other way to hand it in.
    compiled = "\x7fELF\x02\x01" if name.endswith((".cwasm", ".so")) else "\xe3\x00\r\n"
    head = "from actionvm_sdk import Context, action\nimport evil\n\n@action\n"
    main = f"{head}def act(ctx: Context) -> int:\n    return 1\n"
    what = Code("act.py", {"act.py": main, name: compiled})
    assert (await execute(house.pool, what)).reason == Reason.CODE_INVALID
    assert (await house.pool.examine(what)).flaws
    await house.attack("return 1")


async def test_a_worker_survives_what_it_cannot_hand_over(house: House) -> None:
    outcome = await execute(house.pool, Code("\ud800.py", {"\ud800.py": "x = 1\n"}))
    assert outcome.reason == Reason.WORKER_LOST
    await house.attack("return 1")
