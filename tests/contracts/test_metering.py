"""Contract of metering: every RPC is called, with each reason that it documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from actionvm.gas.v1 import metering_pb2 as pb
from actionvm.gas.v1 import metering_pb2_grpc
from actionvm.gas.v1.gas_pb2 import ReleaseGasRequest, SettleGasRequest
from chassis.server import Hosted
from gas.service import GasService, hosted
from tests.contracts.contract import Call, make
from tests.contracts.test_gas import OPEN, OTHER_OPEN, prepare, reserve
from tests.grpc_fixtures import StubAs

OPERATIONS = [
    pb.MeterOperation(reserve=reserve("m0")),
    pb.MeterOperation(settle=SettleGasRequest(hold=OPEN)),
    pb.MeterOperation(release=ReleaseGasRequest(hold=OTHER_OPEN)),
    pb.MeterOperation(reserve=reserve("m1", account="agents/poor")),
    pb.MeterOperation(),
]

# Each call stands alone: they may run in any order, and on several machines.
CALLS: list[Call] = [
    Call("MeterGas", pb.MeterGasRequest(operations=OPERATIONS), "linker"),
    Call("MeterGas", pb.MeterGasRequest(operations=OPERATIONS), "runtime"),
    Call("MeterGas", pb.MeterGasRequest(operations=OPERATIONS), reason="METHOD_DENIED"),
    Call("MeterGas", pb.MeterGasRequest(), "linker", "INVALID_FIELD"),
]


@pytest.fixture(scope="module")
def hosted_service() -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield hosted(GasService(prepare().store))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[metering_pb2_grpc.MeteringServiceStub]:
    return metering_pb2_grpc.MeteringServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)
