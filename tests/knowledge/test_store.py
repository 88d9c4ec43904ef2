"""The store finds what fits, leaves alone what is the same, and never mixes what must not be."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.canonical import sha256_hex
from chassis.database import open_memory_database
from knowledge.document import Collection, Segment
from knowledge.errors import (
    CollectionNotFound,
    DocumentNotFound,
    EmbedderMismatch,
    SegmentMismatch,
)
from knowledge.store import TABLES, KnowledgeStore
from tests.knowledge.stores import (
    MARKET,
    NOW,
    HandSetClock,
    OtherEmbedder,
    name_of,
    open_store,
    paths,
    put,
)

TOPICS = {
    "ether.md": "# Ether\n\nThe price of ether rose to a new high on all exchanges.",
    "rain.md": "# Weather\n\nIt will rain in Berlin for the rest of the week.",
    "bread.md": "# Bread\n\nMix flour, water and salt, then wait for an hour.",
    "chess.md": "# Chess\n\nThe queen moves along files, ranks and diagonals.",
}
# Most words of a vocabulary this small share a vector's place with no other.
VOCABULARY = [f"word{number}" for number in range(60)]


@pytest.fixture
def store() -> KnowledgeStore:
    store = open_store()
    for path, text in TOPICS.items():
        put(store, path, text)
    return store


# --- Search --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("What is the price of ether?", "ether.md"),
        ("rain berlin", "rain.md"),
        ("how does a QUEEN move", "chess.md"),
        ("flour", "bread.md"),
    ],
)
def test_what_has_the_words_of_the_query_is_found_first(
    store: KnowledgeStore, query: str, path: str
) -> None:
    assert paths(store.search([MARKET], query, limit=3))[0] == path


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(3, 20))
def test_a_document_with_all_words_of_the_query_beats_those_with_none(
    dice: random.Random, count: int
) -> None:
    words = dice.sample(VOCABULARY, len(VOCABULARY))
    asked, others = words[:5], words[5:]
    store = open_store()
    put(store, "right.md", " ".join([*asked, *dice.choices(others, k=20)]))
    for number in range(count):
        put(store, f"wrong-{number}.md", " ".join(dice.choices(others, k=25)))

    assert paths(store.search([MARKET], " ".join(asked), limit=1)) == ["right.md"]


def test_a_passage_is_a_part_of_its_document(store: KnowledgeStore) -> None:
    text = "\n\n".join(f"# Part {number}\n\n" + "ether rose. " * 40 for number in range(9))
    put(store, "long.md", text)
    found = store.search([MARKET], "ether part 7", limit=50)
    ours = [one for one in found if one.document == name_of("long.md")]
    assert ours
    assert all(text[one.start :].startswith(one.text) for one in ours)


def test_scores_fall(store: KnowledgeStore) -> None:
    scores = [one.score for one in store.search([MARKET], "the price of rain", limit=9)]
    assert scores == sorted(scores, reverse=True)


def test_no_more_is_found_than_was_asked_for(store: KnowledgeStore) -> None:
    assert len(store.search([MARKET], "the", limit=1)) == 1


def test_equal_passages_are_found_in_order_of_their_names() -> None:
    names = [f"{number:02}.md" for number in range(20)]
    for seed in range(5):
        store = open_store()
        for path in random.Random(seed).sample(names, len(names)):
            put(store, path, "Ether rose today.")
        assert paths(store.search([MARKET], "ether", limit=20)) == names


def test_only_the_collections_that_are_named_are_searched(store: KnowledgeStore) -> None:
    put(store, "ether.md", "ether ether ether", collection="collections/other")
    found = store.search([MARKET], "ether", limit=9)
    assert {one.document for one in found} == {name_of("ether.md")}


def test_several_collections_are_searched_together(store: KnowledgeStore) -> None:
    put(store, "ether.md", "ether", collection="collections/other", segment=Segment.PUBLIC)
    found = store.search([MARKET, "collections/other"], "ether", limit=9)
    assert {one.document for one in found} >= {
        name_of("ether.md"),
        name_of("ether.md", "collections/other"),
    }


def test_a_collection_that_is_named_twice_counts_once(store: KnowledgeStore) -> None:
    once = store.search([MARKET], "ether price", limit=9)
    assert store.search([MARKET, MARKET], "ether price", limit=9) == once


@pytest.mark.parametrize("query", ["?!", '"', "\0", "…", " "])
def test_a_query_without_words_finds_nothing(store: KnowledgeStore, query: str) -> None:
    assert not store.search([MARKET], query, limit=9)


@settings(max_examples=50, deadline=None)
@given(text=st.text(min_size=1), query=st.text())
def test_any_text_can_be_put_and_any_query_asked(text: str, query: str) -> None:
    store = open_store()
    put(store, "a.md", text)
    found = store.search([MARKET], query, limit=9)
    assert all(text[one.start :].startswith(one.text) for one in found)


def test_a_collection_without_documents_has_nothing_to_find(store: KnowledgeStore) -> None:
    for path in TOPICS:
        store.delete(name_of(path))
    assert not store.search([MARKET], "ether", limit=9)


def test_an_unknown_collection_is_not_searched(store: KnowledgeStore) -> None:
    with pytest.raises(CollectionNotFound):
        store.search([MARKET, "collections/none"], "ether", limit=9)


# --- Putting and removing ------------------------------------------------------------------------


def test_a_document_is_kept_as_it_is(store: KnowledgeStore) -> None:
    text = "\0 ß\r\n\u2028 end \U0001f600"
    put(store, "odd.md", text, source="https://example.org/odd")
    info, found = store.get(name_of("odd.md"))
    assert (found, info.source, info.sha256, info.size_bytes) == (
        text,
        "https://example.org/odd",
        sha256_hex(text.encode()),
        len(text.encode()),
    )


def test_the_same_document_changes_nothing(store: KnowledgeStore) -> None:
    assert not put(store, "ether.md", TOPICS["ether.md"])


def test_the_same_document_keeps_its_time() -> None:
    clock = HandSetClock()
    store = open_store(clock=clock)
    put(store, "a.md", "text")
    clock.time += timedelta(hours=1)
    put(store, "a.md", "text")
    assert store.get(name_of("a.md"))[0].update_time == NOW


@pytest.mark.parametrize(("text", "source"), [("other", ""), ("text", "https://example.org")])
def test_a_document_with_other_content_is_replaced(text: str, source: str) -> None:
    store = open_store()
    put(store, "a.md", "text")
    assert put(store, "a.md", text, source=source)
    info, found = store.get(name_of("a.md"))
    assert (found, info.source) == (text, source)


def test_what_was_replaced_is_not_found_any_more(store: KnowledgeStore) -> None:
    put(store, "ether.md", "Nothing about that.")
    assert "ether.md" not in paths(store.search([MARKET], "ether", limit=9))


def test_what_was_deleted_is_not_found_any_more(store: KnowledgeStore) -> None:
    store.delete(name_of("ether.md"))
    assert "ether.md" not in paths(store.search([MARKET], "ether price", limit=9))


def test_deleting_twice_is_not_found(store: KnowledgeStore) -> None:
    store.delete(name_of("ether.md"))
    with pytest.raises(DocumentNotFound):
        store.delete(name_of("ether.md"))


def test_a_text_of_white_space_has_no_passage() -> None:
    store = open_store()
    put(store, "a.md", " \n ")
    assert store.get(name_of("a.md"))[0].passage_count == 0


@pytest.mark.parametrize("segment", list(Segment))
def test_a_document_of_the_other_segment_is_refused(segment: Segment) -> None:
    (other,) = set(Segment) - {segment}
    store = open_store()
    put(store, "a.md", "text", segment=segment)
    with pytest.raises(SegmentMismatch, match=segment.value):
        put(store, "b.md", "text", segment=other)


def test_a_refused_document_leaves_nothing() -> None:
    store = open_store()
    put(store, "a.md", "text", segment=Segment.PRIVATE)
    with pytest.raises(SegmentMismatch):
        put(store, "b.md", "text", segment=Segment.PUBLIC)
    assert [info.name for info in store.list_documents(MARKET, after="", limit=9)] == [
        name_of("a.md")
    ]


def test_vectors_of_two_embedders_are_not_compared() -> None:
    engine = open_memory_database(TABLES)
    put(open_store(engine=engine), "a.md", "text")
    with pytest.raises(EmbedderMismatch, match="hashing-256"):
        open_store(engine=engine, embedder=OtherEmbedder()).search([MARKET], "text", limit=9)


def test_vectors_of_two_embedders_are_not_mixed() -> None:
    engine = open_memory_database(TABLES)
    put(open_store(engine=engine), "a.md", "text")
    with pytest.raises(EmbedderMismatch, match="hashing-256"):
        put(open_store(engine=engine, embedder=OtherEmbedder()), "b.md", "text")


# --- Lists ---------------------------------------------------------------------------------------


def test_a_collection_counts_what_it_holds(store: KnowledgeStore) -> None:
    assert store.list_collections(after="", limit=9) == [
        Collection(MARKET, Segment.PRIVATE, len(TOPICS), len(TOPICS), "hashing-256")
    ]


def test_an_empty_collection_stays_in_the_list(store: KnowledgeStore) -> None:
    for path in TOPICS:
        store.delete(name_of(path))
    assert store.list_collections(after="", limit=9) == [
        Collection(MARKET, Segment.PRIVATE, 0, 0, "hashing-256")
    ]


def test_a_list_of_collections_goes_on_where_it_stopped(store: KnowledgeStore) -> None:
    put(store, "a.md", "text", collection="collections/news")
    found = store.list_collections(after=MARKET, limit=9)
    assert [collection.name for collection in found] == ["collections/news"]


def test_a_list_of_documents_goes_on_where_it_stopped(store: KnowledgeStore) -> None:
    found = store.list_documents(MARKET, after=name_of("bread.md"), limit=2)
    assert [info.name for info in found] == [name_of("chess.md"), name_of("ether.md")]


def test_an_unknown_collection_has_no_list(store: KnowledgeStore) -> None:
    with pytest.raises(CollectionNotFound):
        store.list_documents("collections/none", after="", limit=9)


def test_a_file_keeps_everything(tmp_path: Path) -> None:
    put(open_store(tmp_path / "knowledge.db"), "ether.md", TOPICS["ether.md"])
    again = open_store(tmp_path / "knowledge.db")
    assert paths(again.search([MARKET], "ether", limit=9)) == ["ether.md"]
