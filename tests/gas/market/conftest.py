"""A gas system with its marketplace over gRPC, which delivers to nobody unless a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from chassis.courier import Answer
from chassis.server import Hosted
from gas.service import GasService, hosted
from tests.gas.ledgers import HandSetClock, open_ledger
from tests.gas.market.agents import Agent, Both
from tests.gas.market.markets import outbox_of
from tests.grpc_fixtures import StubAs


class Nobody:
    """A courier who finds nobody at home."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Fail."""
        return Answer("nobody")


@pytest.fixture(scope="module")
def hosted_service(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    path = tmp_path_factory.mktemp("gas") / "gas.db"

    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        clock = HandSetClock()
        ledger = await asyncio.to_thread(open_ledger, path, clock=clock)
        service = GasService(ledger.store)
        outbox = outbox_of(service.writer, ledger.store, clock, Nobody())
        async with outbox.delivering():
            yield hosted(service, outbox)

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Both]:
    return Both


@pytest.fixture
def agent(grpc_stub: Both, grpc_stub_as: StubAs) -> Agent:
    return Agent(grpc_stub, grpc_stub_as("runtime"))


@pytest.fixture
def other(grpc_stub: Both, grpc_stub_as: StubAs) -> Agent:
    return Agent(grpc_stub, grpc_stub_as("runtime"))
