"""A run that waits for a person says so, and goes on when that has decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from actionvm.runtime.v1 import runtime_pb2 as pb
from chassis.errors import PeerUnavailable
from runtime.conductor import Conductor
from runtime.facts import ActionFinished, ApprovalAwaited, Failure, State
from runtime.ports import RunFails
from tests.runtime.worlds import RUN, World, until, with_limits

NO_CONTEXT = cast("Any", None)
FIRST, SECOND = (f"approvals/01234567-89ab-4def-8123-{number:012}" for number in (1, 2))


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """Return a world in which a person is asked before anything is posted."""
    world = World(tmp_path)
    await world.create()
    ask(world, FIRST)
    return world


def ask(world: World, approval: str) -> None:
    """Leave signatures to a person, who has not decided."""
    world.signer.approval = approval
    world.approvals.waiting = {approval}


def decide(world: World) -> None:
    """Let the person say yes."""
    world.signer.approval = ""
    world.approvals.waiting.clear()


async def awaited(world: World) -> list[str]:
    """Return what the journal says was waited for."""
    return [
        event.approval for event in (await world.events()) if isinstance(event, ApprovalAwaited)
    ]


async def until_it_waits(world: World, approval: str = FIRST) -> None:
    await world.until(RUN, lambda run: run.approval == approval)


async def start(world: World) -> Conductor:
    """Let a process take up the run."""
    conductor = Conductor(world.stage())
    await conductor.start()
    return conductor


async def test_a_run_waits_for_a_person_and_goes_on(world: World) -> None:
    conductor = await start(world)
    await until_it_waits(world)
    assert (await world.run(RUN)).state is State.RUNNING
    assert world.board.posts == {}

    decide(world)
    await world.until_ended()
    await conductor.stop()

    run = await world.run(RUN)
    assert (run.state, run.approval, len(world.board.posts)) == (State.SUCCEEDED, "", 1)
    (event,) = [event for event in (await world.events()) if isinstance(event, ApprovalAwaited)]
    assert (event.call.arguments, event.rule) == ('{"text": "Ether gained."}', "posts")


async def test_who_waits_asks_for_the_decision_and_not_for_the_signature(world: World) -> None:
    conductor = await start(world)
    await until(lambda: world.approvals.asked_count > 0)
    # Another question to the signer would end the run.
    world.signer.fail_next(RunFails(Failure("ASKED", "again")))
    await until(lambda: world.approvals.asked_count > 3)
    assert (await world.run(RUN)).end_time is None
    await conductor.stop()


class CallOfAlice:
    """What the servicer needs of the context of a call."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("user-agent", "test"), ("authorization", "Bearer alice"))


async def test_a_decision_in_the_name_of_its_caller_is_noticed_at_once(world: World) -> None:
    servicer, conductor = world.servicer()
    await conductor.start()
    await until(lambda: world.approvals.asked_count > 1)
    (waits,) = (await servicer.ListApprovals(pb.ListApprovalsRequest(), NO_CONTEXT)).approvals
    decision = pb.DecideApprovalRequest(
        name=waits.name, allow=True, arguments_digest=waits.arguments_digest
    )
    decide(world)
    asked_count = world.approvals.asked_count
    await servicer.DecideApproval(decision, cast("Any", CallOfAlice()))
    await world.until_ended()
    await conductor.stop()
    assert world.approvals.decisions == {FIRST: True}
    assert world.approvals.shown == ["Bearer alice"]
    # Who is not told looks again after a while.
    assert world.approvals.asked_count == asked_count


async def test_a_person_who_refuses_fails_the_run(world: World) -> None:
    conductor = await start(world)
    await until_it_waits(world)
    world.signer.fail_next(RunFails(Failure("CREDENTIAL_REFUSED", "denied")))
    decide(world)
    await world.until_ended()
    await conductor.stop()
    run = await world.run(RUN)
    assert (run.state, run.failure) == (State.FAILED, Failure("CREDENTIAL_REFUSED", "denied"))
    assert (await awaited(world), world.board.posts) == ([FIRST], {})


async def test_a_question_is_journaled_once_across_a_restart(world: World) -> None:
    first = await start(world)
    await until_it_waits(world)
    await first.stop()
    asked_count = world.approvals.asked_count
    second = await start(world)
    await until(lambda: world.approvals.asked_count > asked_count)
    assert await awaited(world) == [FIRST]
    decide(world)
    await world.until_ended()
    await second.stop()
    assert len(world.board.posts) == 1


async def test_a_question_that_expired_is_followed_by_another(world: World) -> None:
    conductor = await start(world)
    await until_it_waits(world)
    ask(world, SECOND)
    await until_it_waits(world, SECOND)
    await conductor.stop()
    assert await awaited(world) == [FIRST, SECOND]


async def test_a_key_manager_that_is_away_is_waited_for_too(world: World) -> None:
    world.approvals.fail_next(*[PeerUnavailable("keymanager")] * 2)
    conductor = await start(world)
    await until(lambda: world.approvals.asked_count > 2)
    decide(world)
    await world.until_ended()
    await conductor.stop()
    assert (await world.run(RUN)).state is State.SUCCEEDED


async def test_a_run_that_waits_for_a_person_can_be_cancelled(world: World) -> None:
    conductor = await start(world)
    await until_it_waits(world)
    await conductor.cancel(RUN)
    await world.until_ended()
    await conductor.stop()
    assert ((await world.run(RUN)).state, world.board.posts) == (State.CANCELLED, {})
    (acted,) = [event for event in (await world.events()) if isinstance(event, ActionFinished)]
    assert (acted.reason, acted.gas) == ("CANCELLED", 0)


async def test_a_person_who_takes_too_long_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.create(with_limits(seconds=10))
    ask(world, FIRST)
    conductor = await start(world)
    await until_it_waits(world)
    world.clock.advance(11)
    await world.until_ended()
    await conductor.stop()
    failure = (await world.run(RUN)).failure
    assert failure is not None
    assert failure.reason == "TIME_EXCEEDED"
    assert f"a person who decides {FIRST} did not answer" in failure.message
    assert world.board.posts == {}
