"""A journal in each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from runtime.journal.opening import open_journal, open_journal_database
from runtime.journal.stored import StoredJournal


@pytest.fixture
def engine(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    """Yield an empty database of each kind."""
    engine = open_journal_database(tmp_path / "runtime.db", database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine: Engine) -> StoredJournal:
    """Return the journal as its first worker sees it."""
    return open_journal(engine, worker="one")


@pytest.fixture
def other(engine: Engine) -> StoredJournal:
    """Return the journal as another worker sees it."""
    return open_journal(engine, worker="two")
