"""A journal in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from runtime.journal.opening import open_journal_file
from runtime.journal.sqlite import SqliteJournal


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Return the database."""
    return open_journal_file(tmp_path / "runtime.db")


@pytest.fixture
def journal(engine: Engine) -> SqliteJournal:
    """Return the journal as its first worker sees it."""
    return SqliteJournal(engine, worker="one", life="1")
