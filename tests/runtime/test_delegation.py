"""One agent asks another: one run for each call, whatever crashes, and never more than allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog.testing

from chassis.errors import PeerUnavailable
from runtime.conductor import Conductor
from runtime.facts import Caller, EffectSent, Failure, RunStarted, State
from runtime.ports import Generation, Prompt, RunFails
from tests.fakes.runtime_ports import calls
from tests.runtime.crashes import Fuse, crash
from tests.runtime.offices import (
    CLERK,
    agent,
    answering,
    asking,
    delegates,
    open_office,
    reason,
    results,
)
from tests.runtime.worlds import RUN, SEARCH, World, until

BOSS = Caller("agents/boss", RUN)
CHILD = answering()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.model.answers = delegates
    with structlog.testing.capture_logs():
        yield world


# --- Answers -------------------------------------------------------------------------------------


async def test_an_answer_comes_from_a_run_that_the_journal_names(world: World) -> None:
    await open_office(world)
    await world.play()

    assert (await world.kinds()) == [
        "RunStarted",
        "GenerationFinished",
        "ActionDecided",
        "EffectSent",
        "ActionFinished",
        "GenerationFinished",
        "EndDecided",
        "RunFinished",
    ]
    assert EffectSent("step-1-1", f"{RUN}/call/step-1-1", CHILD, "clerk.ask") in (
        await world.events()
    )


async def test_the_model_is_told_the_answer(world: World) -> None:
    await open_office(world)
    run = await world.play()

    assert [result.result for result in await results(world)] == ['{"answer":"It is posted."}']
    assert run.answer == 'I was told {"answer":"It is posted."}'


async def test_what_is_asked_is_the_input_of_a_run_that_knows_who_waits(world: World) -> None:
    await open_office(world)
    await world.play()
    clerk = await world.run(CHILD)

    assert (clerk.account, clerk.callers) == (CLERK, (BOSS,))
    assert clerk.input == '"Post that ether gained."'
    assert isinstance(started := (await world.events(CHILD))[0], RunStarted)
    assert started.callers == (BOSS,)


async def test_everything_that_costs_gas_knows_who_waits(world: World) -> None:
    await open_office(world)
    await world.play()

    assert {prompt.account: prompt.callers for prompt in world.model.prompts} == {
        "agents/boss": (),
        CLERK: (BOSS,),
    }
    assert world.meter.callers == {CHILD: (BOSS,)}


async def test_each_run_has_a_bill_of_its_own(world: World) -> None:
    await open_office(world)
    await world.play()

    assert [charge.item for charge in (await world.journal.receipt(CHILD)).charges] == [
        "action board.post"
    ]
    assert (await world.journal.receipt(RUN)).charges == ()


async def test_a_call_costs_what_the_run_that_answers_has_cost(world: World) -> None:
    await open_office(world)
    await world.play()

    assert [result.gas for result in await results(world)] == [
        (await world.journal.receipt(CHILD)).total_gas
    ]
    assert (await world.journal.receipt(CHILD)).total_gas > 0


async def test_an_answer_that_failed_costs_gas_as_well(world: World) -> None:
    world.board.fail_next(422)
    await open_office(world)
    await world.play()

    assert [result.gas for result in await results(world)] == [
        (await world.journal.receipt(CHILD)).total_gas
    ]


async def test_each_call_is_a_run(world: World) -> None:
    world.model.answers = lambda prompt: (
        calls(*2 * [("clerk.ask", '{"request": "Post."}')])
        if prompt.account == "agents/boss" and len(prompt.messages) == 2
        else delegates(prompt)
    )
    await open_office(world)
    await world.play()

    assert {run.name for run in await world.journal.newest(9)} == {
        RUN,
        CHILD,
        answering(call="step-1-2"),
    }
    assert len(world.board.posts) == 2


async def test_a_dry_run_is_dry_all_the_way_down(world: World) -> None:
    await open_office(world, dry_run=True)
    run = await world.play()
    [described] = await results(world, CHILD)

    assert run.state == State.SUCCEEDED
    assert world.board.requests == []
    assert '"dry_run":true' in described.result
    assert [r.result for r in await results(world)] == ['{"answer":"It is posted."}']


async def test_a_run_that_others_wait_for_takes_nobodys_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.journal.port.OPEN_RUNS_MAX", 1)
    await open_office(world)

    assert (await world.play()).state == State.SUCCEEDED


# --- Crashes -------------------------------------------------------------------------------------


async def test_a_crash_at_any_moment_leaves_one_run_one_post_and_one_result(
    tmp_path: Path, world: World
) -> None:
    await open_office(world)
    fuse = Fuse(10**9)
    await crash(world, fuse)
    last = 10**9 - fuse._moments_left
    assert last > 70
    for moment in range(1, last + 1):
        again = World(tmp_path / str(moment))
        again.model.answers = delegates
        await open_office(again)
        await crash(again, Fuse(moment))
        run = await again.play()

        assert run.state == State.SUCCEEDED, moment
        assert [one.name for one in await again.journal.newest(9)] == [CHILD, RUN], moment
        assert again.board.arrivals == [f"{CHILD}/call/step-1-1"], moment
        assert len(await results(again)) == 1, moment


async def test_a_peer_that_is_down_for_a_while_delays_a_call_only(world: World) -> None:
    world.bundles.fail_next(PeerUnavailable("assembler"))
    await open_office(world)

    assert (await world.play()).state == State.SUCCEEDED


async def test_a_bug_stops_who_waits_as_well_until_the_next_start(world: World) -> None:
    await open_office(world)
    world.model.answers = _bug
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_kind("EffectSent")
    await until(lambda: CHILD not in conductor._tasks)
    await conductor.stop()
    assert await world.open_names() == [RUN, CHILD]
    world.model.answers = delegates

    assert (await world.play()).state == State.SUCCEEDED


def _bug(prompt: Prompt) -> Generation:
    if prompt.account == CLERK:
        raise AssertionError("a bug")
    return delegates(prompt)


# --- Ends ----------------------------------------------------------------------------------------


async def test_a_failure_is_told_with_its_reason(world: World) -> None:
    world.board.fail_next(422)
    await open_office(world)
    run = await world.play()

    assert run.state == State.SUCCEEDED
    assert await reason(world) == "POST_REFUSED"
    assert "told to" in run.answer


async def test_what_ends_a_run_in_the_middle_is_told_as_well(world: World) -> None:
    await open_office(world, SEARCH)
    world.model.answers = _refuses_the_clerk
    await world.play()

    assert await reason(world) == "BUDGET_EXCEEDED"


def _refuses_the_clerk(prompt: Prompt) -> Generation:
    if prompt.account == CLERK:
        raise RunFails(Failure("BUDGET_EXCEEDED", "raise it"))
    return delegates(prompt)


async def test_cancelling_reaches_the_run_that_is_waited_for(world: World) -> None:
    conductor = await _until_the_clerk_is_stuck(world)
    await conductor.cancel(RUN)
    await world.until_ended()

    assert (await world.run(RUN)).state == State.CANCELLED
    assert (await world.run(CHILD)).state == State.CANCELLED
    assert (await world.kinds())[-4:] == [
        "CancelRequested",
        "EndDecided",
        "ActionFinished",
        "RunFinished",
    ]


async def test_cancelling_reaches_it_after_a_crash_too(world: World) -> None:
    conductor = await _until_the_clerk_is_stuck(world)
    await conductor.stop()
    await world.cancel(RUN)
    await world.play()

    assert (await world.run(CHILD)).state == State.CANCELLED


async def test_cancelling_lets_an_effect_below_come_to_its_end(world: World) -> None:
    world.board.fail_next(*1_000 * ["unsent"])
    await open_office(world)
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_kind("EffectSent")
    await world.until_kind("EffectSent", CHILD)
    await conductor.cancel(RUN)
    world.board.stop_failing()
    await world.until_ended()

    assert (await world.run(RUN)).state == State.CANCELLED
    assert len(world.board.posts) == 1


async def test_who_waits_is_told_that_the_other_was_cancelled_and_goes_on(world: World) -> None:
    conductor = await _until_the_clerk_is_stuck(world)
    await conductor.cancel(CHILD)
    await world.until_ended()

    assert (await world.run(RUN)).state == State.SUCCEEDED
    assert await reason(world) == "CANCELLED"


async def test_the_time_of_a_run_is_that_of_those_that_it_waits_for(world: World) -> None:
    await _until_the_clerk_is_stuck(world, seconds=1)
    world.clock.advance(2)
    await world.until_ended()
    clerk, boss = (await world.run(CHILD)).failure, (await world.run(RUN)).failure

    assert clerk
    assert (clerk.reason, RUN in clerk.message) == ("TIME_EXCEEDED", True)
    assert boss
    assert boss.reason == "TIME_EXCEEDED"


async def _until_the_clerk_is_stuck(world: World, seconds: int = 60) -> Conductor:
    clerk = world.seal(agent("clerk"))
    await world.create(agent("boss", asking(clerk), seconds=seconds))
    world.model.stuck_on = "Post that ether gained."
    conductor = Conductor(world.stage())
    await conductor.start()
    await until(lambda: any(prompt.account == CLERK for prompt in world.model.prompts))
    return conductor
