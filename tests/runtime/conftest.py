"""What several tests of the runtime need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database, or none for a file."""
    if request.param == "sqlite":
        return ""
    server: Postgres = request.getfixturevalue("postgres")
    return server.fresh_database()
