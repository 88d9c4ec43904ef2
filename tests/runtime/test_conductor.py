"""Whole runs over fakes: what ends them, and what does not."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from actionvm.runtime.v1 import runtime_pb2
from chassis.errors import PeerUnavailable
from runtime import deeds, patience
from runtime.conductor import Conductor
from runtime.facts import (
    ActionDecided,
    ActionFinished,
    EffectUnsent,
    Failure,
    RunFinished,
    State,
)
from runtime.journal.port import NewRun, Opened
from runtime.journal.sqlite import SqliteJournal
from runtime.ports import Prompt, RunFails
from runtime.service import RuntimeService
from tests.fakes.runtime_ports import CALL_GAS, answer, calls
from tests.runtime.hosting import bundle_to_proto
from tests.runtime.worlds import POST, RUN, SEARCH, World, until, with_actions, with_limits


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_run_retrieves_acts_and_answers(world: World) -> None:
    await world.create()
    run = await world.play()
    assert (run.state, run.answer) == (State.SUCCEEDED, "I posted it.")
    assert (await world.kinds()) == [
        "RunStarted",
        "KnowledgeRetrieved",
        "GenerationFinished",
        "ActionDecided",
        "EffectSent",
        "ActionFinished",
        "GenerationFinished",
        "EndDecided",
        "RunFinished",
    ]


async def test_a_run_ends_with_a_signed_receipt_of_all_its_charges(world: World) -> None:
    await world.create()
    await world.play()
    receipt = await world.journal.receipt(RUN)
    assert receipt.signature
    world.signer.key.public_key().verify(
        receipt.signature.value, b"actionvm/receipt/v1\n" + receipt.sha256.encode()
    )
    assert [charge.item for charge in receipt.charges] == ["action board.post"]


async def test_the_budget_is_declared_before_the_first_step(world: World) -> None:
    await world.create()
    world.model.fail_next(RunFails(Failure("MODEL_FAILED", "")))
    await world.play()
    assert world.meter.budgets["agents/market-brief"].gas == 50_000


async def test_a_limit_of_the_run_is_set_before_the_first_step(world: World) -> None:
    await world.create(with_limits(gas=700))
    world.model.fail_next(RunFails(Failure("MODEL_FAILED", "")))
    await world.play()
    assert world.meter.run_limits == {RUN: ("agents/market-brief", 700)}


async def test_an_agent_without_knowledge_retrieves_nothing(world: World) -> None:
    await world.create(lambda content: content.update(knowledge=[]))
    await world.play()
    assert world.knowledge.queries == []


async def test_a_dry_run_describes_what_it_would_write(world: World) -> None:
    await world.create(dry_run=True)
    run = await world.play()
    [described] = [event for event in (await world.events()) if isinstance(event, ActionFinished)]
    assert run.state == State.SUCCEEDED
    assert world.board.requests == []
    assert '"dry_run":true' in described.result


async def test_a_dry_run_reads_all_the_same(world: World) -> None:
    world.model.answers = _searches_then_answers
    await world.create(with_actions(SEARCH), dry_run=True)
    await world.play()
    assert [query for _, query, _ in world.knowledge.queries] == ["What moved?", "ether"]


def _searches_then_answers(prompt: Prompt) -> Any:  # noqa: ANN401  # a generation
    if len(prompt.messages) > 2:
        return answer("done")
    return calls(("knowledge.search", '{"query": "ether"}'))


async def test_the_results_of_actions_are_charged(world: World) -> None:
    world.model.answers = _searches_then_answers
    await world.create(with_actions(SEARCH))
    await world.play()
    [acted] = [event for event in (await world.events()) if isinstance(event, ActionFinished)]
    assert acted.gas == CALL_GAS


@pytest.mark.parametrize("port", ["model", "knowledge", "meter", "signer"])
async def test_a_peer_that_is_down_for_a_while_delays_a_run_only(
    world: World, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    await world.create()
    getattr(world, port).fail_next(*3 * [PeerUnavailable("peer")])
    run = await world.play()
    assert run.state == State.SUCCEEDED


async def test_each_step_samples_with_dice_of_its_own(world: World) -> None:
    await world.create()
    await world.play()
    seeds = [prompt.model.seed for prompt in world.model.prompts]
    assert len(seeds) > 1
    assert seeds == [1 + step for step in range(1, len(seeds) + 1)]


async def test_a_peer_that_stays_down_ends_the_time_of_a_run(world: World) -> None:
    await world.create()
    world.model.fail_next(*1_000 * [PeerUnavailable("linker")])
    conductor = Conductor(world.stage())
    await conductor.start()
    await until(lambda: world.model.prompts)
    world.clock.advance(61)
    await world.until_ended()
    failure = (await world.run(RUN)).failure
    assert failure
    assert failure.reason == "TIME_EXCEEDED"
    assert "linker did not answer" in failure.message


async def test_a_generation_that_takes_too_long_is_broken_off(world: World) -> None:
    world.model.go_on.clear()
    await world.create(with_limits(seconds=1))
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.model.is_writing.wait()
    world.clock.advance(1)
    await world.until_ended()
    failure = (await world.run(RUN)).failure
    assert failure
    assert (failure.reason, world.model.closed_count) == ("TIME_EXCEEDED", 1)


@pytest.mark.parametrize("port", ["model", "knowledge", "meter"])
async def test_a_refusal_ends_a_run_with_its_reason(world: World, port: str) -> None:
    await world.create()
    failure = Failure("BUDGET_EXCEEDED", "raise it")
    getattr(world, port).fail_next(RunFails(failure))
    run = await world.play()
    assert (run.state, run.failure) == (State.FAILED, failure)


async def test_a_run_without_an_answer_fails(world: World) -> None:
    world.model.answers = lambda _: answer("  ")
    await world.create(with_actions(SEARCH))
    run = await world.play()
    assert run.failure
    assert run.failure.reason == "ANSWER_MISSING"


async def test_a_run_without_an_end_runs_out_of_steps(world: World) -> None:
    world.model.answers = lambda _: calls(("knowledge.search", '{"query": "ether"}'))
    await world.create(with_actions(SEARCH))
    run = await world.play()
    assert run.failure
    assert (run.failure.reason, run.step_count) == ("STEPS_EXCEEDED", 4)


async def test_a_required_action_that_was_refused_for_good_fails_the_run(world: World) -> None:
    world.board.fail_next(422)
    await world.create()
    run = await world.play()
    assert run.failure
    assert run.failure.reason == "POST_REFUSED"


async def test_the_model_is_told_why_an_action_was_refused(world: World) -> None:
    world.board.fail_next(422)
    await world.create(with_actions({**POST, "limits": {"per_run": 2}}))
    await world.play()
    told = world.model.prompts[1].messages[-1].text
    assert "told to" in told


async def test_a_model_that_calls_more_than_allowed_is_told_so(world: World) -> None:
    posts = 2 * [("board.post", '{"text": "again"}')]
    world.model.answers = lambda prompt: (
        calls(*posts) if prompt.choice == "required" else answer("done")
    )
    await world.create()
    await world.play()
    rules = [event.rule for event in (await world.events()) if isinstance(event, ActionDecided)]
    assert rules == ["approval: allow", "per_run limit of 1"]


async def test_calls_beyond_the_limit_of_one_answer_are_dropped(world: World) -> None:
    many = 40 * [("knowledge.search", '{"query": "a"}')]
    world.model.answers = lambda prompt: (
        calls(*many) if len(prompt.messages) == 2 else answer("done")
    )
    await world.create(with_actions(SEARCH))
    await world.play()
    assert (await world.kinds()).count("ActionDecided") == deeds.CALLS_MAX


# --- Cancelling ----------------------------------------------------------------------------------


async def test_cancelling_stops_a_generation_at_once(world: World) -> None:
    world.model.go_on.clear()
    await world.create()
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.model.is_writing.wait()
    await conductor.cancel(RUN)
    await world.until_ended()
    assert (await world.run(RUN)).state == State.CANCELLED
    assert world.model.closed_count == 1


async def test_cancelling_lets_an_effect_come_to_its_end(world: World) -> None:
    await world.create()
    await _play_until_sent(world, "lost")
    await world.cancel(RUN)
    run = await world.play()
    assert (run.state, len(world.board.posts)) == (State.CANCELLED, 1)
    assert (await world.kinds())[-5:] == [
        "EffectUnknown",
        "CancelRequested",
        "EndDecided",
        "ActionFinished",
        "RunFinished",
    ]


async def test_what_turns_out_not_to_have_happened_is_not_sent_by_a_cancelled_run(
    world: World,
) -> None:
    await world.create()
    await _play_until_sent(world, 500)
    await world.cancel(RUN)
    run = await world.play()
    assert (run.state, len(world.board.posts)) == (State.CANCELLED, 0)
    *_, unsent, finished, _ = await world.events()
    assert unsent == EffectUnsent("step-1-1")
    assert isinstance(finished, ActionFinished)
    assert finished.reason == "NOT_SENT"


async def _play_until_sent(world: World, *failures: int | str) -> None:
    """Stop while nobody knows what came of an effect."""
    world.board.fail_next(*failures, *1_000 * [500])
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_kind("EffectUnknown")
    await conductor.stop()
    world.board.stop_failing()


async def test_a_cancelled_run_that_had_not_acted_does_not_act(world: World) -> None:
    await world.create()
    await world.cancel(RUN)
    await world.play()
    assert (await world.kinds()) == [
        "RunStarted",
        "CancelRequested",
        "EndDecided",
        "RunFinished",
    ]


async def test_cancelling_a_run_that_has_ended_changes_nothing(world: World) -> None:
    await world.create()
    ended = await world.play()
    cancelled = await Conductor(world.stage()).cancel(RUN)
    assert cancelled == ended


async def test_cancelling_twice_is_journaled_once(world: World) -> None:
    await world.create()
    for _ in range(2):
        await world.cancel(RUN)
    await world.play()
    assert (await world.kinds()).count("CancelRequested") == 1


# --- Ends that must hold -------------------------------------------------------------------------


async def test_an_effect_that_nobody_can_tell_of_is_named_when_time_is_up(world: World) -> None:
    await world.create()
    await _play_until_sent(world)
    world.board.fail_next(500)
    world.clock.advance(61)
    run = await world.play()
    assert run.failure
    assert "step-1-1 (board.post) happened is not known" in run.failure.message


async def test_an_effect_is_not_sent_again_when_time_is_up(world: World) -> None:
    await world.create()
    await _play_until_sent(world)
    world.clock.advance(61)
    await world.play()
    assert world.board.posts == {}


async def test_an_effect_that_happened_is_journaled_even_when_time_is_up(world: World) -> None:
    await world.create()
    world.board.fail_next("lost", *1_000 * ["unsent"])
    conductor = Conductor(world.stage())
    await conductor.start()
    await until(lambda: world.board.posts)
    await conductor.stop()
    world.board.stop_failing()
    world.clock.advance(61)
    await world.play()
    assert "ActionFinished" in (await world.kinds())


async def test_a_decided_end_holds_after_a_crash(world: World) -> None:
    await world.create()
    world.model.fail_next(RunFails(Failure("MODEL_FAILED", "")))
    world.signer.fail_next(*1_000 * [PeerUnavailable("keymanager")])
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_kind("EndDecided")
    await conductor.stop()
    world.signer.stop_failing()
    run = await world.play()
    assert run.failure == Failure("MODEL_FAILED", "")


async def test_a_bug_stops_one_run_and_leaves_it_to_the_next_start(world: World) -> None:
    await world.create()
    world.model.fail_next(AssertionError("a bug"))
    conductor = Conductor(world.stage())
    await conductor.start()
    await until(lambda: not conductor._tasks)
    run = await world.play()
    assert run.state == State.SUCCEEDED


async def test_the_last_event_of_a_journal_is_its_end(world: World) -> None:
    await world.create()
    await world.play()
    [end] = [event for event in (await world.events()) if isinstance(event, RunFinished)]
    assert (await world.events())[-1] == replace(end)


async def test_a_caller_that_leaves_while_a_run_is_stored_leaves_no_run_behind(
    world: World,
) -> None:
    """The run is durable by then, and nobody else would take it up before the next start."""

    class LeavingJournal(SqliteJournal):
        async def create(self, new: NewRun, now: datetime) -> Opened:
            opened = await super().create(new, now)
            call.cancel()
            return opened

    stage = replace(world.stage(), journal=LeavingJournal(world.engine, worker="leaving"))
    conductor = Conductor(stage)
    servicer = RuntimeService(stage=stage, conductor=conductor, dice=random.Random(1))
    request = runtime_pb2.StartRunRequest(request_id="r", bundle=bundle_to_proto(world.seal()))
    call = asyncio.ensure_future(servicer.StartRun(request, cast("Any", None)))
    with suppress(asyncio.CancelledError):
        await call
    [run] = await world.journal.newest(10)
    try:
        await world.until_ended(run.name)
    finally:
        await conductor.stop()
