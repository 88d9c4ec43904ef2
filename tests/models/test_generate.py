"""What the generator of training dialogues promises."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from typing import cast

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.canonical import Json
from linker.conversation import Call, Role, WrittenCall
from linker.providers.grammar import CALL_CLOSER
from linker.providers.template import CALL_OPENER
from models.evaluate import Spoken, cases_of, dialogues_of, judge
from models.tiny import briefs, desks, words
from models.tiny.actions import Novelty
from models.tiny.dialogues import Dialogue, Kind
from models.tiny.generate import make_dialogue
from models.tiny.prompt import END, FRAMES, template, training_text
from runtime.conversation import converse
from runtime.facts import Passage

NOVELTIES = st.builds(Novelty, st.booleans(), st.booleans(), st.booleans())
DIALOGUES = st.builds(
    make_dialogue,
    st.text("0123456789", min_size=1),
    NOVELTIES,
    ease=st.sampled_from([0.0, 0.4, 1.0]),
)
LISTS = {
    "nouns": words.NOUNS,
    "verbs": words.VERBS,
    "cities": words.CITIES,
    "people": words.PEOPLE,
    "subjects": words.SUBJECTS,
    "requests": words.REQUESTS,
    "questions": briefs.QUESTIONS,
    "questions of customers": desks.SUPPORT_QUESTIONS,
    "questions of guests": desks.CLERK_QUESTIONS,
    "topics": desks.TOPICS,
    "places": desks.PLACES,
    **{name: kind.phrasings for name, kind in words.KINDS.items()},
}


def calls_of(dialogue: Dialogue) -> Iterator[tuple[int, Call]]:
    """Yield every call with the place of its message."""
    for index, message in enumerate(dialogue.conversation.messages):
        for call in message.calls:
            yield index, call


def arguments_of(call: Call) -> Mapping[str, Json]:
    return cast("Mapping[str, Json]", json.loads(call.arguments))


@given(DIALOGUES)
def test_every_call_names_an_action_on_offer(dialogue: Dialogue) -> None:
    offered = {action.name for action in dialogue.conversation.actions}
    assert {call.action for _, call in calls_of(dialogue)} <= offered


@given(DIALOGUES)
def test_the_arguments_of_every_call_fit_the_schema(dialogue: Dialogue) -> None:
    schemas = {a.name: json.loads(a.parameters_schema) for a in dialogue.conversation.actions}
    for _, call in calls_of(dialogue):
        jsonschema.validate(arguments_of(call), schemas[call.action])


@given(DIALOGUES)
def test_every_argument_occurs_in_what_came_before(dialogue: Dialogue) -> None:
    for index, call in calls_of(dialogue):
        heard = [m.text for m in dialogue.conversation.messages[:index]]
        assert all(str(v) in "\n".join(heard) for v in arguments_of(call).values())


@given(DIALOGUES)
def test_a_copied_argument_occurs_in_a_result(dialogue: Dialogue) -> None:
    for case in cases_of(dialogue):
        results = "".join(m.text for m in case.prompt.messages if m.role is Role.ACTION)
        for name in case.turn.copied:
            assert str(arguments_of(case.expected.calls[0])[name]) in results


@given(DIALOGUES)
def test_every_fact_occurs_in_the_answer(dialogue: Dialogue) -> None:
    for case in cases_of(dialogue):
        assert all(fact in case.expected.text for fact in case.turn.facts)


@given(DIALOGUES)
def test_the_agent_asks_only_for_a_required_argument(dialogue: Dialogue) -> None:
    required = {
        name
        for action in dialogue.conversation.actions
        for name in json.loads(action.parameters_schema)["required"]
    }
    for case in cases_of(dialogue):
        assert case.turn.kind is not Kind.ASK or set(case.turn.facts) <= required


@given(DIALOGUES)
def test_an_expected_turn_meets_every_measure(dialogue: Dialogue) -> None:
    for case in cases_of(dialogue):
        calls = [WrittenCall(call.action, call.arguments) for call in case.expected.calls]
        spoken = Spoken(case.expected.text, calls[0] if calls else None)
        assert all(judge(case, spoken).values())


@given(DIALOGUES)
def test_silence_meets_no_measure_of_an_errand(dialogue: Dialogue) -> None:
    for case in cases_of(dialogue):
        marks = judge(case, Spoken("", None))
        assert case.turn.kind in (Kind.ANSWER, Kind.CHAT) or not any(marks.values())


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_makes_the_same_dialogue_again(seed: int) -> None:
    assert make_dialogue(str(seed)) == make_dialogue(str(seed))


@pytest.mark.parametrize("items", LISTS.values(), ids=LISTS.keys())
def test_what_is_held_out_is_not_known(items: tuple[object, ...]) -> None:
    assert words.held_out(items)
    assert not set(words.held_out(items)) & set(words.known(items))


@pytest.mark.parametrize("items", [words.NOUNS, words.SUBJECTS], ids=["nouns", "subjects"])
def test_training_never_shows_a_held_out_word(items: tuple[str, ...]) -> None:
    held_out = {word.lower() for word in words.held_out(items)}
    for number in range(300):
        text = training_text(make_dialogue(str(number)).conversation)
        assert not held_out & set(re.findall(r"[^\W\d_]+", text.lower()))


@pytest.mark.parametrize("kind", words.KINDS.values(), ids=words.KINDS.keys())
def test_a_kind_of_argument_has_fifteen_phrasings(kind: words.Kind) -> None:
    assert len(set(kind.phrasings)) >= 15
    assert all("{value}" in phrasing for phrasing in kind.phrasings)


def test_no_saying_is_a_held_out_phrasing() -> None:
    lists = [kind.phrasings for kind in words.KINDS.values()] + [words.NAMING]
    held_out = {phrasing for items in lists for phrasing in words.held_out(items)}
    dice = random.Random(0)
    assert held_out.isdisjoint(words.saying(dice) for _ in range(20_000))


def test_no_asking_is_a_held_out_question() -> None:
    lists = (briefs.QUESTIONS, desks.SUPPORT_QUESTIONS, desks.CLERK_QUESTIONS)
    held_out = {question for items in lists for question in words.held_out(items)}
    dice = random.Random(0)
    made = {words.asking(dice) for _ in range(20_000)}
    assert held_out.isdisjoint(made)
    assert len(made) > 5_000


def test_no_aside_is_held_out() -> None:
    dice = random.Random(0)
    made = {words.aside(dice) for _ in range(20_000)}
    assert {*words.held_out(words.OPENERS), *words.held_out(words.CLOSERS)}.isdisjoint(made)
    assert len(made) > 5_000


def test_no_framing_is_a_held_out_request() -> None:
    dice = random.Random(0)
    made = {words.framing(dice) for _ in range(20_000)}
    assert set(words.held_out(words.REQUESTS)).isdisjoint(made)
    assert len(made) > 3_000


def test_a_parameter_name_means_one_kind() -> None:
    names = [name for kind in words.KINDS.values() for name in kind.names]
    assert len(names) == len(set(names))


@given(DIALOGUES)
def test_training_reads_what_the_linker_renders(dialogue: Dialogue) -> None:
    whole = training_text(dialogue.conversation)
    for case in cases_of(dialogue):
        prompt = template().render(case.prompt)
        assert whole.startswith(prompt)
        said = whole.removeprefix(prompt).partition(END)[0]
        text, opener, call = said.partition(CALL_OPENER)
        assert text == case.expected.text
        assert bool(opener) == bool(case.expected.calls)
        assert not opener or call.endswith(CALL_CLOSER)


@given(DIALOGUES)
def test_a_call_is_framed_in_single_tokens(dialogue: Dialogue) -> None:
    opener, middle, closer, _ = FRAMES
    text = training_text(dialogue.conversation)
    count = sum(1 for _ in calls_of(dialogue))
    assert [text.count(frame) for frame in (opener, middle, closer)] == [count] * 3


def test_passages_stand_where_the_runtime_puts_them() -> None:
    passages = (Passage("a.md", "First."), Passage("b.md", "Second."))
    expected = converse("Be brief.", passages, '"Hi"', ())[0].text
    found = [briefs.Passage(p.document, p.text, "") for p in passages]
    assert briefs.system_text("Be brief.", found) == expected


def test_the_splits_are_the_same_every_time() -> None:
    assert list(dialogues_of("examples", 8)) == list(dialogues_of("examples", 8))
