"""Passages are exact parts of a text, short, and together all of it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from knowledge.passages import PASSAGE_CHARACTERS_MAX, PASSAGE_CHARACTERS_MIN, cut

# Texts that look like documents, and texts that look like nothing.
PARTS = st.sampled_from(
    [
        "word ",
        "Sentence. ",
        "\n",
        "\n\n",
        "# Heading\n",
        "#",
        "x" * 900,
        " " * 900,
        "\r\n",
        "äß\u2028",
    ]
)
TEXTS = st.one_of(st.text(max_size=2_000), st.lists(PARTS, max_size=300).map("".join))


@given(TEXTS)
def test_passages_hold_everything_but_white_space(text: str) -> None:
    covered = "".join(text[passage.start : passage.end] for passage in cut(text))
    assert "".join(covered.split()) == "".join(text.split())


@given(TEXTS)
def test_passages_are_in_order_without_overlap(text: str) -> None:
    offsets = [offset for passage in cut(text) for offset in (passage.start, passage.end)]
    assert all(one <= two for one, two in itertools.pairwise(offsets))


@given(TEXTS)
def test_no_passage_is_too_long(text: str) -> None:
    assert all(passage.end - passage.start <= PASSAGE_CHARACTERS_MAX for passage in cut(text))


@given(TEXTS)
def test_no_passage_has_white_space_around_it(text: str) -> None:
    passages = [text[passage.start : passage.end] for passage in cut(text)]
    assert all(passage == passage.strip() != "" for passage in passages)


@given(TEXTS)
def test_the_number_of_passages_is_bounded_by_the_length(text: str) -> None:
    assert len(cut(text)) <= 2 + 2 * len(text) / PASSAGE_CHARACTERS_MIN


def test_short_paragraphs_are_joined() -> None:
    text = "One.\n\nTwo.\n\nThree."
    assert [text[passage.start : passage.end] for passage in cut(text)] == [text]


def test_a_paragraph_is_not_torn_if_it_fits() -> None:
    one, two = "a " * 250 + "end.", "b " * 250 + "end."
    text = f"{one}\n\n{two}"
    assert [text[passage.start : passage.end] for passage in cut(text)] == [one, two]


def test_a_heading_begins_a_passage() -> None:
    section = "# Heading\n\n" + "word " * 60 + "end."
    text = f"{section}\n\n{section}"
    assert [text[passage.start : passage.end] for passage in cut(text)] == [section, section]


def test_a_long_paragraph_is_cut_after_a_sentence() -> None:
    text = "This is a sentence of some length. " * 60
    endings = {text[: passage.end][-1] for passage in cut(text)}
    assert endings == {"."}


def test_a_long_sentence_is_cut_between_words() -> None:
    text = "word " * 400
    assert {
        word for passage in cut(text) for word in text[passage.start : passage.end].split()
    } == {"word"}


def test_a_text_without_any_space_is_cut_at_the_limit() -> None:
    lengths = [passage.end - passage.start for passage in cut("x" * 2_000)]
    assert lengths == [800, 800, 400]


def test_white_space_alone_has_no_passage() -> None:
    assert not cut(" \n\t\n ")
