"""A run that is executed again goes the same way, or the first difference is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.comparing import compare
from runtime.conductor import Conductor
from runtime.facts import (
    ActionDecided,
    ActionFinished,
    Decision,
    EffectSent,
    Failure,
    GenerationFinished,
    RunFinished,
)
from runtime.journal.port import Record
from runtime.machines.agent import AgentLoop
from runtime.ports import RunFails
from runtime.program import Program
from runtime.replaying import Replayed, replay
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.machines.playing import START
from tests.runtime.machines.test_agent import recorded_runs
from tests.runtime.worlds import (
    POST,
    RUN,
    SEARCH,
    SLEEP,
    World,
    program,
    with_actions,
    with_limits,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def replayed(agent: Program, records: list[Record]) -> list[Replayed]:
    return [*replay(AgentLoop(agent), agent, records)]


async def differences(world: World, change: Any = bool) -> list[str]:  # noqa: ANN401  # as `program`
    """Return what a replay of the run finds, under the program after a change."""
    found = replayed(program(change), await world.journal.events(RUN))
    return [one.difference for one in found if one.difference]


async def test_a_run_goes_the_same_way_to_its_end(world: World) -> None:
    await world.create()
    await world.play()
    records = await world.journal.events(RUN)
    found = replayed(program(), records)
    assert [one.event for one in found] == [record.event for record in records]
    assert {one.difference for one in found} == {""}


@given(recorded_runs)
def test_whatever_a_model_and_people_do_a_replay_goes_the_same_way(
    run: tuple[Program, list[Record]],
) -> None:
    assert [one.difference for one in replayed(*run) if one.difference] == []


async def test_runs_that_failed_slept_or_were_cut_short_go_the_same_way(world: World) -> None:
    both = ("run.sleep", '{"seconds": 5}'), ("knowledge.search", '{"query": "a"}')
    world.model.answers = lambda prompt: (
        calls(*both) if len(prompt.messages) == 2 else answer("done")
    )
    await world.create(with_actions(SLEEP, SEARCH))
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_kind("SleepStarted")
    await conductor.stop()
    world.clock.advance(61)
    await world.play()
    assert await differences(world, with_actions(SLEEP, SEARCH)) == []


async def test_a_refusal_of_a_peer_goes_the_same_way(world: World) -> None:
    await world.create()
    world.model.fail_next(RunFails(Failure("MODEL_FAILED", "no")))
    await world.play()
    assert await differences(world) == []


async def test_other_instructions_are_noticed_at_the_first_prompt(world: World) -> None:
    await world.create()
    await world.play()
    [difference] = await differences(world, lambda it: it.update(instructions="Post two."))
    assert "asked something else" in difference


async def test_another_policy_is_noticed_at_its_first_decision(world: World) -> None:
    await world.create()
    await world.play()
    denying = with_actions(SEARCH, {**POST, "approval": "ask"})
    found = replayed(program(denying), await world.journal.events(RUN))
    assert isinstance(found[-1].event, ActionDecided)
    assert found[-1].event.decision == Decision.ASK
    assert "ActionDecided follows here" in found[-1].difference


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (GenerationFinished, {"step": 2}),
        (EffectSent, {"call_id": "step-9-9"}),
        (ActionFinished, {"action": "knowledge.search"}),
    ],
)
async def test_a_journal_that_was_tampered_with_is_noticed(
    world: World, kind: type, change: dict[str, Any]
) -> None:
    await world.create()
    await world.play()
    records = await world.journal.events(RUN)
    place = next(n for n, one in enumerate(records) if isinstance(one.event, kind))
    records[place] = replace(records[place], event=replace(records[place].event, **change))
    found = replayed(program(), records)
    assert (len(found), bool(found[-1].difference)) == (place + 1, True)


async def test_a_dry_run_says_what_a_call_would_cost(world: World) -> None:
    await world.create(dry_run=True)
    await world.play()
    [described] = [event for event in await world.events() if isinstance(event, ActionFinished)]
    assert '"gas":3' in described.result
    assert described.gas == 0
    assert await differences(world) == []


# --- Comparing -----------------------------------------------------------------------------------


async def test_a_run_and_its_like_do_not_part(world: World) -> None:
    await world.create()
    await world.play()
    left = await world.journal.events(RUN)
    right = [
        replace(one, event=replace(one.event, idempotency_key="other"))
        if isinstance(one.event, EffectSent)
        else one
        for one in left
    ]
    assert compare(left, right) is None


async def test_the_first_difference_is_shown_with_both_events(world: World) -> None:
    await world.create(with_limits(steps=3))
    await world.play()
    left = await world.journal.events(RUN)
    right = [
        replace(one, event=replace(one.event, text="I did not."))
        if isinstance(one.event, GenerationFinished) and one.event.step == 2
        else one
        for one in left
    ]
    parting = compare(left, right)
    assert parting
    assert parting.left
    assert isinstance(parting.left.event, GenerationFinished)
    assert '+ "text": "I did not.",' in parting.difference


async def test_a_run_that_ends_earlier_parts_where_it_ends(world: World) -> None:
    await world.create()
    await world.play()
    records = await world.journal.events(RUN)
    parting = compare(records, records[:-1])
    assert parting
    assert (parting.sequence, parting.right) == (len(records), None)
    assert parting.left
    assert isinstance(parting.left.event, RunFinished)


@given(st.data())
def test_what_differs_is_found_at_its_first_place(data: st.DataObject) -> None:
    events = [EffectSent(f"step-{n}", "key") for n in range(5)]
    left = [Record(n, START, event) for n, event in enumerate(events, 1)]
    changed = data.draw(st.sets(st.integers(0, 4)))
    right = [
        replace(one, event=EffectSent("other", "key")) if n in changed else one
        for n, one in enumerate(left)
    ]
    parting = compare(left, right)
    assert (parting.sequence - 1 if parting else None) == min(changed, default=None)
