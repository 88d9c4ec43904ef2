"""A query is words; nothing in it is an operator of the index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.words import QUERY_WORDS_MAX, match_expression, words_of

SYNTAX = (
    r""" " ' * ^ : ( ) { } - + NEAR NEAR( AND OR NOT content content: rowid ; \ % a ether ß İ """
)
OPERATORS = st.lists(st.sampled_from([*SYNTAX.split(), " ", "\n", "\0"]), max_size=40).map("".join)


@pytest.fixture(scope="module")
def index() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        connection.execute(
            "CREATE VIRTUAL TABLE keywords USING fts5"
            "(content, tokenize='porter unicode61 remove_diacritics 2')"
        )
        connection.execute("INSERT INTO keywords VALUES ('ether rose')")
        yield connection


@given(st.one_of(st.text(), OPERATORS))
def test_the_index_understands_any_query(index: sqlite3.Connection, query: str) -> None:
    if expression := match_expression(query):
        index.execute("SELECT rowid FROM keywords WHERE keywords MATCH ?", (expression,)).fetchall()


@given(OPERATORS)
def test_a_query_finds_only_what_shares_a_word(index: sqlite3.Connection, query: str) -> None:
    expression = match_expression(query)
    rows = (
        index.execute("SELECT rowid FROM keywords WHERE keywords MATCH ?", (expression,)).fetchall()
        if expression
        else []
    )
    assert bool(rows) == bool({"ether", "rose"} & set(re.split(r"[_\W]+", query.casefold())))


@given(st.text())
def test_a_word_holds_no_quote(text: str) -> None:
    assert not [word for word in words_of(text) if '"' in word or "\0" in word]


@pytest.mark.parametrize("query", ["", " ", "?!", '"', "\0", "()*^", "…—"])
def test_punctuation_alone_asks_for_nothing(query: str) -> None:
    assert match_expression(query) == ""


def test_a_long_query_is_cut_to_its_first_words() -> None:
    expression = match_expression(" ".join(f"w{number}" for number in range(1_000)))
    assert expression.count(" OR ") == QUERY_WORDS_MAX - 1


def test_the_index_takes_the_longest_query(index: sqlite3.Connection) -> None:
    expression = match_expression(" ".join(f"w{number}" for number in range(1_000)))
    found = index.execute("SELECT rowid FROM keywords WHERE keywords MATCH ?", (expression,))
    assert not found.fetchall()


def test_a_repeated_word_is_asked_for_once() -> None:
    assert match_expression("ether Ether ETHER") == '"ether"'
