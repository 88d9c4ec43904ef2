"""Runs that people have a say in: pause, signals, approvals of the agent's policy, forks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.conductor import Conductor
from runtime.errors import ForkRefused
from runtime.facts import (
    ActionFinished,
    ApprovalDecided,
    EndDecided,
    Failure,
    PauseRequested,
    ResumeRequested,
    SignalSent,
    State,
)
from runtime.ports import Generation, Prompt, RunFails
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.worlds import (
    POST,
    RUN,
    SEARCH,
    SLEEP,
    WAIT,
    World,
    until,
    with_actions,
    with_limits,
)

FORK = RUN.replace("0001", "0009")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@asynccontextmanager
async def started(world: World) -> AsyncIterator[Conductor]:
    """Let a process take up the runs for the length of a block."""
    conductor = Conductor(world.stage())
    await conductor.start()
    try:
        yield conductor
    finally:
        await conductor.stop()


def once(*wanted: tuple[str, str]) -> Callable[[Prompt], Generation]:
    """Return a model that calls actions, and then answers with the last result."""

    def respond(prompt: Prompt) -> Generation:
        if len(prompt.messages) == 2:
            return calls(*wanted)
        return answer(prompt.messages[-1].text)

    return respond


# --- Pausing -------------------------------------------------------------------------------------


async def test_a_paused_run_lets_a_generation_end_and_begins_nothing(world: World) -> None:
    world.model.go_on.clear()
    await world.create()
    async with started(world) as conductor:
        await world.model.is_writing.wait()
        await conductor.post(RUN, PauseRequested(), request_id="pause")
        await world.until_kind("PauseRequested")
        world.model.go_on.set()
        await world.until_kind("GenerationFinished")
        run = await world.run()
        assert (run.state, world.board.requests) == (State.PAUSED, [])
        await conductor.post(RUN, ResumeRequested(), request_id="resume")
        await world.until_ended()
    assert (await world.run()).state == State.SUCCEEDED


async def test_a_pause_outlives_a_crash(world: World) -> None:
    await world.create()
    await world.journal.post(RUN, PauseRequested(), request_id="1", now=world.clock.now())
    async with started(world):
        await world.until_kind("PauseRequested")
    async with started(world) as conductor:
        assert world.model.prompts == []
        await conductor.post(RUN, ResumeRequested(), request_id="2")
        await world.until_ended()
    assert (await world.run()).state == State.SUCCEEDED


async def test_the_time_of_a_paused_run_goes_on(world: World) -> None:
    await world.create(with_limits(seconds=1))
    await world.journal.post(RUN, PauseRequested(), request_id="1", now=world.clock.now())
    async with started(world):
        await world.until_kind("PauseRequested")
        world.clock.advance(1)
        await world.until_ended()
    failure = (await world.run()).failure
    assert failure
    assert failure.reason == "TIME_EXCEEDED"


# --- Sleeping and signals ------------------------------------------------------------------------


async def test_a_run_sleeps_until_its_time_also_across_a_crash(world: World) -> None:
    world.model.answers = once(("run.sleep", '{"seconds": 30}'))
    await world.create(with_actions(SLEEP))
    async with started(world):
        await world.until_kind("SleepStarted")
    world.clock.advance(30)
    run = await world.play()
    assert (run.state, run.answer) == (State.SUCCEEDED, '{"slept":true}')


async def test_a_signal_ends_a_wait_with_its_payload(world: World) -> None:
    world.model.answers = once(("run.wait", '{"signal": "go", "seconds": 30}'))
    await world.create(with_actions(WAIT))
    async with started(world) as conductor:
        await world.until_kind("SleepStarted")
        await conductor.post(RUN, SignalSent("other", "1"), request_id="1")
        await conductor.post(RUN, SignalSent("go", '{"price": 3}'), request_id="2")
        await world.until_ended()
    assert (await world.run()).answer == '{"payload":{"price":3},"signal":"go"}'


async def test_a_signal_that_does_not_come_is_said_to_be_missing(world: World) -> None:
    world.model.answers = once(("run.wait", '{"signal": "go", "seconds": 0}'))
    await world.create(with_actions(WAIT))
    run = await world.play()
    assert "go did not come in time" in run.answer


# --- The agent's own policy asks -----------------------------------------------------------------


@pytest.mark.parametrize("allows", [True, False])
async def test_what_a_person_decides_happens(world: World, *, allows: bool) -> None:
    world.model.answers = once(("board.post", '{"text": "Ether gained."}'))
    await world.create(with_actions({**POST, "approval": "ask", "required": False}))
    async with started(world) as conductor:
        await world.until(RUN, lambda run: run.approval)
        [waiting] = await world.journal.waiting(9)
        assert (waiting.awaited.rule, world.board.requests) == ("approval: ask", [])
        digest = waiting.awaited.arguments_sha256
        decision = ApprovalDecided("step-1-1", digest, allows, "alice")
        await conductor.post(RUN, decision, request_id="approval/step-1-1")
        await world.until_ended()
    run = await world.run()
    assert (run.state, len(world.board.posts)) == (State.SUCCEEDED, int(allows))
    assert ("DENIED" in run.answer) is not allows
    assert await world.journal.waiting(9) == []


async def test_an_answer_about_other_arguments_is_none(world: World) -> None:
    world.model.answers = once(("board.post", '{"text": "Ether gained."}'))
    await world.create(with_actions({**POST, "approval": "ask", "required": False}))
    async with started(world) as conductor:
        await world.until(RUN, lambda run: run.approval)
        forged = ApprovalDecided("step-1-1", 64 * "0", allows=True, who="mallory")
        await conductor.post(RUN, forged, request_id="forged")
        await world.until_kind("ApprovalDecided")
        await conductor.cancel(RUN)
        await world.until_ended()
    assert world.board.requests == []


# --- Several calls at once -----------------------------------------------------------------------


async def test_calls_of_one_step_are_performed_at_the_same_time(world: World) -> None:
    """Each search waits for the other one."""
    both = asyncio.Barrier(2)

    async def meet(*_: object) -> tuple[Any, ...]:
        async with asyncio.timeout(10):
            await both.wait()
        return ()

    search = ("knowledge.search", '{"query": "ether"}')
    world.model.answers = once(search, search)
    world.knowledge.search = meet  # type: ignore[method-assign, assignment]  # the fake has no such wish
    await world.create(lambda it: (with_actions(SEARCH)(it), it["limits"].update(passages=0)))
    assert (await world.play()).state == State.SUCCEEDED


async def test_a_result_that_comes_together_with_the_end_is_not_journaled_after_it(
    world: World,
) -> None:
    both = asyncio.Barrier(2)
    failures = [RunFails(Failure("KNOWLEDGE_FAILED", "no")), None]

    async def meet(*_: object) -> tuple[Any, ...]:
        failure = failures.pop(0)
        async with asyncio.timeout(10):
            await both.wait()
        if failure:
            raise failure
        return ()

    search = ("knowledge.search", '{"query": "ether"}')
    world.model.answers = once(search, search)
    world.knowledge.search = meet  # type: ignore[method-assign, assignment]  # the fake has no such wish
    await world.create(lambda it: (with_actions(SEARCH)(it), it["limits"].update(passages=0)))
    assert (await world.play()).state == State.FAILED
    assert (await world.kinds())[-2:] == ["EndDecided", "RunFinished"]


# --- Forks ---------------------------------------------------------------------------------------


async def test_a_run_that_failed_is_tried_again_from_before_its_end(world: World) -> None:
    world.model.answers = lambda _: answer("  ")
    await world.create(with_actions(SEARCH))
    assert (await world.play()).state == State.FAILED
    world.model.answers = lambda _: answer("all is well")
    async with started(world) as conductor:
        events = await world.events()
        end = next(n for n, event in enumerate(events, 1) if isinstance(event, EndDecided))
        with pytest.raises(ForkRefused, match="the last one before is"):
            await conductor.fork(RUN, sequence=end, request_id="f", fork=FORK)
        # The end follows from the last generation by itself.
        fork = await conductor.fork(RUN, sequence=0, request_id="f", fork=FORK)
        await world.until_ended(FORK)
    run = await world.run(FORK)
    assert (fork.origin, run.state, run.answer) == (RUN, State.SUCCEEDED, "all is well")


async def test_a_fork_does_not_repeat_what_was_done_before(world: World) -> None:
    await world.create()
    await world.play()
    events = await world.events()
    acted = next(n for n, event in enumerate(events, 1) if isinstance(event, ActionFinished))
    async with started(world) as conductor:
        await conductor.fork(RUN, sequence=acted, request_id="f", fork=FORK)
        await world.until_ended(FORK)
    assert (await world.run(FORK)).state == State.SUCCEEDED
    assert len(world.board.posts) == 1


async def test_a_fork_from_before_an_effect_has_an_effect_of_its_own(world: World) -> None:
    await world.create()
    await world.play()
    async with started(world) as conductor:
        await conductor.fork(RUN, sequence=2, request_id="f", fork=FORK)
        await world.until_ended(FORK)
    assert [*world.board.posts] == [f"{RUN}/call/step-1-1", f"{FORK}/call/step-1-1"]


async def test_a_run_is_not_forked_where_an_effect_is_under_way(world: World) -> None:
    await world.create()
    await world.play()
    sent = (await world.kinds()).index("EffectSent") + 1
    async with started(world) as conductor:
        with pytest.raises(ForkRefused, match=f"the last one before is {sent - 1}"):
            await conductor.fork(RUN, sequence=sent, request_id="f", fork=FORK)


async def test_the_same_request_gives_the_same_fork(world: World) -> None:
    await world.create()
    await world.play()
    async with started(world) as conductor:
        first = await conductor.fork(RUN, sequence=2, request_id="f", fork=FORK)
        other = FORK.replace("9", "8")
        second = await conductor.fork(RUN, sequence=2, request_id="f", fork=other)
        await until(lambda: not conductor._tasks)
    assert first.name == second.name == FORK


# --- Long runs and other workers -----------------------------------------------------------------


async def test_a_long_run_is_taken_up_from_a_snapshot(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.performance.SNAPSHOT_EVENTS", 3)
    world.model.answers = once(("run.sleep", '{"seconds": 30}'))
    await world.create(with_actions(SLEEP))
    async with started(world):
        await world.until_kind("SleepStarted")
    snapshot = await world.journal.snapshot(RUN)
    assert snapshot
    assert snapshot.sequence >= 3
    world.clock.advance(30)
    assert (await world.play()).answer == '{"slept":true}'


async def test_a_worker_that_lost_a_run_leaves_it_alone(world: World) -> None:
    world.model.go_on.clear()
    await world.create()
    async with started(world) as slow:
        await world.model.is_writing.wait()
        async with started(world):
            # The second process has the run now.
            world.model.go_on.set()
            await world.until_ended()
            await until(lambda: not slow._tasks)
    assert (await world.kinds()).count("RunFinished") == 1
    assert len(world.board.posts) == 1
