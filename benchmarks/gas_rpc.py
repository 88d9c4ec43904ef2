"""Pairs through gRPC: the gas system in a process of its own, callers in this one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import TypeAlias

import grpc
import uvloop

from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import gas_pb2_grpc
from chassis.tls import Bearer
from linker.clients import GasClient, usages_of
from linker.conversation import Tokens
from linker.ports import Reservation
from tests.grpc_fixtures import identities_json, token_of

ROOT = Path(__file__).resolve().parent.parent
IN_FLIGHT = 256
CHANNELS = 4
ACCOUNT = "agents/a"
ITEM = "model local/tiny"
WORST, USED = Tokens(500, 256), Tokens(480, 61)

# Of one address, how to hold and settle once, with a request id and its run.
Spend: TypeAlias = Callable[[str, str], Awaitable[object]]
Spending: TypeAlias = Callable[[str], AbstractAsyncContextManager[Spend]]


@asynccontextmanager
async def by_client(address: str) -> AsyncIterator[Spend]:
    """Spend as the linker does: many callers, one client, which lets them travel together."""
    async with Bearer(token_of("linker")).connect(address, "peer") as channel:
        client = GasClient(channel)

        async def spend(request_id: str, run: str) -> None:
            hold = await client.reserve(Reservation(request_id, ACCOUNT, run, (), ITEM, WORST))
            await client.settle(hold.name, USED)

        yield spend


@asynccontextmanager
async def by_unary_calls(address: str) -> AsyncIterator[Spend]:
    """Spend with one call for each operation, without anything of ours around it."""
    async with AsyncExitStack() as stack:
        # Channels with equal options share a connection, which one event of the server serves.
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(address, options=[("bench.channel", number)])
            )
            for number in range(CHANNELS)
        ]
        stubs = cycle([gas_pb2_grpc.GasServiceStub(channel) for channel in channels])
        linker = [("authorization", f"Bearer {token_of('linker')}")]

        async def spend(request_id: str, run: str) -> None:
            asked = pb.ReserveGasRequest(
                request_id=request_id, account=ACCOUNT, run=run, item=ITEM, usages=usages_of(WORST)
            )
            stub = next(stubs)
            held = await stub.ReserveGas(asked, metadata=linker)
            settlement = pb.SettleGasRequest(hold=held.hold.name, usages=usages_of(USED))
            await stub.SettleGas(settlement, metadata=linker)

        yield spend


def measure(pairs: int, spending: Spending) -> float:
    """Return pairs per second of one hot account."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "identities.json").write_text(identities_json())
        address = f"unix:{folder}/gas.sock"
        environment = {
            **os.environ,  # noqa: TID251  # a child process needs PATH and its kind
            "PYTHONPATH": str(ROOT),
            "GAS_LISTEN": address,
            "GAS_DATA_DIR": str(folder / "data"),
            "GAS_IDENTITIES_FILE": str(folder / "identities.json"),
            "GAS_TLS": "off",
        }
        command = [sys.executable, "-m", "gas"]
        with subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                return uvloop.run(_measure(address, pairs, spending))
            finally:
                server.terminate()
                server.wait(20)


async def _measure(address: str, pairs: int, spending: Spending) -> float:
    await _limit(address)
    async with spending(address) as spend:
        run = f"runs/{uuid.uuid4()}"
        # The first calls wait for connections.
        await asyncio.gather(*(spend(f"{run}/first/{n}", run) for n in range(IN_FLIGHT)))
        numbers = iter(range(pairs))

        async def spend_on() -> None:
            for number in numbers:
                await spend(f"{run}/step/{number}", run)

        start = time.perf_counter()
        await asyncio.gather(*(spend_on() for _ in range(IN_FLIGHT)))
        return pairs / (time.perf_counter() - start)


async def _limit(address: str) -> None:
    limit = pb.Budget(
        account=ACCOUNT,
        origin=pb.Budget.ORIGIN_OPERATOR,
        period=pb.Budget.PERIOD_DAY,
        gas_limit=10**15,
    )
    async with Bearer(token_of("operator")).connect(address, "peer") as channel:
        await asyncio.wait_for(channel.channel_ready(), 30)
        stub = gas_pb2_grpc.GasServiceStub(channel)
        await stub.SetBudget(pb.SetBudgetRequest(budget=limit))
