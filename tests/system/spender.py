"""The runtime as the tests of gas need it: spends what it is told on standard input.

A process of its own, because the platform knows processes: what it vouches for gets a certificate.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from actionvm.action.v1.action_pb2 import Usage
from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import gas_pb2_grpc
from enrolment.join import join
from runtime.config import RuntimeConfig

MODEL = "model local/babbler"


async def spend(stub: Any, run: str, agent: str, tokens: int) -> None:  # noqa: ANN401  # as in grpc
    """Hold, settle, and close the run."""
    used = [Usage(meter=Usage.METER_INPUT_TOKENS, amount=tokens)]
    account = f"agents/{agent}"
    wish = pb.ReserveGasRequest(request_id=run, account=account, run=run, item=MODEL, usages=used)
    hold = (await stub.ReserveGas(wish)).hold
    await stub.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=used))
    await stub.CloseRun(pb.CloseRunRequest(run=run, account=account))


async def main() -> None:
    """Wait for the first line, which says that the platform knows us; then do what each says."""
    read = asyncio.to_thread
    await read(sys.stdin.readline)
    config = RuntimeConfig()
    async with (
        join(config) as member,
        member.connect(config.gas_address, "gas") as channel,
    ):
        stub = gas_pb2_grpc.GasServiceStub(channel)
        while line := await read(sys.stdin.readline):
            await spend(stub, **json.loads(line))
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
