"""The reader takes JSON for what it is, and YAML without its surprises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.canonical import Json
from chassis.draft import Place
from chassis.problems import Flaw
from chassis.source import INTEGER_MAX, find_unprintable, read_draft

_texts = st.text(max_size=20).filter(lambda text: not find_unprintable(text))
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.floats(-INTEGER_MAX, INTEGER_MAX)
    | _texts
)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_texts.filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=300)
@given(_values)
def test_json_is_read_as_json(value: Json) -> None:
    draft = read_draft("a.json", json.dumps(value).encode())

    assert (draft.problems, draft.value) == ([], value)


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_give_a_draft_or_problems(content: bytes) -> None:
    draft = read_draft("a.yaml", content)

    assert draft.is_readable or draft.problems


@settings(max_examples=300)
@given(st.text(alphabet="ab1:-?&*!|>'\"%@`#{}[],~<. \n\t\\", max_size=60))
def test_texts_of_nothing_but_yaml_give_a_draft_or_problems(text: str) -> None:
    draft = read_draft("a.yaml", text.encode())

    assert draft.is_readable or draft.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("True", "True"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("010", "010"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("1.0.0", "1.0.0"),
        ("'1'", "1"),
        ("1e3", 1000.0),
        ("-0", 0),
        ("true", True),
        ("~", None),
        ("", None),
    ],
)
def test_plain_scalars_follow_json(text: str, value: Json) -> None:
    draft = read_draft("a.yaml", f"a: {text}\n".encode())

    assert draft.get(("a",)) == value
    assert type(draft.get(("a",))) is type(value)


def test_a_byte_order_mark_does_not_shift_columns() -> None:
    draft = read_draft("a.yaml", b"\xef\xbb\xbfa: 1\n")

    assert draft.spots[("a",)].value == Place(1, 4)


def test_columns_count_characters() -> None:
    draft = read_draft("a.yaml", "a: {ü: 1, b: 2}\n".encode())

    assert draft.spots["a", "b"].value == Place(1, 14)


def test_a_character_that_json_escapes_as_two_is_one() -> None:
    draft = read_draft("a.json", b'{"a": "\\ud83d\\ude00"}')

    assert draft.text(("a",)) == "\U0001f600"


@pytest.mark.parametrize(
    "text",
    ["[" * 1_000_000, "{" * 1_000_000, "- " * 500_000, "? " * 500_000, "a: &a *a\n" * 100_000],
    ids=["brackets", "braces", "dashes", "questions", "aliases"],
)
def test_a_megabyte_of_malice_is_refused_without_a_crash(text: str) -> None:
    draft = read_draft("a.yaml", text.encode())

    assert not draft.is_readable
    assert len(draft.problems) <= 2


def test_a_duplicate_key_keeps_the_first_value_and_is_reported_once() -> None:
    draft = read_draft("a.yaml", b"a: 1\na: {b: [3]}\n")

    assert draft.value == {"a": 1}
    assert [problem.code for problem in draft.problems] == [Flaw.DUPLICATE_KEY]
