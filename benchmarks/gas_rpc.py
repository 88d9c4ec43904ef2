"""Pairs through gRPC: the gas system in a process of its own, callers in this one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import grpc
import uvloop

from actionvm.action.v1.action_pb2 import Usage
from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import gas_pb2_grpc
from tests.grpc_fixtures import identities, token_of

ROOT = Path(__file__).resolve().parent.parent
IN_FLIGHT = 256
CHANNELS = 4
ACCOUNT = "agents/a"
WORST = [
    Usage(meter=Usage.METER_INPUT_TOKENS, amount=500),
    Usage(meter=Usage.METER_OUTPUT_TOKENS, amount=256),
]
USED = [
    Usage(meter=Usage.METER_INPUT_TOKENS, amount=480),
    Usage(meter=Usage.METER_OUTPUT_TOKENS, amount=61),
]


def measure(pairs: int) -> float:
    """Return pairs per second of one hot account."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "identities.json").write_text(json.dumps(identities()))
        address = f"unix:{folder}/gas.sock"
        environment = {
            **os.environ,  # noqa: TID251  # a child process needs PATH and its kind
            "PYTHONPATH": str(ROOT),
            "GAS_LISTEN": address,
            "GAS_DATA_DIR": str(folder / "data"),
            "GAS_IDENTITIES_FILE": str(folder / "identities.json"),
            "GAS_TOKEN_FILE": str(folder / "token"),
        }
        command = [sys.executable, "-m", "gas"]
        with subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                return uvloop.run(_measure(address, pairs))
            finally:
                server.terminate()
                server.wait(20)


async def _measure(address: str, pairs: int) -> float:
    # Channels with equal options share a connection, which one event of the server serves alone.
    channels = [
        grpc.aio.insecure_channel(address, options=[("bench.channel", number)])
        for number in range(CHANNELS)
    ]
    stubs = [gas_pb2_grpc.GasServiceStub(channel) for channel in channels]
    await asyncio.gather(*(asyncio.wait_for(channel.channel_ready(), 30) for channel in channels))
    numbers, run = iter(range(pairs)), f"runs/{uuid.uuid4()}"
    operator, linker = (
        [("authorization", f"Bearer {token_of(caller)}")] for caller in ("operator", "linker")
    )
    limit = pb.Budget(
        account=ACCOUNT,
        origin=pb.Budget.ORIGIN_OPERATOR,
        period=pb.Budget.PERIOD_DAY,
        gas_limit=10**15,
    )
    await stubs[0].SetBudget(pb.SetBudgetRequest(budget=limit), metadata=operator)

    async def spend(stub: gas_pb2_grpc.GasServiceStub) -> None:
        for number in numbers:
            asked = pb.ReserveGasRequest(
                request_id=f"{run}/step/{number}",
                account=ACCOUNT,
                run=run,
                item="model local/tiny",
                usages=WORST,
            )
            held = await stub.ReserveGas(asked, metadata=linker)
            settlement = pb.SettleGasRequest(hold=held.hold.name, usages=USED)
            await stub.SettleGas(settlement, metadata=linker)

    start = time.perf_counter()
    await asyncio.gather(*(spend(stubs[i % CHANNELS]) for i in range(IN_FLIGHT)))
    elapsed = time.perf_counter() - start
    for channel in channels:
        await channel.close()
    return pairs / elapsed
