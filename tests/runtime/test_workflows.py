"""Runs of workflows from end to end over fakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.conductor import Conductor
from runtime.errors import ForkRepeats
from runtime.facts import ActionDecided, Failure, GenerationFinished, State
from runtime.ports import AnswerUnfit, RunFails
from tests.fakes.runtime_ports import answer
from tests.runtime.worlds import POST, RUN, SEARCH, SLEEP, World, until, with_actions

FIND = {"id": "find", "action": "knowledge.search", "arguments": {"query": {"from": "input"}}}
WRITE = {
    "id": "write",
    "instructions": "Write a notice.",
    "arguments": {"facts": {"from": "steps.find.output.passages[0].text"}},
}
PUT = {
    "id": "put",
    "action": "board.post",
    "arguments": {"text": {"from": "steps.write.output.text"}},
}
FORK = RUN.replace("0001", "0009")
NAP = {"id": "nap", "action": "run.sleep", "arguments": {"seconds": 5}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.model.answers = lambda _: answer("Ether is up.")
    return world


def steps(*chosen: dict[str, Any], output: str) -> Callable[[dict[str, Any]], object]:
    def change(content: dict[str, Any]) -> None:
        with_actions(
            {**SEARCH, "limits": {"per_run": 0}},
            {**POST, "required": False, "limits": {"per_run": 0}},
            SLEEP,
        )(content)
        content["workflow"] = {"steps": list(chosen), "output": output}

    return change


async def replays(world: World) -> list[str]:
    """Return how a replay of the run differs."""
    conductor = Conductor(world.stage())
    return [one.difference async for one in conductor.replay(RUN) if one.difference]


async def test_outputs_of_steps_become_inputs_of_others(world: World) -> None:
    await world.create(steps(FIND, WRITE, PUT, output="steps.write.output.text"))
    run = await world.play()
    assert (run.state, run.answer) == (State.SUCCEEDED, "Ether is up.")
    assert world.knowledge.queries[0][1] == "What moved?"
    assert "Ether gained." in world.model.prompts[0].messages[1].text
    assert "Write a notice." in world.model.prompts[0].messages[0].text
    assert [one["text"] for one in world.board.posts.values()] == ["Ether is up."]
    assert await replays(world) == []


async def test_a_condition_that_does_not_hold_leaves_a_step_out(world: World) -> None:
    never = {**PUT, "when": "input.urgent"}
    await world.create(steps(FIND, WRITE, never, output="steps.write.output.text"))
    assert (await world.play()).state == State.SUCCEEDED
    assert world.board.posts == {}


async def test_steps_that_end_together_replay(world: World) -> None:
    chains = [
        {**FIND, "id": f"find{number}", "after": after}
        for number, after in enumerate([[], [], [], ["find0"], ["find1"], ["find2"]])
    ]
    await world.create(steps(*chains, output="input"))
    assert (await world.play()).state == State.SUCCEEDED
    assert await replays(world) == []


async def test_a_step_sleeps_while_another_goes_on(world: World) -> None:
    await world.create(steps(NAP, FIND, {**WRITE, "after": ["nap"]}, output="input"))
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_kind("ActionFinished")
    await conductor.stop()
    assert "SleepStarted" in await world.kinds()
    assert world.model.prompts == []
    world.clock.advance(6)
    assert (await world.play()).state == State.SUCCEEDED
    assert await replays(world) == []


async def test_a_step_that_was_refused_waits_before_its_retry_also_across_a_restart(
    world: World,
) -> None:
    world.board.fail_next(409)
    failing = {"retries": 1, "backoff_seconds": 10}
    refused = {**PUT, "arguments": {"text": "Up."}, "on_failure": failing}
    await world.create(steps(refused, FIND, output="steps.put.output.id"))
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_kind("SleepStarted")
    await conductor.stop()
    world.clock.advance(9)
    conductor = Conductor(world.stage())
    await conductor.start()
    await until(lambda: world.knowledge.queries)
    await conductor.stop()
    assert world.board.posts == {}
    world.clock.advance(1)
    assert (await world.play()).answer == "1"
    assert (await world.kinds()).count("SleepStarted") == 1
    assert await replays(world) == []


NOTE = {
    "id": "note",
    "instructions": "Write a note.",
    "output_schema": {
        "type": "object",
        "properties": {"title": {"type": "string", "maxLength": 9}},
        "required": ["title"],
        "additionalProperties": False,
    },
}


async def test_an_answer_of_the_model_that_fits_its_schema_is_the_output(world: World) -> None:
    world.model.answers = lambda _: answer(' {"title": "Up"}\n')
    await world.create(steps(NOTE, output="steps.note.output.title"))
    assert (await world.play()).answer == "Up"
    (prompt,) = world.model.prompts
    assert json.loads(prompt.answer_schema) == NOTE["output_schema"]
    assert prompt.answer_schema in prompt.messages[0].text
    assert await replays(world) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Ether is up.", "it is not JSON"),
        ('{"title": "Ether is up."}', "$.title does not keep to `maxLength: 9`"),
        ('{"title": "Up", "more": 1}', "$ does not keep to `additionalProperties: false`"),
        ('{"title": "Up", "title": "Down"}', "a name twice"),
        ("[]", '$ does not keep to `type: "object"`'),
        ("[" * 900 + "]" * 900, '$ does not keep to `type: "object"`'),
        ("[" * 100_000, "nested too deeply"),
        ("", "there is none"),
    ],
)
async def test_an_answer_that_does_not_fit_is_asked_for_again_and_then_fails_the_step(
    world: World, text: str, told: str
) -> None:
    world.model.answers = lambda _: answer(text)
    failing = {"retries": 1}
    await world.create(steps(FIND, {**NOTE, "on_failure": failing}, output="steps.note.output"))
    failure = (await world.play()).failure
    assert failure
    assert failure.reason == "OUTPUT_INVALID"
    assert told in failure.message
    first, second = world.model.prompts
    assert first.model.seed != second.model.seed
    assert told in second.messages[-1].text
    assert await replays(world) == []


async def test_a_second_answer_that_fits_is_as_good(world: World) -> None:
    world.model.fail_next(AnswerUnfit())
    world.model.answers = lambda _: answer('{"title": "Up"}')
    note = {**NOTE, "on_failure": {"retries": 1}}
    await world.create(steps(FIND, note, WRITE, output="steps.note.output.title"))
    assert (await world.play()).answer == "Up"
    numbers = [one.step for one in await world.events() if isinstance(one, GenerationFinished)]
    assert sorted(numbers) == [2, 3, 5]


async def test_a_run_goes_on_without_an_answer_that_fits(world: World) -> None:
    default = {"continues": True, "default": {"title": "None"}}
    await world.create(steps({**NOTE, "on_failure": default}, output="steps.note.output.title"))
    assert (await world.play()).answer == "None"


async def test_a_denied_step_stops_the_run_and_nothing_comes_after_it(world: World) -> None:
    empty = {**PUT, "arguments": {"text": ""}, "on_failure": {"retries": 3}}
    after = {**FIND, "after": ["put"]}
    await world.create(steps(empty, after, output="input"))
    run = await world.play()
    assert run.state == State.FAILED
    assert run.failure is not None
    assert (run.failure.reason, run.failure.message[:15]) == ("DENIED", "step put failed")
    decided = [one for one in await world.events() if isinstance(one, ActionDecided)]
    assert [one.call.id for one in decided] == ["put-1"]


async def test_a_run_goes_on_with_the_default_of_a_step(world: World) -> None:
    failing = {"continues": True, "default": {"id": "none"}}
    empty = {**PUT, "arguments": {"text": ""}, "on_failure": failing}
    await world.create(steps(empty, output="steps.put.output.id"))
    assert (await world.play()).answer == "none"


async def test_a_model_that_refuses_ends_the_run(world: World) -> None:
    world.model.fail_next(RunFails(Failure("MODEL_FAILED", "no")))
    await world.create(steps(FIND, WRITE, output="steps.write.output.text"))
    assert (await world.play()).failure == Failure("MODEL_FAILED", "no")


# --- Forks of runs whose end followed from an effect ---------------------------------------------


@pytest.mark.parametrize("fate", [200, "lost"])
async def test_what_was_done_last_is_done_again_only_where_the_event_is_named(
    world: World, fate: int | str
) -> None:
    if fate == "lost":
        world.board.fail_next(fate)
    await world.create(steps(FIND, WRITE, PUT, output="steps.put.output.id"))
    await world.play()
    conductor = Conductor(world.stage())
    await conductor.start()
    try:
        with pytest.raises(ForkRepeats, match="put-1 was done after it") as refused:
            await conductor.fork(RUN, sequence=0, request_id="f", fork=FORK)
        assert [*world.board.posts] == [f"{RUN}/call/put-1"]
        named = refused.value.sequence
        await conductor.fork(RUN, sequence=named, request_id="f", fork=FORK)
        await world.until_ended(FORK)
    finally:
        await conductor.stop()
    assert [*world.board.posts] == [f"{RUN}/call/put-1", f"{FORK}/call/put-1"]


@pytest.mark.parametrize("fates", [(422,), ("unsent", 422)])
async def test_what_was_refused_last_is_tried_again_without_being_named(
    world: World, fates: tuple[int | str, ...]
) -> None:
    world.board.fail_next(*fates)
    await world.create(steps(FIND, WRITE, PUT, output="steps.put.output.id"))
    assert (await world.play()).state == State.FAILED
    conductor = Conductor(world.stage())
    await conductor.start()
    try:
        await conductor.fork(RUN, sequence=0, request_id="f", fork=FORK)
        await world.until_ended(FORK)
    finally:
        await conductor.stop()
    assert (await world.run(FORK)).state == State.SUCCEEDED
    assert [*world.board.posts] == [f"{FORK}/call/put-1"]
