"""The state machine: what holds in every run that any model can cause."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.conversation import ActionChoice, Role
from runtime.encoding import decode, encode
from runtime.facts import (
    ActionCall,
    ActionFinished,
    ApprovalDecided,
    CancelRequested,
    EffectSent,
    EndDecided,
    Event,
    Failure,
    GenerationFinished,
    KnowledgeRetrieved,
    Outcome,
    Passage,
    PauseRequested,
    ResumeRequested,
    RunFinished,
    RunStarted,
    SignalSent,
    State,
    Usage,
)
from runtime.machines import fold
from runtime.machines.agent import AgentLoop, AgentProgress
from runtime.machines.effects import Close, Effect, Generate, Retrieve
from runtime.program import Program
from tests.fakes.runtime_ports import FakeSigner
from tests.runtime.machines.playing import BILL, START, Player
from tests.runtime.worlds import POST, SEARCH, SLEEP, WAIT, program, with_actions, with_limits

POSTING = ("board.post", '{"text": "a"}')
SEARCHING = ("knowledge.search", '{"query": "a"}')
WRONG = ("board.post", "{}")
UNKNOWN = ("shell", "{}")
SLEEPING = ("run.sleep", '{"seconds": 5}')
WAITING = ("run.wait", '{"signal": "go", "seconds": 60}')

# What a model may do in a step: a text, and calls.
steps = st.tuples(
    st.sampled_from(["", "done"]),
    st.lists(st.sampled_from([POSTING, SEARCHING, WRONG, UNKNOWN, SLEEPING, WAITING]), max_size=3),
)
models = st.lists(steps, max_size=6)
programs = st.builds(
    lambda per_run, required, approval, steps_max: program(
        lambda content: (
            with_actions(
                SEARCH,
                {
                    **POST,
                    "limits": {"per_run": per_run},
                    "required": required,
                    "approval": approval,
                },
                SLEEP,
                WAIT,
            )(content),
            with_limits(steps=steps_max)(content),
        )
    ),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from(["allow", "ask"]),
    st.integers(1, 5),
)


sayings = st.sampled_from(
    [CancelRequested(), PauseRequested(), ResumeRequested(), SignalSent("go", "1")]
)


recorded_runs = st.builds(
    lambda agent, **how: (agent, Player(**how).records(AgentLoop(agent))),
    programs,
    model=models,
    choices=st.lists(st.integers(0, 9), max_size=20),
    refusals=st.lists(st.booleans(), max_size=4),
    said=st.dictionaries(st.integers(1, 12), sayings, max_size=3),
    allows=st.booleans(),
    dry_run=st.booleans(),
)
runs = recorded_runs.map(lambda run: (run[0], [record.event for record in run[1]]))


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
        assert sorted(results) == sorted(made)


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
def test_a_journal_or_a_snapshot_read_back_gives_the_same_next_step(
    run: tuple[Program, list[Event]], data: st.DataObject
) -> None:
    agent, journal = run
    length = data.draw(st.integers(1, len(journal) - 1))
    machine = AgentLoop(agent)
    progress = fold(machine, journal[:length])
    read_back = fold(machine, (decode(*encode(event)) for event in journal[:length]))
    assert read_back == progress
    assert machine.follow(read_back, START) == machine.follow(progress, START)
    assert machine.decode(machine.encode(progress)) == progress


@given(runs)
def test_nothing_is_sent_after_a_cancellation_that_was_not_under_way(
    run: tuple[Program, list[Event]],
) -> None:
    _, journal = run
    if CancelRequested() in journal:
        after = journal[journal.index(CancelRequested()) :]
        assert not any(isinstance(event, EffectSent | GenerationFinished) for event in after)


@given(runs)
def test_nothing_is_sent_that_a_person_was_asked_about_and_has_not_allowed(
    run: tuple[Program, list[Event]],
) -> None:
    agent, journal = run
    if agent.actions[1].approval == "ask":
        for place, event in enumerate(journal):
            if isinstance(event, EffectSent):
                said = [one for one in journal[:place] if isinstance(one, ApprovalDecided)]
                assert any(one.call_id == event.call_id and one.allows for one in said)


@given(runs)
def test_a_signal_is_heard_by_one_call_only(run: tuple[Program, list[Event]]) -> None:
    _, journal = run
    heard = [
        event
        for event in journal
        if isinstance(event, ActionFinished) and event.action == "run.wait" and not event.reason
    ]
    described = isinstance(journal[0], RunStarted) and journal[0].dry_run
    assert described or len(heard) <= journal.count(SignalSent("go", "1"))


def _fold(agent: Program, *events: Event) -> AgentProgress:
    """Return the state after events and all that follows from them."""
    machine = AgentLoop(agent)
    state = machine.begin()
    for event in events:
        state = machine.apply(state, event)
        while fact := machine.follow(state, START):
            state = machine.apply(state, fact)
    return state


def _wanted(agent: Program, *events: Event) -> Effect:
    [effect] = AgentLoop(agent).wanted(_fold(agent, *events))
    return effect


def _generate(agent: Program, *events: Event) -> Generate:
    started = RunStarted("bundles/1", '"hello"', dry_run=False)
    effect = _wanted(agent, started, KnowledgeRetrieved(()), *events)
    assert isinstance(effect, Generate)
    return effect


def _searched(step: int) -> list[Event]:
    call = ActionCall(f"step-{step}-1", *SEARCHING)
    return [
        GenerationFinished(step, "", (call,), (), 0),
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


def test_a_model_writes_no_more_than_the_run_may() -> None:
    agent = program(with_limits(output_tokens=100))
    talk = GenerationFinished(1, "I will.", (), (Usage("output_tokens", 60),), 0)
    assert _generate(agent).model.tokens_max == 64
    assert _generate(agent, talk).model.tokens_max == 40
    started = RunStarted("bundles/1", '"hello"', dry_run=False)
    rest = replace(talk, step=2, usages=(Usage("output_tokens", 40),))
    effect = _wanted(agent, started, KnowledgeRetrieved(()), talk, rest)
    assert isinstance(effect, Close)
    assert effect.outcome.failure
    assert effect.outcome.failure.reason == "OUTPUT_EXCEEDED"


def test_a_model_that_only_talks_is_reminded() -> None:
    talk = GenerationFinished(1, "I will.", (), (), 0)
    effect = _generate(program(), talk)
    assert [message.role for message in effect.messages[-2:]] == [Role.ASSISTANT, Role.USER]


def test_passages_are_in_the_prompt_as_material() -> None:
    started = RunStarted("bundles/1", '"hello"', dry_run=False)
    found = KnowledgeRetrieved((Passage("collections/a/documents/b", "Ether gained."),))
    effect = _wanted(program(), started, found)
    assert isinstance(effect, Generate)
    assert effect.messages[0].text.startswith("Post a brief.\n\nWhat follows was found")
    assert "[collections/a/documents/b]\nEther gained." in effect.messages[0].text


@pytest.mark.parametrize(
    ("given_input", "told"),
    [('"hello"', "hello"), ('""', "Begin."), ('{"a": 1}', '{"a": 1}'), ("null", "null")],
)
def test_the_input_is_told_as_people_read_it(given_input: str, told: str) -> None:
    started = RunStarted("bundles/1", given_input, dry_run=False)
    effect = _wanted(program(), started, KnowledgeRetrieved(()))
    assert isinstance(effect, Generate)
    assert effect.messages[1].text == told


def test_without_input_the_instructions_are_searched_for() -> None:
    effect = _wanted(program(), RunStarted("bundles/1", '""', dry_run=False))
    assert effect == Retrieve("Post a brief.")


def test_nothing_follows_the_end() -> None:
    machine = AgentLoop(program())
    ended = machine.apply(machine.begin(), RunFinished(Outcome(State.CANCELLED), BILL))
    with pytest.raises(AssertionError):
        machine.apply(ended, CancelRequested())


def test_calls_of_one_step_are_under_way_together_and_may_end_in_any_order() -> None:
    agent = program(with_actions(SEARCH))
    calls = tuple(ActionCall(f"step-1-{number}", *SEARCHING) for number in (1, 2))
    started = RunStarted("bundles/1", '"hello"', dry_run=False)
    asked: list[Event] = [started, KnowledgeRetrieved(()), GenerationFinished(1, "", calls, (), 0)]
    both = AgentLoop(agent).wanted(_fold(agent, *asked))
    second = ActionFinished("step-1-2", "knowledge.search", '"second"', 0)
    first = ActionFinished("step-1-1", "knowledge.search", '"first"', 0)
    assert [effect.key for effect in both] == ["step-1-1", "step-1-2"]
    effect = _wanted(agent, *asked, second, first)
    assert isinstance(effect, Generate)
    assert [message.text for message in effect.messages[-2:]] == ['"first"', '"second"']


def test_an_answer_about_other_arguments_allows_nothing() -> None:
    agent = program(with_actions({**POST, "approval": "ask"}))
    call = ActionCall("step-1-1", *POSTING)
    started = RunStarted("bundles/1", '"hello"', dry_run=False)
    asked: list[Event] = [
        started,
        KnowledgeRetrieved(()),
        GenerationFinished(1, "", (call,), (), 0),
    ]
    other = ApprovalDecided("step-1-1", 64 * "0", allows=True, who="alice")
    assert AgentLoop(agent).wanted(_fold(agent, *asked, other)) == ()


def test_a_signal_that_came_early_is_heard_at_once() -> None:
    agent = program(with_actions(WAIT))
    call = ActionCall("step-1-1", *WAITING)
    started = RunStarted("bundles/1", '"hello"', dry_run=False)
    before: list[Event] = [started, SignalSent("go", '{"a":1}'), KnowledgeRetrieved(())]
    effect = _wanted(agent, *before, GenerationFinished(1, "", (call,), (), 0))
    assert isinstance(effect, Generate)
    assert effect.messages[-1].text == '{"payload":{"a":1},"signal":"go"}'


def test_a_call_that_nobody_can_tell_of_is_named_at_the_end() -> None:
    agent = program(with_actions(POST))
    call = ActionCall("step-1-1", *POSTING)
    failure = Failure("TIME_EXCEEDED", "it took too long")
    effect = _wanted(
        agent,
        RunStarted("bundles/1", '"hello"', dry_run=False),
        KnowledgeRetrieved(()),
        GenerationFinished(1, "", (call,), (), 0),
        EffectSent(call.id, "key"),
        EndDecided(Outcome(State.FAILED, failure=failure)),
        ActionFinished(call.id, call.action, "{}", 0, "UNKNOWN"),
    )
    assert isinstance(effect, Close)
    assert effect.outcome.failure
    assert "step-1-1 (board.post) happened is not known" in effect.outcome.failure.message


def test_a_journal_from_before_agents_asked_each_other_is_read() -> None:
    started = b'{"bundle":"bundles/1","input":"1","dry_run":false}'
    sent = b'{"call_id":"step-1-1","idempotency_key":"key"}'
    assert decode("started", started) == RunStarted("bundles/1", "1", dry_run=False)
    assert decode("sent", sent) == EffectSent("step-1-1", "key")


def test_a_signature_survives_the_journal() -> None:
    signed = replace(BILL, signature=FakeSigner().sign("keys/receipts", "receipt", b"1"))
    event = RunFinished(Outcome(State.SUCCEEDED, "done"), signed)
    assert decode(*encode(event)) == event
