"""Objects of the snapshot, of which instances count no references."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest

from sandbox.immortal import NoSnapshot, immortalized
from sandbox.pool import Pool
from tests.sandbox.worlds import acting, execute

MARK = b"a mark of the objects"
KIND = 4_000
IMMORTAL = 5 << 28
LIST_AT = 300


def leb(number: int) -> bytes:
    more = b""
    while number >= 0x80:
        more += bytes([number & 0x7F | 0x80])
        number >>= 7
    return more + bytes([number])


def section(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + leb(len(body)) + body


def component(memory: Mapping[int, bytes], *, passive: bool = False) -> bytes:
    """Return a component with a module that has this in its memory, and one without any."""
    data = leb(len(memory)) + b"".join(
        (b"\x01" if passive else b"\x00\x41" + leb(at) + b"\x0b") + leb(len(piece)) + piece
        for at, piece in memory.items()
    )
    module = b"\0asm\x01\0\0\0"
    with_memory = module + section(5, b"\x01\x00\x01") + section(11, data)
    return b"\0asm\x0d\0\x01\0" + section(1, module) + section(1, with_memory)


def listed(*addresses: int) -> bytes:
    pairs = [number for at in addresses for number in (at, KIND)]
    return MARK + struct.pack(f"<I{len(pairs)}I", len(addresses), *pairs) + MARK


def head(count: int, kind: int = KIND) -> bytes:
    return struct.pack("<II", count, kind)


def counts(wasm: bytes) -> list[int]:
    """Return the counts of all heads in a component, in their order."""
    kind = struct.pack("<I", KIND)
    before = wasm[: wasm.index(MARK)]
    found, at = [], before.find(kind)
    while at >= 0:
        found.append(int.from_bytes(before[at - 4 : at], "little"))
        at = before.find(kind, at + 1)
    return found


def test_what_is_listed_lives_for_ever() -> None:
    memory = {16: head(3) + b"more of it", 100: head(1), LIST_AT: listed(16, 100)}
    before = component(memory)
    after = immortalized(before, MARK)
    assert counts(after) == [IMMORTAL, IMMORTAL]
    assert len(after) == len(before)
    assert after[after.index(MARK) :] == before[before.index(MARK) :]


def test_what_is_not_listed_stays_as_it_is() -> None:
    memory = {16: head(3), 100: head(7), LIST_AT: listed(100)}
    assert counts(immortalized(component(memory), MARK)) == [3, IMMORTAL]


def test_the_mark_in_code_is_no_list() -> None:
    memory = {16: head(3), 200: MARK + b"\0\0\0\0\0\0", LIST_AT: listed(16)}
    assert counts(immortalized(component(memory), MARK)) == [IMMORTAL]


@pytest.mark.parametrize("count", [0, 1 << 18, 6 << 28], ids=["freed", "a pointer", "immortal"])
def test_what_is_no_count_is_not_changed(count: int) -> None:
    memory = {16: head(count), LIST_AT: listed(16)}
    assert counts(immortalized(component(memory), MARK)) == [count]


def test_a_few_may_have_died_meanwhile() -> None:
    alive = {at: head(1) for at in range(1_000, 1_000 + 99 * 16, 16)}
    memory = {16: head(1, kind=KIND + 4), 5_000: listed(16, *alive)} | alive
    after = immortalized(component(memory), MARK)
    assert after.count(struct.pack("<II", IMMORTAL, KIND)) == len(alive)
    assert head(1, kind=KIND + 4) in after


@pytest.mark.parametrize(
    "wasm",
    [
        component({16: head(1)}),
        component({16: head(1), LIST_AT: listed(32)}),
        component({16: head(1)[:6], LIST_AT: listed(16)}),
        component({16: head(1), LIST_AT: listed(8)}),
        component({16: head(1), LIST_AT: listed(16)[:-1]}),
        component({16: head(1), LIST_AT: listed(16)}, passive=True),
    ],
    ids=["no list", "nothing there", "half a head", "before all", "no end", "no fixed place"],
)
def test_another_component_is_refused(wasm: bytes) -> None:
    with pytest.raises(NoSnapshot):
        immortalized(wasm, MARK)


async def test_instances_count_no_references_of_what_is_in_their_snapshot(pool: Pool) -> None:
    what = acting("""
        import json
        count = __import__("sys").getrefcount
        return [count(one) for one in (json, json.dumps, json.dumps.__code__, [])]
    """)
    outcome = await execute(pool, what)
    assert isinstance(outcome.value, list), outcome
    *kept, fresh = outcome.value
    assert kept == [IMMORTAL] * 3
    assert isinstance(fresh, int)
    assert fresh < 8
