"""Workflows, whatever their steps need, fail at, and in whatever order they end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BundleInvalid
from runtime.facts import (
    ActionFinished,
    Event,
    GenerationFinished,
    RunFinished,
    SleepStarted,
    State,
)
from runtime.machines import fold
from runtime.machines.workflow import WorkflowMachine
from runtime.program import Program
from runtime.replaying import replay
from tests.runtime.machines.playing import Player
from tests.runtime.worlds import POST, SEARCH, program, with_actions, with_limits

FREE = {**POST, "limits": {"per_run": 0}, "required": False}
FIND = {"id": "find", "action": "knowledge.search", "arguments": {"query": {"from": "input"}}}


def workflow(*steps: dict[str, Any], output: str = "'done'") -> Program:
    """Return an agent with steps."""

    def change(content: dict[str, Any]) -> None:
        with_actions({**SEARCH, "limits": {"per_run": 0}}, FREE)(content)
        with_limits(steps=64)(content)
        content["workflow"] = {"steps": list(steps), "output": output}

    return program(change)


@st.composite
def graphs(draw: st.DrawFn) -> Program:
    """Return steps of which each waits for some of those before it."""
    steps: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 7))):
        earlier = st.sampled_from([one["id"] for one in steps]) if steps else st.nothing()
        step: dict[str, Any] = {
            "id": f"s{number}",
            "after": draw(st.lists(earlier, unique=True, max_size=3)) if steps else [],
            "when": draw(st.sampled_from(["", "", "input", "`false`"])),
        }
        if draw(st.booleans()):
            step["instructions"] = "Write."
        else:
            step["action"] = draw(st.sampled_from(["knowledge.search", "board.post"]))
            name = "query" if step["action"] == "knowledge.search" else "text"
            step["arguments"] = {name: "x"}
            step["on_failure"] = {
                "retries": draw(st.integers(0, 2)),
                "continues": True,
                "backoff_seconds": draw(st.sampled_from([0, 10])),
            }
        steps.append(step)
    return workflow(*steps, output=draw(st.sampled_from(["input", "steps.s0.output || 'x'"])))


OBJECT = {"type": "object"}
HOSTILE = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}}
ANSWER = {"id": "a", "instructions": "x", "output_schema": OBJECT}

orders = st.lists(st.integers(0, 9), max_size=30)


def _steps_done(events: list[Event]) -> list[str]:
    """Return the steps that were done, each as often as it was."""
    ends = [one for one in events if isinstance(one, ActionFinished) and not one.reason]
    answers = [f"s{one.step - 1}" for one in events if isinstance(one, GenerationFinished)]
    return sorted([one.call_id.rpartition("-")[0] for one in ends] + answers)


@given(graphs(), orders)
def test_every_step_that_happens_happens_once_after_all_that_it_needs(
    agent: Program, order: list[int]
) -> None:
    events = Player([("text", [])] * 9, order).play(WorkflowMachine(agent))
    assert agent.workflow is not None
    happening = [step for step in agent.workflow.steps if step.when != "`false`"]
    assert _steps_done(events) == [step.id for step in happening]
    ends = {
        f"s{one.step - 1}" if isinstance(one, GenerationFinished) else one.call_id[:-2]: place
        for place, one in enumerate(events)
        if isinstance(one, ActionFinished | GenerationFinished)
    }
    for step in happening:
        assert all(ends[one] < ends[step.id] for one in step.needs & ends.keys())


@given(graphs(), orders, orders)
def test_the_order_in_which_steps_end_changes_nothing(
    agent: Program, one: list[int], other: list[int]
) -> None:
    ends = [
        Player([("text", [])] * 9, order).play(WorkflowMachine(agent))[-1] for order in (one, other)
    ]
    assert ends[0] == ends[1]
    assert isinstance(ends[0], RunFinished)
    assert ends[0].outcome.state == State.SUCCEEDED


@given(graphs(), orders, st.lists(st.booleans(), max_size=9))
def test_a_failing_step_is_tried_as_often_as_it_may_and_the_run_goes_on(
    agent: Program, order: list[int], refusals: list[bool]
) -> None:
    events = Player([("text", [])] * 9, order, refusals).play(WorkflowMachine(agent))
    assert agent.workflow is not None
    waits = [one.call_id for one in events if isinstance(one, SleepStarted)]
    for step in agent.workflow.steps:
        ends = [
            one
            for one in events
            if isinstance(one, ActionFinished) and one.call_id.startswith(f"{step.id}-")
        ]
        assert [one.call_id for one in ends] == [f"{step.id}-{n + 1}" for n in range(len(ends))]
        assert len(ends) <= step.on_failure.retries + 1
        assert all(one.reason for one in ends[:-1])
        waited = [call_id for call_id in waits if call_id.startswith(f"{step.id}-")]
        backs_off = bool(step.on_failure.backoff_seconds)
        assert waited == [one.call_id for one in ends[1:] if backs_off]
    assert isinstance(events[-1], RunFinished)


def test_each_retry_comes_after_twice_the_time_of_the_one_before_up_to_an_hour() -> None:
    failing = {"retries": 4, "backoff_seconds": 600}
    machine = WorkflowMachine(workflow({**FIND, "on_failure": failing}))
    records = Player([], refusals=[True] * 4).records(machine)
    waits = [
        (record.event.call_id, (record.event.until - record.create_time).total_seconds())
        for record in records
        if isinstance(record.event, SleepStarted)
    ]
    assert waits == [("find-2", 600), ("find-3", 1_200), ("find-4", 2_400), ("find-5", 3_600)]
    assert [one.difference for one in replay(machine, workflow(FIND), records)] == [""] * len(
        records
    )


@given(graphs(), orders, st.lists(st.booleans(), max_size=9))
def test_a_replay_and_a_snapshot_give_the_same(
    agent: Program, order: list[int], refusals: list[bool]
) -> None:
    machine = WorkflowMachine(agent)
    records = Player([("text", [])] * 9, order, refusals).records(machine)
    assert [one.difference for one in replay(machine, agent, records) if one.difference] == []
    half = fold(machine, [record.event for record in records[: len(records) // 2]])
    assert machine.decode(machine.encode(half)) == half


def test_steps_that_need_nothing_are_under_way_at_once() -> None:
    other = {**FIND, "id": "other"}
    machine = WorkflowMachine(workflow(FIND, other, {"id": "write", "instructions": "Write."}))
    started = Player([]).records(machine)[:3]
    wanted = machine.wanted(fold(machine, [record.event for record in started]))
    assert [effect.key for effect in wanted] == ["find-1", "other-1", "step-3"]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"id": "find", "instructions": "Write."}, "another step has its id"),
        ({"id": "a"}, "either an action or instructions"),
        ({"id": "a", "action": "rm"}, "not an action of the agent"),
        ({"id": "a", "action": "board.post", "after": ["a"]}, "no earlier step a"),
        ({"id": "a", "instructions": "x", "when": "steps.b.output"}, "no earlier step b"),
        ({"id": "a", "instructions": "x", "when": "length(@)"}, "function expression"),
        ({"id": "a", "instructions": "x", "when": "other"}, "not about input"),
        ({"id": "a", "instructions": "x", "on_failure": {"retries": 1}}, "only actions"),
        ({"id": "a", "action": "board.post", "output_schema": OBJECT}, "only answers"),
        ({"id": "a", "instructions": "x", "output_schema": {"type": "string"}}, "is no object"),
        ({"id": "a", "instructions": "x", "output_schema": HOSTILE}, "no `pattern` is taken"),
        ({**ANSWER, "on_failure": {"retries": 1, "backoff_seconds": 1}}, "again at once"),
        ({**ANSWER, "on_failure": {"retries": 10}, "each": "input"}, "only actions"),
    ],
)
def test_a_bundle_whose_steps_make_no_sense_does_not_open(step: dict[str, Any], told: str) -> None:
    with pytest.raises(BundleInvalid, match=told):
        workflow(FIND, step)


def test_a_bundle_that_could_ask_the_model_more_often_than_it_may_does_not_open() -> None:
    steps = [{**ANSWER, "id": f"a{one}", "on_failure": {"retries": 10}} for one in range(6)]
    with pytest.raises(BundleInvalid, match=r"more often than limits\.steps"):
        workflow(*steps)
    assert workflow(*steps[:5]).workflow
