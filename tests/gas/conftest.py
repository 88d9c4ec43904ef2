"""A gas system over gRPC for every test module here, and databases of both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from actionvm.gas.v1 import gas_pb2 as pb
from chassis.server import Hosted
from gas.database import open_ledger_database
from gas.service import GasService, hosted
from tests.gas.calls import SEEDS, Stub, limit
from tests.gas.ledgers import open_ledger
from tests.gas.postgres import Postgres, PostgresMissing, running_postgres
from tests.grpc_fixtures import StubAs


@pytest.fixture(scope="module")
def hosted_service(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    path = tmp_path_factory.mktemp("gas") / "gas.db"

    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        store = await asyncio.to_thread(open_ledger, path)
        yield hosted(GasService(store.store))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


@pytest.fixture
def runtime(grpc_stub_as: StubAs) -> Stub:
    stub: Stub = grpc_stub_as("runtime")
    return stub


@pytest.fixture
def account(grpc_stub: Stub) -> str:
    """Return an account that no other test knows, with 100 gas a day."""
    name = f"agents/a{next(SEEDS)}"
    grpc_stub.SetBudget(pb.SetBudgetRequest(budget=limit(name, 100)))
    return name


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
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
    engine = open_ledger_database(tmp_path / "gas.db", url)
    yield engine
    engine.dispose()
