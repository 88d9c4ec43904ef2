"""Steps that are done for each item, again, or undone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BundleInvalid
from runtime.facts import (
    ActionCall,
    ActionFinished,
    EffectSent,
    Event,
    RunFinished,
    RunStarted,
    State,
)
from runtime.machines.effects import Act, Close
from runtime.machines.workflow import WorkflowMachine
from runtime.program import Program
from tests.runtime.machines.playing import BILL, START

from .test_workflow import FIND, workflow

# What becomes of a call: its result, and why it failed.
Answer = Callable[[ActionCall], tuple[Any, str]]
POST_EACH = {
    "id": "post",
    "action": "board.post",
    "arguments": {"text": {"from": "item"}},
    "each": "input",
}


def play(
    agent: Program,
    answer: Answer,
    given_input: Any = "a",  # noqa: ANN401  # JSON
    order: list[int] | None = None,
) -> tuple[list[Event], int]:
    """Return the events of a run, and how many calls were under way at once at most."""
    machine = WorkflowMachine(agent)
    events: list[Event] = []
    state, most, choices = machine.begin(), 0, [*(order or [])]

    def record(event: Event) -> None:
        nonlocal state
        events.append(event)
        state = machine.apply(state, event)
        while fact := machine.follow(state, START):
            events.append(fact)
            state = machine.apply(state, fact)

    record(RunStarted("bundles/1", json.dumps(given_input), dry_run=False))
    while state.life.finished is None:
        wanted = machine.wanted(state)
        most = max(most, len(wanted))
        effect = wanted[(choices.pop(0) if choices else 0) % len(wanted)]
        if isinstance(effect, Close):
            record(RunFinished(effect.outcome, BILL))
            continue
        assert isinstance(effect, Act)
        if effect.action.effect == "write" and not effect.is_sent:
            record(EffectSent(effect.call.id, "key"))
        result, reason = answer(effect.call)
        record(ActionFinished(effect.call.id, effect.call.action, json.dumps(result), 0, reason))
    return events, most


def well(call: ActionCall) -> tuple[Any, str]:
    return json.loads(call.arguments), ""


def made(events: list[Event]) -> list[str]:
    return [event.call_id for event in events if isinstance(event, ActionFinished)]


def outcome(events: list[Event]) -> RunFinished:
    assert isinstance(events[-1], RunFinished)
    return events[-1]


# --- For each ------------------------------------------------------------------------------------


@given(
    st.lists(st.text("abc", min_size=1, max_size=3), max_size=9),
    st.integers(1, 4),
    st.lists(st.integers(0, 9), max_size=30),
)
def test_a_step_is_done_once_for_each_item_and_gives_the_outputs_in_their_order(
    items: list[str], parallel: int, order: list[int]
) -> None:
    agent = workflow({**POST_EACH, "parallel": parallel}, output="steps.post.output")
    events, most = play(agent, well, items, order)
    answer = json.loads(outcome(events).outcome.answer)
    assert answer == [{"text": item} for item in items]
    assert sorted(made(events)) == sorted(f"post.{number}-1" for number in range(len(items)))
    assert most <= max(1, parallel)


def test_an_item_that_fails_is_tried_again_and_then_replaced() -> None:
    def answer(call: ActionCall) -> tuple[Any, str]:
        return ("no", "REFUSED") if call.id.startswith("post.1-") else well(call)

    failing = {"retries": 1, "continues": True, "default": "none"}
    agent = workflow({**POST_EACH, "on_failure": failing}, output="steps.post.output")
    events, _ = play(agent, answer, ["a", "b"])
    assert json.loads(outcome(events).outcome.answer) == [{"text": "a"}, "none"]
    assert made(events).count("post.1-1") == made(events).count("post.1-2") == 1


@pytest.mark.parametrize("given_input", ["text", None, {"a": 1}, [1] * 101])
def test_what_is_no_list_or_too_long_a_one_fails_the_run(given_input: object) -> None:
    failure = outcome(play(workflow(POST_EACH), well, given_input)[0]).outcome.failure
    assert failure
    assert failure.reason == "STEP_INVALID"


# --- Again ---------------------------------------------------------------------------------------

AGAIN = {**FIND, "repeat": {"until": "steps.find.output.done", "most": 3}}


@pytest.mark.parametrize(("done_at", "count"), [(1, 1), (3, 3)])
def test_a_step_is_done_again_until_its_output_is_as_it_should_be(done_at: int, count: int) -> None:
    def answer(call: ActionCall) -> tuple[Any, str]:
        return {"done": int(call.id.rpartition("-")[2]) >= done_at}, ""

    events, _ = play(workflow(AGAIN), answer)
    assert made(events) == [f"find-{number}" for number in range(1, count + 1)]
    assert outcome(events).outcome.state == State.SUCCEEDED


def test_a_step_that_is_never_as_it_should_be_fails_the_run() -> None:
    events, _ = play(workflow(AGAIN), lambda _: ({"done": False}, ""))
    failure = outcome(events).outcome.failure
    assert failure
    assert (failure.reason, len(made(events))) == ("REPEATS_EXCEEDED", 3)


def test_failures_do_not_count_as_repetitions() -> None:
    def answer(call: ActionCall) -> tuple[Any, str]:
        return ("no", "REFUSED") if call.id == "find-2" else ({"done": call.id == "find-4"}, "")

    events, _ = play(workflow({**AGAIN, "on_failure": {"retries": 1}}), answer)
    assert made(events) == ["find-1", "find-2", "find-3", "find-4"]
    assert outcome(events).outcome.state == State.SUCCEEDED


# --- Undone --------------------------------------------------------------------------------------


def booking(name: str, *after: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    undo = {"action": "board.post", "arguments": {"text": {"from": f"steps.{name}.output.text"}}}
    step = {"id": name, "action": "board.post", "arguments": {"text": name}, "after": [*after]}
    return {**step, "undo": undo, **more}


FAILING = {"on_failure": {"compensates": True}}
TRIP = workflow(booking("train"), booking("hotel", "train"), booking("tour", "hotel", **FAILING))


def failing(*calls: str) -> Answer:
    return lambda call: ("no", "REFUSED") if call.id in calls else well(call)


def test_what_was_done_is_undone_in_reverse_order_before_the_run_fails() -> None:
    events, most = play(TRIP, failing("tour-1"))
    assert made(events) == ["train-1", "hotel-1", "tour-1", "hotel.undo-1", "train.undo-1"]
    failure = outcome(events).outcome.failure
    assert failure
    assert (failure.reason, most) == ("REFUSED", 1)


def test_what_could_not_be_undone_is_named_and_the_rest_is_undone_all_the_same() -> None:
    events, _ = play(TRIP, failing("tour-1", "hotel.undo-1"))
    failure = outcome(events).outcome.failure
    assert failure
    assert failure.message.endswith("what could not be undone: hotel")
    assert made(events)[-1] == "train.undo-1"


def test_a_run_that_only_stops_undoes_nothing() -> None:
    agent = workflow(booking("train"), booking("hotel", "train"))
    assert made(play(agent, failing("hotel-1"))[0]) == ["train-1", "hotel-1"]


@given(st.lists(st.integers(0, 9), max_size=20))
def test_what_is_under_way_ends_and_is_undone_too(order: list[int]) -> None:
    agent = workflow(booking("train"), booking("hotel"), booking("tour", **FAILING))
    events, _ = play(agent, failing("tour-1"), order=order)
    calls = made(events)
    done = [call.removesuffix("-1") for call in calls if call in ("train-1", "hotel-1")]
    undone = [call.removesuffix(".undo-1") for call in calls if call.endswith(".undo-1")]
    assert undone == [*reversed(done)]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({**POST_EACH, "undo": {"action": "board.post"}}, "is not undone"),
        ({"id": "a", "instructions": "x", "each": "input"}, "only actions"),
        ({**FIND, "undo": {"action": "rm"}}, "what undoes it"),
        ({**FIND, "arguments": {"query": {"from": "item"}}}, "not about input"),
        ({**FIND, "repeat": {"until": "steps.other.output", "most": 1}}, "no earlier step other"),
        ({**FIND, "on_failure": {"continues": True, "compensates": True}}, "either goes on"),
    ],
)
def test_a_bundle_whose_steps_do_not_go_together_does_not_open(
    step: dict[str, Any], told: str
) -> None:
    with pytest.raises(BundleInvalid, match=told):
        workflow(step)
