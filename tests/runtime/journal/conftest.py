"""A journal in each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from runtime.journal.opening import open_journal, open_journal_database
from runtime.journal.stored import StoredJournal
from tests.gas.postgres import Postgres, PostgresMissing, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Yield a server, which is slow to start."""
    try:
        with running_postgres(fsync=False) as server:
            yield server
    except PostgresMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Yield an empty database of each kind."""
    is_file = request.param == "sqlite"
    url = "" if is_file else request.getfixturevalue("postgres").fresh_database()
    engine = open_journal_database(tmp_path / "runtime.db", url)
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
