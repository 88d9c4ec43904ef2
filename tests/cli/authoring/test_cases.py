"""Tests of how the test of an action is read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.canonical import Json
from cli.authoring.arguments import parse_arguments
from cli.authoring.cases import Case, read_answers, read_cases
from cli.errors import CommandError, Problem
from sandbox.outcome import Described

SCORE = Described(
    name="score",
    description="",
    capabilities=("web.get",),
    parameters_schema={
        "type": "object",
        "properties": {
            "topic": {"type": "string"},
            "limit": {"type": "integer", "default": 5},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["topic"],
        "additionalProperties": False,
    },
    output_schema={},
    line=1,
)
GOOD = """
cases:
  - name: scores
    arguments: {topic: eth, limit: 2}
    calls:
      - {action: web.get, arguments: {url: "https://a.example"}, answer: null}
      - {action: web.get, include: {url: x}, refusal: {reason: DENIED}}
    result: null
"""


def read(text: str, *actions: Described) -> tuple[Case, ...]:
    described = {one.name: one for one in actions or (SCORE,)}
    return read_cases("score.test.yaml", text.encode(), described)


def problems_of(text: str, *actions: Described) -> list[Problem]:
    with pytest.raises(CommandError) as caught:
        read(text, *actions)
    assert caught.value.reason == "TEST_INVALID"
    return [*caught.value.problems]


def test_a_case_says_what_is_called_and_answered() -> None:
    (case,) = read(GOOD)

    assert (case.name, case.action) == ("scores", "score")
    first, second = case.calls
    assert (first.arguments, first.include, first.refusal) == (
        {"url": "https://a.example"},
        None,
        None,
    )
    assert second.refusal is not None
    assert (second.include, second.refusal.reason) == ({"url": "x"}, "DENIED")


def test_a_result_may_be_null() -> None:
    (case,) = read(GOOD)

    assert case.has("result")
    assert not case.has("error")


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "told"),
    [
        ("result", "resutl", 8, 5, "there is no field `resutl`"),
        ("cases", "casse", 2, 1, "there is no field `casse`"),
        ("answer: null", "anwser: null", 6, 66, "there is no field `anwser`"),
        ("reason", "raeson", 7, 56, "there is no field `raeson`"),
        (", answer: null", "", 6, 9, "neither answer nor refusal"),
        ("answer: null", "answer: 1, refusal: {reason: A}", 6, 9, "both answer and refusal"),
        ("include", "arguments: {}, include", 7, 9, "both arguments and include"),
        ("DENIED", "denied", 7, 64, "String should match"),
        ("result: null", "seed: 1", 3, 5, "it expects nothing"),
        ("result: null", "error: {reason: BROKEN}", 8, 12, "there is no reason BROKEN"),
        ("result: null", "result: 1\n    error: {}", 3, 5, "both result and error"),
        ("result: null", "result: 1\n    now: noon", 3, 5, "no moment with a zone"),
        ("result: null", "logs: [1]", 8, 12, "it must be a text"),
        ("topic: eth", "topic: 3", 4, 24, "is not of type 'string'"),
        ("topic: eth, ", "", 4, 16, "score lacks `topic`"),
        ("limit", "limti", 4, 29, "no parameter `limti`"),
        ("scores", "scores\n    action: scroe", 4, 13, "no action `scroe`"),
        ("{topic: eth, limit: 2}", "[1]", 4, 16, "it must be a mapping"),
        ("result: null", "result: null\n    result: 1", 9, 5, "comes twice"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_column(
    old: str, new: str, line: int, column: int, told: str
) -> None:
    problems = problems_of(GOOD.replace(old, new, 1))

    (place,) = {(one.line, one.column) for one in problems if told in one.message}
    assert place == (line, column)


def test_all_that_is_wrong_is_said_at_once() -> None:
    text = GOOD.replace("limit", "limti").replace("web.get", "3")

    assert len(problems_of(text)) == 2


def test_a_way_out_names_what_was_meant() -> None:
    (problem,) = problems_of(GOOD.replace("limit", "limti"))

    assert problem.fix == "Did you mean `limit`?"


def test_a_case_of_a_file_with_many_actions_names_one() -> None:
    other = Described("other", "", (), {}, {}, 1)

    (problem,) = problems_of(GOOD, SCORE, other)

    assert "names none" in problem.message


@pytest.mark.parametrize("text", ["", "[]", "cases: []", "cases: {", "a: &a 1", "- 1\n---\n- 2"])
def test_what_is_no_test_is_refused(text: str) -> None:
    assert problems_of(text)


@settings(max_examples=50)
@given(text=st.text(max_size=100))
def test_no_text_makes_reading_fail(text: str) -> None:
    try:
        read(f"cases:\n  - {text}")
    except CommandError as error:
        assert error.problems


def test_answers_are_calls_without_a_case() -> None:
    (call,) = read_answers("answers.yaml", b"calls: [{action: llm.ask, answer: {text: hi}}]")

    assert (call.action, call.arguments, call.answer) == ("llm.ask", None, {"text": "hi"})


@pytest.mark.parametrize(
    ("pairs", "arguments"),
    [
        (["topic=eth"], {"topic": "eth"}),
        (["topic=3", "limit=3"], {"topic": "3", "limit": 3}),
        (["topic=", 'tags=["a", "b=c"]'], {"topic": "", "tags": ["a", "b=c"]}),
    ],
)
def test_an_argument_of_a_shell_has_the_type_of_its_parameter(
    pairs: list[str], arguments: dict[str, Json]
) -> None:
    assert parse_arguments(SCORE, pairs) == arguments


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (["topic"], "not of the form"),
        (["=1"], "not of the form"),
        (["topic=a", "topic=b"], "comes twice"),
        (["topic=a", "limit=many"], "limit: 'many' is not of type"),
        (["topic=a", "limti=1"], "no parameter `limti`"),
        ([], "lacks `topic`"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused(pairs: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        parse_arguments(SCORE, pairs)
