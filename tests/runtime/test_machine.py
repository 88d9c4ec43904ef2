"""The state machine: what holds in every run that any model can cause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.conversation import ActionChoice, Role
from runtime.facts import (
    ActionCall,
    ActionFinished,
    CancelRequested,
    EffectSent,
    Event,
    GenerationFinished,
    KnowledgeRetrieved,
    Outcome,
    Passage,
    Receipt,
    RunFinished,
    RunStarted,
    State,
    decode,
    encode,
)
from runtime.machine import (
    Act,
    Finish,
    Generate,
    Progress,
    Record,
    Retrieve,
    apply,
    fold,
    next_effect,
)
from runtime.program import Program
from tests.fakes.runtime_ports import FakeSigner
from tests.runtime.worlds import POST, SEARCH, program, with_actions, with_limits

BILL = Receipt("runs/1", "agents/a", (), 0, "", 0)
POSTING = ("board.post", '{"text": "a"}')
SEARCHING = ("knowledge.search", '{"query": "a"}')
WRONG = ("board.post", "{}")
UNKNOWN = ("shell", "{}")

# What a model may do in a step: a text, and calls.
steps = st.tuples(
    st.sampled_from(["", "done"]),
    st.lists(st.sampled_from([POSTING, SEARCHING, WRONG, UNKNOWN]), max_size=3),
)
models = st.lists(steps, max_size=6)
programs = st.builds(
    lambda per_run, required, steps_max: program(
        lambda content: (
            with_actions(SEARCH, {**POST, "limits": {"per_run": per_run}, "required": required})(
                content
            ),
            with_limits(steps=steps_max)(content),
        )
    ),
    st.integers(0, 2),
    st.booleans(),
    st.integers(1, 5),
)


def play(
    agent: Program, model: list[Any], refusals: list[bool], *, dry_run: bool, cancel_at: int = -1
) -> list[Event]:
    """Return the journal of a run of the machine alone, with a world that may refuse."""
    journal: list[Event] = [RunStarted("bundles/1", '"hello"', dry_run)]
    progress = fold(journal)
    model, refusals = [*model], [*refusals]
    while progress.finished is None:
        if len(journal) == cancel_at:
            journal.append(CancelRequested())
        else:
            journal += _perform(next_effect(agent, progress), model, refusals)
        progress = fold(journal)
    return journal


def _perform(effect: object, model: list[Any], refusals: list[bool]) -> list[Event]:
    match effect:
        case Retrieve():
            return [KnowledgeRetrieved((Passage("a", "b"),))]
        case Record():
            return [effect.event]
        case Generate():
            text, wanted = model.pop(0) if model else ("done", [])
            calls = tuple(
                ActionCall(f"step-{effect.step}-{number}", *call)
                for number, call in enumerate(wanted, start=1)
            )
            return [GenerationFinished(effect.step, text, calls, (), 0)]
        case Act():
            reason = "REFUSED" if refusals and refusals.pop(0) else ""
            sent: list[Event] = [EffectSent(effect.call.id, "key")]
            result = ActionFinished(effect.call.id, effect.call.action, "{}", 0, reason)
            return [*(sent if effect.action.effect == "write" else []), result]
        case Finish():
            return [RunFinished(effect.outcome, BILL)]
    raise AssertionError(effect)


runs = st.builds(
    lambda agent, model, refusals, dry_run, cancel_at: (
        agent,
        play(agent, model, refusals, dry_run=dry_run, cancel_at=cancel_at),
    ),
    programs,
    models,
    st.lists(st.booleans(), max_size=4),
    st.booleans(),
    st.integers(-1, 12),
)


@given(runs)
def test_every_call_has_exactly_one_result_or_the_run_was_stopped(
    run: tuple[Program, list[Event]],
) -> None:
    _, journal = run
    made = [
        call.id
        for event in journal
        if isinstance(event, GenerationFinished)
        for call in event.calls
    ]
    results = [event.call_id for event in journal if isinstance(event, ActionFinished)]
    assert len(results) == len(set(results))
    if CancelRequested() not in journal:
        assert results == made


@given(runs)
def test_success_comes_after_every_required_action(run: tuple[Program, list[Event]]) -> None:
    agent, journal = run
    end = journal[-1]
    assert isinstance(end, RunFinished)
    done = {
        event.action for event in journal if isinstance(event, ActionFinished) and not event.reason
    }
    if end.outcome.state == State.SUCCEEDED:
        assert {action.name for action in agent.actions if action.required} <= done


@given(runs)
def test_limits_hold(run: tuple[Program, list[Event]]) -> None:
    agent, journal = run
    sent = sum(isinstance(event, EffectSent) for event in journal)
    generated = sum(isinstance(event, GenerationFinished) for event in journal)
    per_run = agent.actions[1].limits.per_run
    assert generated <= agent.limits.steps
    assert per_run == 0 or sent <= per_run


@given(runs)
def test_a_dry_run_sends_nothing(run: tuple[Program, list[Event]]) -> None:
    _, journal = run
    first = journal[0]
    assert isinstance(first, RunStarted)
    if first.dry_run:
        assert not any(isinstance(event, EffectSent) for event in journal)


@given(runs, st.data())
def test_a_journal_read_back_gives_the_same_next_step(
    run: tuple[Program, list[Event]], data: st.DataObject
) -> None:
    agent, journal = run
    length = data.draw(st.integers(1, len(journal) - 1))
    progress = Progress()
    for event in journal[:length]:
        progress = apply(progress, event)
    read_back = fold(decode(*encode(event)) for event in journal[:length])
    assert read_back == progress
    assert next_effect(agent, read_back) == next_effect(agent, progress)


@given(runs)
def test_nothing_is_sent_after_a_cancellation_that_was_not_under_way(
    run: tuple[Program, list[Event]],
) -> None:
    _, journal = run
    if CancelRequested() in journal:
        after = journal[journal.index(CancelRequested()) :]
        assert not any(isinstance(event, EffectSent | GenerationFinished) for event in after)


def _generate(agent: Program, *events: Event) -> Generate:
    started = RunStarted("bundles/1", '"hello"', dry_run=False)
    effect = next_effect(agent, fold([started, KnowledgeRetrieved(()), *events]))
    assert isinstance(effect, Generate)
    return effect


def _searched(step: int) -> list[Event]:
    call = ActionCall(f"step-{step}-1", *SEARCHING)
    progress = fold([GenerationFinished(1, "", (call,), (), 0)])
    decided = next_effect(program(), progress)
    assert isinstance(decided, Record)
    return [
        GenerationFinished(step, "", (call,), (), 0),
        decided.event,
        ActionFinished(call.id, call.action, "{}", 0),
    ]


def test_what_is_required_must_be_called_while_everything_is_offered() -> None:
    effect = _generate(program())
    assert effect.choice == ActionChoice.REQUIRED
    assert [action.name for action in effect.actions] == ["knowledge.search", "board.post"]


def test_in_the_last_steps_only_what_is_required_is_offered() -> None:
    effect = _generate(program(with_limits(steps=2)))
    assert [action.name for action in effect.actions] == ["board.post"]


def test_an_action_without_calls_left_is_not_offered() -> None:
    agent = program(with_actions({**SEARCH, "limits": {"per_run": 1}}, POST))
    effect = _generate(agent, *_searched(1))
    assert [action.name for action in effect.actions] == ["board.post"]


def test_a_denied_action_is_not_offered() -> None:
    agent = program(with_actions({**SEARCH, "approval": "deny"}))
    assert _generate(agent).actions == ()


def test_where_nothing_is_required_the_model_chooses() -> None:
    assert _generate(program(with_actions(SEARCH))).choice == ActionChoice.AUTO


def test_in_its_last_step_a_model_must_answer() -> None:
    agent = program(lambda content: (with_actions(SEARCH)(content), with_limits(steps=1)(content)))
    assert _generate(agent).choice == ActionChoice.NONE


def test_a_model_that_only_talks_is_reminded() -> None:
    talk = GenerationFinished(1, "I will.", (), (), 0)
    effect = _generate(program(), talk)
    assert [message.role for message in effect.messages[-2:]] == [Role.ASSISTANT, Role.USER]


def test_passages_are_in_the_prompt_as_material() -> None:
    started = RunStarted("bundles/1", '"hello"', dry_run=False)
    found = KnowledgeRetrieved((Passage("collections/a/documents/b", "Ether gained."),))
    effect = next_effect(program(), fold([started, found]))
    assert isinstance(effect, Generate)
    assert effect.messages[0].text.startswith("Post a brief.\n\nWhat follows was found")
    assert "[collections/a/documents/b]\nEther gained." in effect.messages[0].text


@pytest.mark.parametrize(
    ("given_input", "told"),
    [('"hello"', "hello"), ('""', "Begin."), ('{"a": 1}', '{"a": 1}'), ("null", "null")],
)
def test_the_input_is_told_as_people_read_it(given_input: str, told: str) -> None:
    started = RunStarted("bundles/1", given_input, dry_run=False)
    effect = next_effect(program(), fold([started, KnowledgeRetrieved(())]))
    assert isinstance(effect, Generate)
    assert effect.messages[1].text == told


def test_without_input_the_instructions_are_searched_for() -> None:
    effect = next_effect(program(), fold([RunStarted("bundles/1", '""', dry_run=False)]))
    assert effect == Retrieve("Post a brief.")


def test_nothing_follows_the_end() -> None:
    ended = fold([RunFinished(Outcome(State.CANCELLED), BILL)])
    with pytest.raises(AssertionError):
        apply(ended, CancelRequested())


def test_results_come_in_the_order_of_the_calls() -> None:
    calls = tuple(ActionCall(f"step-1-{number}", *SEARCHING) for number in (1, 2))
    progress = fold([GenerationFinished(1, "", calls, (), 0)])
    with pytest.raises(AssertionError):
        apply(progress, ActionFinished("step-1-2", "knowledge.search", "{}", 0))


def test_a_journal_from_before_agents_asked_each_other_is_read() -> None:
    started = b'{"bundle":"bundles/1","input":"1","dry_run":false}'
    sent = b'{"call_id":"step-1-1","idempotency_key":"key"}'
    assert decode("started", started) == RunStarted("bundles/1", "1", dry_run=False)
    assert decode("sent", sent) == EffectSent("step-1-1", "key")


def test_a_signature_survives_the_journal() -> None:
    signed = replace(BILL, signature=FakeSigner().sign("keys/receipts", "receipt", b"1"))
    event = RunFinished(Outcome(State.SUCCEEDED, "done"), signed)
    assert decode(*encode(event)) == event
