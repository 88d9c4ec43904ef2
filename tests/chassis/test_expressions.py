"""Expressions always end, give no more than they are given, and say what they look at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.canonical import Json
from chassis.expressions import ExpressionInvalid, is_true, read_expression

VALUES: Json = {
    "input": {"urgent": True, "n": 3, "tags": ["a", "b"]},
    "steps": {"one": {"output": 1}},
}


@pytest.mark.parametrize(
    ("text", "value", "paths"),
    [
        ("input.n", 3, (("input", "n"),)),
        ("input.tags[-1]", "b", (("input", "tags"),)),
        ("input.nothing.at.all", None, (("input", "nothing", "at", "all"),)),
        ("input.n > `2` && !(input.late)", True, (("input", "n"), ("input", "late"))),
        ("(input.late || input.tags)[0]", "a", (("input", "late"), ("input", "tags"))),
        ("input.tags < `1`", None, (("input", "tags"),)),
        ("steps.one.output == `1`", True, (("steps", "one", "output"),)),
        ("`[1]`", [1], ()),
    ],
)
def test_an_expression_gives_a_part_of_a_value(text: str, value: object, paths: object) -> None:
    expression = read_expression(text)
    assert (expression.of(VALUES), expression.paths) == (value, paths)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "input.",
        "[@, @]",
        "{a: @}",
        "@",
        "input.tags[]",
        "input.tags[*]",
        "input.tags[?@ == 'a']",
        "length(input)",
        "input | @",
        "&input",
        "`NaN`",
        "`1e999`",
        '`"\\ud800"`',
        "`oops`",
        "!input.late",
        "a" * 257,
    ],
)
def test_what_could_grow_fail_or_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ExpressionInvalid):
        read_expression(text)


@given(st.text(alphabet="ab.[]()|&!<>=`'\"{}@*?,0123 \\", max_size=40))
def test_any_text_is_refused_or_evaluates(text: str) -> None:
    try:
        expression = read_expression(text)
    except ExpressionInvalid:
        return
    expression.of({"a": {"b": [1, "b"]}, "b": None})


def test_zero_holds_and_what_is_empty_does_not() -> None:
    full: list[Json] = [0, 0.0, "a", [0], True]
    empty: list[Json] = [None, False, "", [], {}]
    assert [is_true(value) for value in full] == [True] * 5
    assert [is_true(value) for value in empty] == [False] * 5
