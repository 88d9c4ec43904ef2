"""Components that their authors compiled: what they can do, and which are refused."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import wasmtime
from wasmtime import component as wasm

from sandbox.choosing import Wall
from sandbox.launch import WorkerProcess, start_worker, surveyed
from sandbox.limits import MEBIBYTE
from sandbox.outcome import Reason
from sandbox.pool import Pool
from sandbox.ports import Answer, Asked, Component, Sandbox
from sandbox.sandboxes import Sandboxes
from sandbox.wasm import COMPONENT_BYTES_MAX, ComponentRefused, check_component
from tests.sandbox.components import compiled, component, returning
from tests.sandbox.worlds import RecordingHost, acting, execute

SEVEN = '{"value": 7}'
CONSTANT = component(returning(SEVEN), data=SEVEN)
ASKS = '[{"action": "board.post", "arguments": {"text": "hi"}}]'
# Writes `{"value": `, the answer, `}`.
ASKING = component(
    f"""
    (call $ask (i32.const 0x8000) (i32.const {len(ASKS)}) (i32.const 0x20))
    (call $join (i32.const {0x8000 + len(ASKS)}) (i32.const 10))
    (call $join (i32.load (i32.const 0x20)) (i32.load (i32.const 0x24)))
    (call $join (i32.const {0x8000 + len(ASKS) + 10}) (i32.const 1))
    (call $text (i32.const 0x20000) (global.get $length))
    """,
    data=ASKS + '{"value": ' + "}",
)
ENVIRONMENT = '(import "wasi:cli/environment@0.2.3" (instance))'


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(functools.partial(start_worker, compiles=True), workers=1)
    yield pool
    await pool.close()


async def test_workers_of_files_execute_no_components() -> None:
    files = Pool(start_worker, workers=1)
    components = Pool(functools.partial(start_worker, compiles=True), workers=1)
    walls: dict[Wall, Sandbox] = {Wall.FILES: files, Wall.COMPONENTS: components}
    both = Sandboxes(walls, native=frozenset(), survey=surveyed())
    assert (await execute(files, CONSTANT)).reason == Reason.CODE_INVALID
    assert (await execute(both, CONSTANT)).value == 7
    assert (await execute(both, acting("return 1"))).value == 1
    await files.close()
    await components.close()


async def test_a_component_returns_its_value(pool: Pool) -> None:
    outcome = await execute(pool, CONSTANT)
    assert (outcome.value, outcome.reason) == (7, None)
    assert 0 < outcome.fuel < 1_000


async def test_a_component_describes_itself(pool: Pool) -> None:
    (described,) = (await pool.examine(CONSTANT)).actions
    assert (described.name, described.description) == ("act", "Act.")
    assert described.capabilities == ("board.post",)
    assert described.parameters_schema == {"type": "object", "properties": {}}


async def test_a_component_gets_the_answers_of_its_host(pool: Pool) -> None:
    host = RecordingHost(lambda _: Answer({"id": 3}))
    outcome = await execute(pool, ASKING, host=host)
    assert outcome.value == [{"value": {"id": 3}, "reason": "", "message": ""}]
    assert host.asked == [Asked("board.post", {"text": "hi"})]


async def test_a_component_gets_its_call(pool: Pool) -> None:
    echo = component(
        """
        (call $join (i32.const 0x8000) (i32.const 10))
        (call $join (local.get $call) (local.get $size))
        (call $join (i32.const 0x800a) (i32.const 1))
        (call $text (i32.const 0x20000) (global.get $length))
        """,
        data='{"value": }',
    )
    outcome = await execute(pool, echo, arguments={"topic": "eth"}, seed=4)
    assert outcome.value == {"action": "act", "arguments": {"topic": "eth"}, "seed": 4}


async def test_what_a_component_logs_is_kept(pool: Pool) -> None:
    logging = component(
        "(call $log (i32.const 0x8000) (i32.const 2))" + returning(SEVEN),
        data=SEVEN,
    )
    assert (await execute(pool, logging)).logs == ('{"',)


async def test_the_same_component_takes_the_same_fuel(pool: Pool) -> None:
    outcomes = [await execute(pool, ASKING) for _ in range(5)]
    assert len({outcome.fuel for outcome in outcomes}) == 1


async def test_nothing_is_left_of_an_execution_for_the_next_one(pool: Pool) -> None:
    # A second execution in the same memory would find its length and append.
    first, second = [await execute(pool, ASKING) for _ in range(2)]
    assert first == second


async def test_a_component_that_was_dropped_is_compiled_again(pool: Pool) -> None:
    others = [component(returning(str(n)), data=str(n)) for n in range(20)]
    for one in [CONSTANT, *others]:
        await execute(pool, one)
    assert (await execute(pool, CONSTANT)).value == 7


@pytest.mark.parametrize(
    ("body", "reason", "limits"),
    [
        ("(loop (br 0)) (unreachable)", Reason.FUEL_EXHAUSTED, {"fuel": 10_000_000}),
        ("(loop (br 0)) (unreachable)", Reason.TIME_EXCEEDED, {"compute_seconds": 0.1}),
        ("(call $execute (local.get 0) (local.get 1))", Reason.STACK_EXHAUSTED, {}),
        ("(unreachable)", Reason.TRAPPED, {}),
        ("(call $text (i32.const -1) (i32.const 9))", Reason.TRAPPED, {}),
        ("(call $text (i32.const 0) (i32.const 0x70000))", Reason.OUTPUT_EXCEEDED, {}),
        ("(call $text (i32.const 0) (i32.const 0))", Reason.CODE_FAILED, {}),
    ],
)
async def test_a_component_that_goes_too_far_is_stopped(
    pool: Pool, body: str, reason: Reason, limits: dict[str, Any]
) -> None:
    outcome = await execute(pool, component(body), **{"fuel": 10**11, **limits})
    assert outcome.reason == reason
    assert outcome.message
    assert (await execute(pool, CONSTANT)).value == 7


async def test_memory_does_not_grow_beyond_its_limit(pool: Pool) -> None:
    # It grows as long as it can, and answers how many pages it has got.
    greedy = component(
        """
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        (i32.store8 (i32.const 0x800a) (i32.add (i32.const 0x30) (i32.shr_u (memory.size)
          (i32.const 8))))
        (call $text (i32.const 0x8000) (i32.const 12))
        """,
        data='{"value": 0}',
    )
    assert (await execute(pool, greedy, memory_bytes=64 * MEBIBYTE)).value == 3
    assert (await execute(pool, greedy, memory_bytes=128 * MEBIBYTE)).value == 7


async def test_a_trap_says_what_it_was(pool: Pool) -> None:
    outcome = await execute(pool, component("(unreachable)"))
    assert "unreachable" in outcome.message


async def test_names_of_functions_do_not_choose_the_reason(pool: Pool) -> None:
    lie = '(func $"all fuel consumed" (unreachable))'
    what = component('(call $"all fuel consumed") (unreachable)', functions=lie)
    assert b"all fuel consumed" in what.wasm
    assert (await execute(pool, what)).reason == Reason.TRAPPED


@pytest.mark.parametrize(
    "more",
    [
        "(core instance (instantiate $memory))",
        "(core module $t (table 1 funcref))" + "(core instance (instantiate $t))" * 5,
        "(core module $i)" + "(core instance (instantiate $i))" * 40,
        "(core module $t (table 200000 funcref)) (core instance (instantiate $t))",
    ],
    ids=["memories", "tables", "instances", "table"],
)
async def test_more_of_anything_than_an_action_needs_is_refused(pool: Pool, more: str) -> None:
    what = component(returning(SEVEN), data=SEVEN, more=more)
    assert (await execute(pool, what)).reason == Reason.MEMORY_EXHAUSTED
    (flaw,) = (await pool.examine(what)).flaws
    assert (flaw.kind, flaw.file) == ("failed", "action.wasm")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ('(import "wasi:sockets/tcp@0.2.0" (instance))', "wasi:sockets/tcp@0.2.0"),
        ('(import "wasi:cli/environment@0.3.0" (instance))', "wasi:cli/environment@0.3.0"),
        ('(import "actionvm:action/keys@0.1.0" (instance))', "actionvm:action/keys@0.1.0"),
        ('(import "run" (func))', "run"),
        (ENVIRONMENT + '(import "wasi:http/types@0.2.0" (instance))', "wasi:http/types@0.2.0"),
    ],
)
async def test_an_import_that_nobody_has_is_refused_with_its_name(
    pool: Pool, head: str, name: str
) -> None:
    what = component(returning(SEVEN), data=SEVEN, head=head)
    (flaw,) = (await pool.examine(what)).flaws
    assert (flaw.kind, flaw.message) == ("import", name)
    outcome = await execute(pool, what)
    assert (outcome.reason, outcome.message) == (Reason.CODE_INVALID, name)


async def test_an_import_that_everybody_has_is_there(pool: Pool) -> None:
    what = component(returning(SEVEN), data=SEVEN, head=ENVIRONMENT)
    assert (await execute(pool, what)).value == 7


async def test_a_function_that_an_interface_does_not_have_is_refused(pool: Pool) -> None:
    head = '(import "wasi:random/random@0.2.0" (instance (export "get-loot" (func))))'
    outcome = await execute(pool, component(returning(SEVEN), data=SEVEN, head=head))
    assert outcome.reason == Reason.CODE_INVALID
    assert "get-loot" in outcome.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("(component)", "does not export describe"),
        ('(component (import "wasi:random/random@0.2.0" (instance)) (core module))', "describe"),
        ("(component (core module (memory 1) (memory 1)))", "multiple memories"),
        ("(component (core module (memory i64 1)))", "memory64"),
        ("(component (core func (canon waitable-set.new)))", "async"),
    ],
)
async def test_what_no_action_needs_does_not_compile(pool: Pool, text: str, told: str) -> None:
    outcome = await execute(pool, Component(compiled(text)))
    assert outcome.reason == Reason.CODE_INVALID
    assert told in outcome.message


def _machine_code() -> bytes:
    config = wasmtime.Config()
    config.wasm_component_model = True
    return bytes(wasm.Component(wasmtime.Engine(config), CONSTANT.wasm).serialize())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (b"", "not a component"),
        (b"(component)", "not a component"),
        (b"\0asm\x02\0\0\0", "not a component"),
        (CONSTANT.wasm[:-1], "in the middle"),
        (CONSTANT.wasm[:200], "in the middle"),
        (CONSTANT.wasm[:8] + b"\x0a\xff\xff\xff\xff\xff\xff", "has no end"),
        (CONSTANT.wasm[:8] + b"\x0a\x05\xff\xff\xff\xff\x0f", "imports are more than"),
        (CONSTANT.wasm[:8] + b"\x0a\x04\x01\x00\x09a", "in the middle"),
        (CONSTANT.wasm[:8] + b"\0\0" * 10_001, "sections"),
        (compiled("(module)"), "wasm-tools component new"),
        (_machine_code(), "machine code is never taken"),
        (CONSTANT.wasm + bytes(COMPONENT_BYTES_MAX), "bytes are more than"),
    ],
)
def test_what_is_no_component_is_refused_with_the_way_out(given: bytes, told: str) -> None:
    with pytest.raises(ComponentRefused, match=told):
        check_component(given)


def test_garbage_is_refused_and_nothing_else_happens() -> None:
    whole = ASKING.wasm
    for at in range(8, len(whole), 7):
        garbled = whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]
        try:
            check_component(garbled)
        except ComponentRefused:
            continue


async def test_garbage_ends_no_worker(pool: Pool) -> None:
    whole = CONSTANT.wasm
    for at in range(8, len(whole), 61):
        garbled = whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :]
        assert (await execute(pool, Component(garbled))).reason != Reason.WORKER_LOST
    assert (await execute(pool, acting("return 1"))).value == 1


async def test_what_takes_too_long_to_compile_is_refused_and_not_tried_again() -> None:
    starts = 0

    async def start() -> WorkerProcess:
        nonlocal starts
        starts += 1
        return await start_worker(compiles=True)

    pool = Pool(start, workers=1, compile_seconds=0.1)
    bomb = component(returning(SEVEN), data=SEVEN, functions=_loops(700))
    for _ in range(3):
        outcome = await execute(pool, bomb)
        assert outcome.reason == Reason.CODE_INVALID
        assert "to compile" in outcome.message
    assert (await execute(pool, acting("return 1"))).value == 1
    await pool.close()
    assert starts == 2


def _loops(count: int) -> str:
    """Return a function that takes the compiler very long, since each loop may change all."""
    inner = " ".join(
        f"(local.set {n} (i32.add (local.get {n + 1}) (i32.const 1))) (br_if 0 (local.get 0)))"
        for n in range(count)
    )
    return f"(func (param i32) (local {'i32 ' * (count + 2)}) {'(loop ' * count} {inner})"


def test_a_component_is_known_by_the_digest_of_its_bytes() -> None:
    assert CONSTANT.sha256 == hashlib.sha256(CONSTANT.wasm).hexdigest()
