"""Calls that travel together: nobody waits without need, and nobody is harmed by another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf import any_pb2
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st

from chassis.channel import remote_error, translated
from chassis.coalescer import Coalescer
from chassis.errors import InvalidField, PeerUnavailable, ServiceError
from chassis.interceptors import status_of
from tests.simulation.loop import VirtualTimeLoop

SECONDS_MAX = 10.0
PATIENCE = 0.5
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    number: int
    refusal: any_pb2.Any = field(default_factory=any_pb2.Any)


@dataclass(frozen=True)
class Response:
    outcomes: Sequence[Outcome]


@dataclass
class Batch:
    """A call as the other side saw it."""

    asked: Sequence[int]
    start: float
    end: float = float("inf")


@dataclass
class Peer:
    """The other side: it takes its time, it fails when told to, and remembers what it was sent."""

    # Seconds that each call takes, and whether it fails; the last one stays.
    plan: list[tuple[float, bool]] = field(default_factory=lambda: [(1.0, False)])
    refusals: dict[int, ServiceError] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)

    async def meter(self, asked: Sequence[int]) -> Response:
        """Answer with the numbers that were asked."""
        loop = asyncio.get_running_loop()
        batch = Batch(list(asked), loop.time())
        self.batches.append(batch)
        seconds, fails = self.plan[min(len(self.batches), len(self.plan)) - 1]
        try:
            await asyncio.sleep(seconds)
        finally:
            batch.end = loop.time()
        if fails:
            raise _broken()
        return Response([Outcome(number, self._refusal(number)) for number in asked])

    def _refusal(self, number: int) -> any_pb2.Any:
        refusal = any_pb2.Any()
        if number in self.refusals:
            refusal.Pack(status_of(self.refusals[number], "toy.actionvm"))
        return refusal


def _broken() -> aio.AioRpcError:
    return aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata(), "", None)


def open_calls(peer: Peer, *, size_max: int = 100, calls_max: int = 1) -> Coalescer[int, Outcome]:
    return Coalescer(
        peer.meter,
        size_max=size_max,
        calls_max=calls_max,
        patience_seconds=PATIENCE,
        seconds_max=SECONDS_MAX,
    )


def in_virtual_time(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work())


@dataclass(frozen=True)
class Caller:
    start: float
    # It goes away so long after it called.
    patience: float


TIMES = st.integers(0, 12).map(lambda tenths: tenths / 4)
CALLERS = st.lists(st.builds(Caller, TIMES, st.just(99.0) | TIMES), min_size=1, max_size=14)
PLANS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 1.0, 1.5, 30.0]), st.booleans()), min_size=1, max_size=5
)


@given(CALLERS, PLANS, st.integers(1, 5), st.integers(1, 3))
def test_every_caller_gets_its_own_answer_as_soon_as_there_is_room(
    callers: list[Caller], plan: list[tuple[float, bool]], size_max: int, calls_max: int
) -> None:
    peer, ends = Peer(plan), dict[int, tuple[float, str]]()

    async def scenario() -> None:
        calls = open_calls(peer, size_max=size_max, calls_max=calls_max)
        loop = asyncio.get_running_loop()

        async def call(number: int, caller: Caller) -> None:
            await asyncio.sleep(caller.start)
            end = ""
            try:
                async with asyncio.timeout(caller.patience):
                    outcome = await calls.call(number)
                assert outcome.number == number, "nobody gets the answer of another"
            except TimeoutError:
                end = "GONE"
            except aio.AioRpcError as error:
                end = error.code().name
            ends[number] = (loop.time(), end)

        await asyncio.gather(*(call(i, caller) for i, caller in enumerate(callers)))

    in_virtual_time(scenario)

    sent = {number: batch for batch in peer.batches for number in batch.asked}
    assert sum(len(batch.asked) for batch in peer.batches) == len(sent), "each is sent once"
    assert all(1 <= len(batch.asked) <= size_max for batch in peer.batches)
    for batch in peer.batches:
        assert _under_way(peer, batch.start) <= calls_max
    for number, caller in enumerate(callers):
        deadline = caller.start + min(caller.patience, SECONDS_MAX)
        batch = sent.get(number, Batch([], start=float("inf")))
        assert number not in sent or batch.start <= deadline, "who went away is left out"
        time, end = ends[number]
        fails = number in sent and plan[min(peer.batches.index(batch), len(plan) - 1)][1]
        # At the very moment of the deadline, either may come first.
        if batch.end < deadline:
            assert (time, end) == (batch.end, "UNAVAILABLE" if fails else "")
        elif batch.end > deadline:
            assert time == deadline
            assert end in {"GONE", "DEADLINE_EXCEEDED"}
        _assert_no_needless_wait(peer, caller, until=min(batch.start, deadline), most=calls_max)
    _assert_no_needless_call(peer, callers, size_max)


def _under_way(peer: Peer, time: float) -> int:
    return sum(batch.start <= time < batch.end for batch in peer.batches)


def _assert_no_needless_wait(peer: Peer, caller: Caller, *, until: float, most: int) -> None:
    moments = {caller.start}
    moments |= {time for batch in peer.batches for time in (batch.end, batch.start + PATIENCE)}
    for moment in sorted(moments):
        if caller.start <= moment < until:
            under_way = [b for b in peer.batches if b.start <= moment < b.end]
            is_quick = any(moment < batch.start + PATIENCE for batch in under_way)
            assert is_quick or len(under_way) == most, f"there was room at {moment}"


def _assert_no_needless_call(peer: Peer, callers: list[Caller], size_max: int) -> None:
    """Check that calls beside others are full, or are beside slow ones."""
    for index, batch in enumerate(peer.batches):
        beside = [b for b in peer.batches[:index] if batch.start < b.end]
        could_be_full = sum(caller.start <= batch.start for caller in callers) >= size_max
        assert could_be_full or all(b.start + PATIENCE <= batch.start for b in beside)


def test_a_single_call_goes_out_at_once() -> None:
    peer = Peer()

    async def scenario() -> float:
        await open_calls(peer).call(1)
        return asyncio.get_running_loop().time()

    assert in_virtual_time(scenario) == 1.0
    assert [(batch.asked, batch.start) for batch in peer.batches] == [([1], 0.0)]


def test_what_waits_goes_when_the_call_under_way_ends() -> None:
    peer = Peer(plan=[(0.25, False)])

    async def scenario() -> None:
        calls = open_calls(peer, calls_max=2)
        tasks = [asyncio.create_task(calls.call(0))]
        await asyncio.sleep(0.125)
        tasks += [asyncio.create_task(calls.call(number)) for number in range(1, 4)]
        await asyncio.wait(tasks)

    in_virtual_time(scenario)
    assert [(batch.asked, batch.start) for batch in peer.batches] == [([0], 0.0), ([1, 2, 3], 0.25)]


def test_a_call_that_hangs_holds_nobody_up_for_long() -> None:
    peer = Peer(plan=[(9.0, False), (0.25, False)])

    async def scenario() -> float:
        calls = open_calls(peer, calls_max=2)
        hanging = asyncio.create_task(calls.call(0))
        await asyncio.sleep(0.25)
        await asyncio.gather(calls.call(1), calls.call(2))
        end = asyncio.get_running_loop().time()
        # The next one finds one that hangs, and goes at once.
        await calls.call(3)
        await hanging
        return end

    assert in_virtual_time(scenario) == PATIENCE + 0.25
    starts = [(batch.asked, batch.start) for batch in peer.batches]
    assert starts == [([0], 0.0), ([1, 2], PATIENCE), ([3], PATIENCE + 0.25)]


def test_so_many_that_they_fill_a_call_go_at_once() -> None:
    peer = Peer()

    async def scenario() -> None:
        calls = open_calls(peer, size_max=3, calls_max=2)
        tasks = [asyncio.create_task(calls.call(0))]
        await asyncio.sleep(0.25)
        tasks += [asyncio.create_task(calls.call(number)) for number in range(1, 4)]
        await asyncio.wait(tasks)

    in_virtual_time(scenario)
    assert [(batch.asked, batch.start) for batch in peer.batches] == [([0], 0.0), ([1, 2, 3], 0.25)]


def test_calls_of_one_moment_travel_together() -> None:
    peer = Peer()

    async def scenario() -> None:
        calls = open_calls(peer, calls_max=2)
        await asyncio.gather(*map(calls.call, range(5)))

    in_virtual_time(scenario)
    assert [batch.asked for batch in peer.batches] == [[0, 1, 2, 3, 4]]


async def test_a_refusal_is_that_of_a_call_of_its_own_and_harms_nobody_else() -> None:
    peer = Peer(plan=[(0, False)], refusals={1: InvalidField("account", "is required")})
    calls = open_calls(peer)
    done = asyncio.create_task(calls.call(2))

    with pytest.raises(InvalidField, match="account: is required"), translated("toy"):
        await calls.call(1)

    assert (await done).number == 2


async def test_the_details_of_a_refusal_arrive() -> None:
    calls = open_calls(Peer(plan=[(0, False)], refusals={1: InvalidField("a", "b")}))

    with pytest.raises(aio.AioRpcError) as caught:
        await calls.call(1)

    remote = remote_error(caught.value)
    assert (remote.code, remote.reason, remote.domain) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "toy.actionvm",
    )


async def test_a_lost_connection_is_lost_for_all_that_went_along_and_may_be_repeated() -> None:
    peer = Peer(plan=[(0, True), (0, False)])
    calls = open_calls(peer)

    async def call(number: int) -> int:
        with translated("toy"):
            return (await calls.call(number)).number

    failed = await asyncio.gather(*map(call, range(3)), return_exceptions=True)
    assert [type(error) for error in failed] == 3 * [PeerUnavailable]
    assert await asyncio.gather(*map(call, range(3))) == [0, 1, 2]


def test_a_call_that_finds_no_room_ends_at_its_deadline() -> None:
    peer = Peer(plan=[(99.0, False)])

    async def scenario() -> float:
        calls = open_calls(peer)
        first = asyncio.create_task(calls.call(1))
        await asyncio.sleep(4)
        with pytest.raises(PeerUnavailable, match="gas does not answer"), translated("gas"):
            await calls.call(2)
        first.cancel()
        return asyncio.get_running_loop().time()

    assert in_virtual_time(scenario) == 4 + SECONDS_MAX
    assert [batch.asked for batch in peer.batches] == [[1]]


def test_who_goes_away_before_there_was_room_is_left_out() -> None:
    peer = Peer()

    async def scenario() -> None:
        calls = open_calls(peer)
        tasks = [asyncio.create_task(calls.call(number)) for number in range(4)]
        await asyncio.sleep(0.5)
        tasks += [asyncio.create_task(calls.call(number)) for number in range(4, 7)]
        await asyncio.sleep(0)
        tasks[5].cancel()
        await asyncio.wait(tasks)

    in_virtual_time(scenario)
    assert [batch.asked for batch in peer.batches] == [[0, 1, 2, 3], [4, 6]]


async def test_a_channel_that_is_closed_cancels_who_waits_for_it() -> None:
    async def closed(asked: Sequence[int]) -> Response:
        raise asyncio.CancelledError

    calls = Coalescer[int, Outcome](closed, size_max=1)
    waiting = [asyncio.create_task(calls.call(number)) for number in range(3)]

    await asyncio.wait(waiting, timeout=5)

    assert all(task.cancelled() for task in waiting)


async def test_an_answer_with_an_outcome_too_few_is_a_bug_and_answers_nobody() -> None:
    async def forgetful(asked: Sequence[int]) -> Response:
        return Response([Outcome(number) for number in asked[1:]])

    calls = Coalescer[int, Outcome](forgetful, size_max=9)

    found = await asyncio.gather(*map(calls.call, range(3)), return_exceptions=True)

    assert [type(error) for error in found] == 3 * [AssertionError]


_place: ContextVar[str] = ContextVar("place")


async def test_a_call_that_goes_alone_keeps_its_context_so_that_it_can_be_traced() -> None:
    places: list[str] = []

    async def notes(asked: Sequence[int]) -> Response:
        places.append(_place.get())
        return Response([Outcome(number) for number in asked])

    calls = Coalescer[int, Outcome](notes, size_max=1, calls_max=1)

    async def call(number: int) -> None:
        _place.set(f"caller {number}")
        await calls.call(number)

    await asyncio.gather(call(1), call(2))

    assert places == ["caller 1", "caller 2"]
