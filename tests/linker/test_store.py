"""Links outlive the process that made them."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.database import open_memory_database
from linker.errors import LinkNotFound
from linker.links import Link, ModelConfig, ModelFacts, Target, link_name
from linker.store import TABLES, LinkStore, open_link_database
from tests.linker.orders import NOW

CONFIGS = st.builds(
    ModelConfig,
    model=st.text(max_size=20),
    credential=st.text(max_size=20),
    needs_actions=st.booleans(),
    context_tokens_min=st.integers(0, 2**31 - 1),
    fallbacks=st.lists(
        st.builds(Target, model=st.text(max_size=9), credential=st.text(max_size=9)), max_size=2
    ).map(tuple),
    cache_seconds=st.integers(0, 9),
    needs_images=st.booleans(),
    needs_answer_schema=st.booleans(),
)
FACTS = ModelFacts(4096, takes_actions=True, constrains_output=False, weights_sha256="ab")
LINK = Link(
    ModelConfig(
        "local/babbler",
        "secrets/x",
        needs_actions=True,
        fallbacks=(Target("openai/gpt-9", "secrets/y"),),
        cache_seconds=60,
    ),
    (FACTS, ModelFacts(128_000, takes_actions=True, constrains_output=True, takes_images=True)),
    NOW,
    "agents/brief",
)
# What the first release made, with a link in it.
FIRST_RELEASE = """
CREATE TABLE links (name VARCHAR NOT NULL, model VARCHAR NOT NULL, credential VARCHAR NOT NULL,
    needs_actions BOOLEAN NOT NULL, context_tokens_min INTEGER NOT NULL,
    context_tokens INTEGER NOT NULL, takes_actions BOOLEAN NOT NULL,
    constrains_output BOOLEAN NOT NULL, weights_sha256 VARCHAR NOT NULL,
    create_seconds FLOAT NOT NULL, PRIMARY KEY (name));
PRAGMA user_version=1;
INSERT INTO links VALUES ('links/a420f1fad8c95ee855883244151f78cc', 'local/babbler', '', 0, 0,
    4096, 1, 0, 'ab', 1795348800.0);
"""


def test_a_link_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "linker.db"
    LinkStore(open_link_database(path)).put(LINK)
    assert LinkStore(open_link_database(path)).get(LINK.name) == LINK


def test_a_link_of_the_first_release_is_still_there(tmp_path: Path) -> None:
    path = tmp_path / "linker.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(FIRST_RELEASE)
    name = link_name(ModelConfig("local/babbler"))
    found = LinkStore(open_link_database(path)).get(name)
    assert found == Link(ModelConfig("local/babbler"), (FACTS,), NOW)


def test_links_come_by_name_and_in_pages() -> None:
    store = LinkStore(open_memory_database(TABLES))
    for model in ("a/a", "b/b", "c/c"):
        store.put(Link(ModelConfig(model), (FACTS,), NOW))
    names = [link.name for link in store.list(after="", limit=10)]
    assert names == sorted(names)
    assert [link.name for link in store.list(after=names[0], limit=1)] == [names[1]]


def test_a_link_that_was_removed_is_gone() -> None:
    store = LinkStore(open_memory_database(TABLES))
    store.put(LINK)
    store.remove(LINK.name)
    assert store.known(LINK.name) is None
    for forget in (store.get, store.remove):
        with pytest.raises(LinkNotFound):
            forget(LINK.name)


def test_a_link_that_is_put_again_keeps_its_time_and_takes_the_new_facts() -> None:
    store = LinkStore(open_memory_database(TABLES))
    store.put(LINK)
    facts = replace(FACTS, weights_sha256="cd")
    again = store.put(replace(LINK, facts=(facts, facts), create_time=NOW + timedelta(days=1)))
    assert again == store.get(LINK.name) == replace(LINK, facts=(facts, facts))


def test_an_unknown_link_is_not_found() -> None:
    with pytest.raises(LinkNotFound):
        LinkStore(open_memory_database(TABLES)).get(LINK.name)


@given(first=CONFIGS, second=CONFIGS)
def test_names_are_the_same_for_the_same_configuration_only(
    first: ModelConfig, second: ModelConfig
) -> None:
    assert (link_name(first) == link_name(second)) == (first == second)


@given(config=CONFIGS)
def test_a_configuration_is_read_as_it_was_written(config: ModelConfig) -> None:
    store = LinkStore(open_memory_database(TABLES))
    link = Link(config, (FACTS,) * len(config.targets), NOW)
    store.put(link)
    assert store.get(link.name) == link


def test_the_name_of_a_link_never_changes() -> None:
    assert link_name(ModelConfig("local/babbler")) == "links/a420f1fad8c95ee855883244151f78cc"
