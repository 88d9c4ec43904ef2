"""Contract of the marketplace: every RPC is called, with each reason that it documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from actionvm.gas.v1 import market_pb2 as pb
from actionvm.gas.v1 import market_pb2_grpc
from chassis.server import Hosted
from gas.service import GasService, hosted
from tests.contracts.contract import Call, make
from tests.gas.ledgers import open_ledger
from tests.grpc_fixtures import StubAs

LATER = "NOT_IMPLEMENTED"

# Each call stands alone: they may run in any order, and on several machines.
CALLS: list[Call] = [
    Call("SetFeeSchedule", pb.SetFeeScheduleRequest(), reason=LATER),
    Call("GetFeeSchedule", pb.GetFeeScheduleRequest(), reason=LATER),
    Call("SetDao", pb.SetDaoRequest(), reason=LATER),
    Call("GetDao", pb.GetDaoRequest(), reason=LATER),
    Call("PriceRun", pb.PriceRunRequest(), reason=LATER),
    Call("BillRun", pb.BillRunRequest(), reason=LATER),
    Call("SubscribeUsage", pb.SubscribeUsageRequest(), reason=LATER),
    Call("CreateWebhook", pb.CreateWebhookRequest(), reason=LATER),
    Call("ListWebhooks", pb.ListWebhooksRequest(), reason=LATER),
    Call("DeleteWebhook", pb.DeleteWebhookRequest(), reason=LATER),
    Call("ReplayWebhook", pb.ReplayWebhookRequest(), reason=LATER),
    Call("BillRun", pb.BillRunRequest(), "runtime", "METHOD_DENIED"),
]


@pytest.fixture(scope="module")
def hosted_service() -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield hosted(GasService(open_ledger().store))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[market_pb2_grpc.MarketplaceServiceStub]:
    return market_pb2_grpc.MarketplaceServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)
