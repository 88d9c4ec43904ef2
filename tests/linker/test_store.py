"""Links outlive the process that made them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.database import open_database, open_memory_database
from linker.errors import LinkNotFound
from linker.links import Link, ModelConfig, ModelFacts, link_name
from linker.store import TABLES, LinkStore
from tests.linker.orders import NOW

CONFIGS = st.builds(
    ModelConfig,
    model=st.text(max_size=20),
    credential=st.text(max_size=20),
    needs_actions=st.booleans(),
    context_tokens_min=st.integers(0, 2**31 - 1),
)
FACTS = ModelFacts(4096, takes_actions=True, constrains_output=False, weights_sha256="ab")
LINK = Link(ModelConfig("local/babbler", "secrets/x", needs_actions=True), FACTS, NOW)


def test_a_link_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "linker.db"
    LinkStore(open_database(path, TABLES)).put(LINK)
    assert LinkStore(open_database(path, TABLES)).get(LINK.name) == LINK


def test_a_link_that_is_put_again_keeps_its_time_and_takes_the_new_facts() -> None:
    store = LinkStore(open_memory_database(TABLES))
    store.put(LINK)
    facts = replace(FACTS, weights_sha256="cd")
    again = store.put(Link(LINK.config, facts, NOW + timedelta(days=1)))
    assert again == store.get(LINK.name) == Link(LINK.config, facts, NOW)


def test_an_unknown_link_is_not_found() -> None:
    with pytest.raises(LinkNotFound):
        LinkStore(open_memory_database(TABLES)).get(LINK.name)


@given(first=CONFIGS, second=CONFIGS)
def test_names_are_the_same_for_the_same_configuration_only(
    first: ModelConfig, second: ModelConfig
) -> None:
    assert (link_name(first) == link_name(second)) == (first == second)


def test_the_name_of_a_link_never_changes() -> None:
    assert link_name(ModelConfig("local/babbler")) == "links/a420f1fad8c95ee855883244151f78cc"
