"""The simulation itself: it repeats, it breaks things, and it finds what hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, select

from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from chassis.database import open_memory_database, transaction
from chassis.identity import OPERATOR
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from .loop import Deadlock
from .world import Faults, Process, World, simulate

DESCRIPTOR = gas_pb2.DESCRIPTOR.services_by_name["GasService"]


class _Base(SQLModel, registry=registry()):
    pass


class _Count(_Base, table=True):
    request: str = Field(primary_key=True)


@refusing_the_rest(DESCRIPTOR)
class _CountingService:
    """Counts requests, each once."""

    def __init__(self, process: Process) -> None:
        self._engine = process.engine("count", lambda: open_memory_database(_Base.metadata))

    async def GetReceipt(
        self, request: gas_pb2.GetReceiptRequest, context: object
    ) -> gas_pb2.GetReceiptResponse:
        with transaction(self._engine) as session:
            session.merge(_Count(request=request.run))
            session.flush()
            count = len(session.exec(select(_Count)).all())
        response = gas_pb2.GetReceiptResponse()
        response.receipt.total_gas = count
        return response

    async def WatchCharges(
        self, request: gas_pb2.WatchChargesRequest, context: object
    ) -> AsyncIterator[gas_pb2.WatchChargesResponse]:
        for sequence in range(1, 6):
            yield gas_pb2.WatchChargesResponse(sequence=sequence)


@asynccontextmanager
async def _counting(process: Process) -> AsyncIterator[Hosted]:
    def add_to(server: Any) -> None:  # noqa: ANN401  # as generated
        servicer: Any = _CountingService(process)
        gas_pb2_grpc.add_GasServiceServicer_to_server(servicer, server)

    callers = {method.name: frozenset({OPERATOR}) for method in DESCRIPTOR.methods}
    yield Hosted(DESCRIPTOR, add_to, callers)


async def _count_to_ten(world: World) -> None:
    world.add("gas", _counting)
    stub = gas_pb2_grpc.GasServiceStub(world.channel(OPERATOR, "gas"))
    count = 0
    for number in range(10):
        while True:
            try:
                response = await stub.GetReceipt(gas_pb2.GetReceiptRequest(run=str(number)))
            except aio.AioRpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(0.5)
            else:
                count = response.receipt.total_gas
                break

    assert count == 10


FAULTS = Faults(break_probability=0.1, kill_probability=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_what_was_committed_survives_every_kill(seed: int) -> None:
    simulate(seed, _count_to_ten, FAULTS)


def test_processes_are_killed() -> None:
    kills = sum(
        simulate(seed, _count_to_ten, FAULTS).processes["gas"].kill_count for seed in range(9)
    )

    assert kills > 0


def test_a_seed_gives_the_same_trace() -> None:
    traces = [simulate(7, _count_to_ten, FAULTS).trace for _ in range(2)]

    assert traces[0] == traces[1]


def test_seeds_differ() -> None:
    assert simulate(1, _count_to_ten, FAULTS).trace != simulate(2, _count_to_ten, FAULTS).trace


def test_a_wait_that_nothing_ends_is_found() -> None:
    async def hang(_: World) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        simulate(0, hang, FAULTS)


def test_an_hour_passes_at_once() -> None:
    async def wait(_: World) -> None:
        await asyncio.sleep(3600)

    assert simulate(0, wait, FAULTS).loop.time() >= 3600


def test_a_stream_arrives_in_order_or_breaks() -> None:
    seen: list[list[int]] = []

    async def watch(world: World) -> None:
        world.add("gas", _counting)
        stub: Any = gas_pb2_grpc.GasServiceStub(world.channel(OPERATOR, "gas"))
        await asyncio.sleep(0.1)
        sequences: list[int] = []
        seen.append(sequences)
        try:
            async for response in stub.WatchCharges(gas_pb2.WatchChargesRequest()):
                sequences.append(response.sequence)  # noqa: PERF401  # a break keeps them
        except aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE

    for seed in range(20):
        simulate(seed, watch, Faults(break_probability=0.4))

    assert all(sequences == list(range(1, len(sequences) + 1)) for sequences in seen)
    assert {len(sequences) for sequences in seen} >= {0, 5}
