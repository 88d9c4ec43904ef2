"""Workers that are not ours any more: none is believed, waited for, or used again."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest

from sandbox.errors import SandboxUnavailable
from sandbox.frames import HEADER, MESSAGE_BYTES_MAX, TIME, Kind
from sandbox.outcome import Reason
from sandbox.pool import Pool
from sandbox.ports import Answer
from tests.sandbox.forgery import Forger, Saying, asks, done, ended, framed, honest
from tests.sandbox.worlds import RecordingHost, acting, execute

WHAT = acting("return 1")
ASK = asks()
PREPARED = framed(b"", Kind.PREPARED)

# What is said as soon as there is an order, or as soon as there is a socket.
FORGERIES: Mapping[str, Iterable[bytes]] = {
    "the end of the socket": [b""],
    "half a message, and the end": [done()[:9], b""],
    "a size beyond all": [b"\xff\xff\xff\xff\x03"],
    "a size beyond what may be": [HEADER.pack(MESSAGE_BYTES_MAX + 1, Kind.DONE)],
    "a kind of the other side": [framed(b"{}", Kind.ORDER)],
    "no kind": [framed(b"{}", 0)],
    "that it is ready, again": [framed(b"", Kind.READY)],
    "an instance for the next order, before an end": [PREPARED],
    "no JSON": [framed(b"{x")],
    "no text": [framed(b"\xff\xff")],
    "nothing": [framed(b"")],
    "deep JSON": [framed(b"[" * 200_000)],
    "endless digits": [framed(b"1" * 20_000)],
    "no end": [ended(None)],
    "an end that is a list": [ended([])],
    "an end that is text": [ended("1")],
    "an answer that is no text": [done(answer=1)],
    "fuel that is no number": [done(fuel="1")],
    "fuel that is a fraction": [done(fuel=1.5)],
    "fuel that is true": [done(fuel=True)],
    "less fuel than none": [done(fuel=-1)],
    "more fuel than there was": [done(fuel=10**18)],
    "an unknown reason": [done(reason="WON")],
    "a reason that is no text": [done(reason=[])],
    "a log that is no list": [done(logs="x")],
    "a line that is no text": [done(logs=[1])],
    "half a character in a line": [done(logs=["\ud800"])],
    "a longer log than may be": [done(logs=["x" * 100_000])],
    "fewer lines than none": [done(logs_dropped=-1)],
    "a longer answer than may be": [done(answer="x" * 1_000_000)],
    "problems that are none": [done(problems=[1])],
    "more problems than may be": [done(problems=[{}] * 100)],
    "a larger question than may be": [framed(b"x" * 2_000_000, Kind.QUESTION)],
    "two questions at once": [ASK, ASK],
    "questions without end": [ASK] * 100,
}


class Pools:
    """Pools of processes that speak by a list of sayings, and honestly after it."""

    def __init__(self) -> None:
        self.forgers: list[Forger] = []
        self._pools: list[Pool] = []

    def of(self, *sayings: Saying) -> Pool:
        following = itertools.chain(sayings, itertools.repeat(honest))

        async def start() -> Forger:
            self.forgers.append(Forger(next(following)))
            return self.forgers[-1]

        self._pools.append(Pool(start, workers=1, sessions=2))
        return self._pools[-1]

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    pools = Pools()
    yield pools
    await pools.close()


def _instead(*what: bytes) -> Saying:
    """Say something in the place of the end."""
    return lambda kind, _: what if kind == Kind.ORDER else ()


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_worker_that_forges_is_killed_and_another_executes(
    pools: Pools, forgery: str
) -> None:
    pool = pools.of(_instead(*FORGERIES[forgery]))
    assert (await execute(pool, WHAT)).value == 1
    assert pools.forgers[0].is_killed
    assert len(pools.forgers) == 2


async def test_a_worker_has_one_instance_for_the_next_order(pools: Pools) -> None:
    pool = pools.of(_instead(done() + PREPARED + PREPARED))
    await execute(pool, WHAT)
    assert pools.forgers[0].is_killed


async def test_who_has_an_instance_ready_gets_the_next_order(pools: Pools) -> None:
    asked: list[str] = []

    def prepares_on_the_second_socket(kind: int, _: bytes) -> Iterable[bytes]:
        if kind != Kind.ORDER:
            return ()
        asked.append(threading.current_thread().name)
        return [done() + PREPARED if asked[-1] != asked[0] else done()]

    pool = pools.of(prepares_on_the_second_socket)
    for _ in range(5):
        await execute(pool, WHAT)
    first, *others = asked
    assert first not in others
    assert len(set(others)) == 1


async def test_a_worker_that_asks_more_than_it_may_is_told_to_stop(pools: Pools) -> None:
    host, stops = RecordingHost(), []

    def asks_on(kind: int, body: bytes) -> Iterable[bytes]:
        if kind == Kind.STOP:
            stops.append(body)
        return [ASK] if kind else ()

    pool = pools.of(asks_on)
    assert (await execute(pool, WHAT, host=host, host_calls=5)).value == 1
    assert (len(host.asked), stops) == (5, [b"HOST_CALLS_EXCEEDED"])
    # It asked again.
    assert pools.forgers[0].is_killed


@pytest.mark.parametrize("what", [ASK, done(), ended({}), PREPARED, b"\xff" * 5])
async def test_a_worker_that_speaks_unasked_is_killed(pools: Pools, what: bytes) -> None:
    pool = pools.of(lambda kind, _: () if kind else [what])
    assert (await execute(pool, WHAT)).value == 1
    assert pools.forgers[0].is_killed
    assert len(pools.forgers) == 2


async def test_what_is_said_after_the_end_is_for_nobody(pools: Pools) -> None:
    host = RecordingHost()
    pool = pools.of(_instead(done() + done(answer='{"value": 2}') + ASK))
    outcomes = [await execute(pool, WHAT, host=host) for _ in range(3)]
    assert [one.value for one in outcomes] == [1, 1, 1]
    assert pools.forgers[0].is_killed
    assert host.asked == []


async def test_an_execution_whose_worker_dies_twice_is_lost(pools: Pools) -> None:
    pool = pools.of(_instead(b""), _instead(b""))
    outcome = await execute(pool, WHAT)
    assert (outcome.reason, len(pools.forgers)) == (Reason.WORKER_LOST, 2)
    assert (await execute(pool, WHAT)).value == 1


async def test_whoever_shares_a_worker_with_its_killer_never_does_again(pools: Pools) -> None:
    orders: list[list[bytes]] = []
    loop, both = asyncio.get_running_loop(), asyncio.Event()

    def dies(kind: int, body: bytes) -> Iterable[bytes]:
        return [b""] if b"kill" in body else honest(kind, body)

    def waits(kind: int, body: bytes) -> Iterable[bytes]:
        if kind == Kind.ORDER and b"kill" not in body:
            loop.call_soon_threadsafe(both.set)
            return ()
        return dies(kind, body)

    def noting(saying: Saying) -> Saying:
        mine: list[bytes] = []
        orders.append(mine)

        def notes(kind: int, body: bytes) -> Iterable[bytes]:
            if kind == Kind.ORDER:
                mine.append(body)
            return saying(kind, body)

        return notes

    pool = pools.of(*map(noting, [waits, dies, dies]))
    innocent = asyncio.create_task(execute(pool, WHAT))
    await both.wait()
    killer = await execute(pool, WHAT, arguments={"kill": True})
    assert killer.reason == Reason.WORKER_LOST
    assert (await innocent).value == 1
    assert [len(seen) for seen in orders] == [2, 1, 1]


async def test_a_worker_that_never_ends_is_replaced(pools: Pools) -> None:
    pool = pools.of(_instead(done()[:9]))
    limits: dict[str, Any] = {"wall_seconds": 0.05, "compute_seconds": 0.05}
    outcome = await execute(pool, WHAT, fuel=7, **limits)
    assert (outcome.reason, outcome.fuel) == (Reason.TIME_EXCEEDED, 7)
    assert pools.forgers[0].is_killed
    assert (await execute(pool, WHAT)).value == 1


async def test_an_execution_that_was_dropped_keeps_its_place_until_its_worker_ends_it(
    pools: Pools,
) -> None:
    told: list[tuple[int, bytes]] = []
    loop, both = asyncio.get_running_loop(), asyncio.Event()

    def stays(kind: int, body: bytes) -> Iterable[bytes]:
        if kind:
            told.append((kind, body))
        if len(told) == 2:
            loop.call_soon_threadsafe(both.set)
        return ()

    pool = pools.of(stays)
    limits: dict[str, Any] = {"compute_seconds": 0.05}
    tasks = [asyncio.create_task(execute(pool, WHAT, **limits)) for _ in range(2)]
    await both.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    # There is no room for it until the first worker, which ends nothing, is found to be stuck.
    assert (await execute(pool, WHAT)).value == 1
    assert [kind for kind, _ in told] == [Kind.ORDER, Kind.ORDER, Kind.STOP, Kind.STOP]
    assert [one.is_killed for one in pools.forgers] == [True, False]


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("no"), KeyError("no")])
async def test_what_a_host_raises_is_raised_and_kills_no_worker(
    pools: Pools, error: Exception
) -> None:
    def fails(_: object) -> Answer:
        raise error

    ends = {Kind.ORDER: [ASK], Kind.STOP: [done()]}
    pool = pools.of(lambda kind, _: ends.get(Kind(kind), ()) if kind else ())
    with pytest.raises(type(error)):
        await execute(pool, WHAT, host=RecordingHost(fails))
    assert not pools.forgers[0].is_killed


async def test_a_host_that_answers_too_much_is_cut_short(pools: Pools) -> None:
    heard: list[dict[str, Any]] = []

    def asks_twice(kind: int, body: bytes) -> Iterable[bytes]:
        if kind == Kind.ANSWERS:
            heard.extend(json.loads(body[TIME.size :]))
            return [done()]
        return [asks(2)] if kind else ()

    values: Iterable[str] = iter(["x" * 5_000_000, "fits"])
    host = RecordingHost(lambda _: Answer(next(iter(values))))
    pool = pools.of(asks_twice)
    assert (await execute(pool, WHAT, host=host)).value == 1
    assert [one["reason"] or one["value"] for one in heard] == ["ANSWER_TOO_LARGE", "fits"]


async def test_code_that_is_too_large_is_refused_before_it_is_sent(pools: Pools) -> None:
    pool = pools.of()
    large = acting(f"return {'1' * MESSAGE_BYTES_MAX}")
    assert (await execute(pool, large)).reason == Reason.CODE_INVALID
    (flaw,) = (await pool.examine(large)).flaws
    assert "larger than" in flaw.message
    assert pools.forgers == []


@pytest.mark.parametrize(
    "fails", [OSError("no"), EOFError("no"), TimeoutError("no"), SandboxUnavailable("no")]
)
async def test_a_worker_that_does_not_start_says_so(fails: Exception) -> None:
    async def start() -> Forger:
        raise fails

    pool = Pool(start, workers=1)
    # Each would take up room, if it was not given back.
    for _ in range(20):
        with pytest.raises(SandboxUnavailable, match="no"):
            await execute(pool, WHAT)


async def test_a_sandbox_that_is_closed_while_a_worker_starts_keeps_none(pools: Pools) -> None:
    starting, go_on = asyncio.Event(), asyncio.Event()

    async def start() -> Forger:
        starting.set()
        await go_on.wait()
        pools.forgers.append(Forger(lambda *_: ()))
        return pools.forgers[-1]

    pool = Pool(start, workers=1, sessions=2)
    task = asyncio.create_task(execute(pool, WHAT))
    await starting.wait()
    closing = asyncio.create_task(pool.close())
    go_on.set()
    await closing
    with pytest.raises(SandboxUnavailable):
        await task
    assert [one.is_killed for one in pools.forgers] == [True]


async def test_a_worker_whose_caller_leaves_while_it_starts_is_not_left_behind(
    pools: Pools,
) -> None:
    async def start() -> Forger:
        pools.forgers.append(Forger(lambda *_: ()))
        caller.cancel()
        return pools.forgers[-1]

    pool = Pool(start, workers=1, sessions=2)
    caller = asyncio.create_task(execute(pool, WHAT))
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert [one.is_killed for one in pools.forgers] == [True]
