"""Contract of the marketplace: every RPC is called, with each reason that it documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from actionvm.gas.v1 import market_pb2 as pb
from actionvm.gas.v1 import market_pb2_grpc
from chassis.server import Hosted
from gas.chain import Caller
from gas.ledger import Reservation
from gas.market.fees import Dao, Holding
from gas.market.operations import AddWebhook, SetDao
from gas.service import GasService, hosted
from tests.contracts.contract import Call, make
from tests.gas.ledgers import ACCOUNT, MODEL, Ledger, budget, open_ledger, run_name, tokens
from tests.grpc_fixtures import StubAs

OPEN_RUN, CALLED_RUN, CLOSED_RUN, UNKNOWN_RUN = map(run_name, range(1, 5))
CALLED = "agents/called"
DAO = "daos/known"
WEBHOOK = "webhooks/00000000-0000-5000-8000-000000000001"
UNKNOWN_WEBHOOK = "webhooks/00000000-0000-5000-8000-000000000002"
URL = "https://market.example/hooks"


def prepare() -> Ledger:
    """Return a ledger with an open run, one that it called, a closed one, a DAO and a webhook."""
    ledger = open_ledger()
    ledger.set_budget(budget(1_000))
    ledger.set_budget(budget(1_000, account=CALLED))
    callers = (Caller(ACCOUNT, OPEN_RUN),)
    reservations = [
        Reservation("r1", ACCOUNT, OPEN_RUN, MODEL, tokens(5)),
        Reservation("r2", CALLED, CALLED_RUN, MODEL, tokens(5), callers),
        Reservation("r3", ACCOUNT, CLOSED_RUN, MODEL, tokens(5)),
    ]
    for reservation in reservations:
        ledger.settle(ledger.reserve(reservation).name, tokens(5))
    ledger.close_run(CLOSED_RUN, ACCOUNT)
    ledger.apply(SetDao(Dao(DAO, (Holding("0xa", 1),))))
    ledger.apply(AddWebhook("r4", WEBHOOK, URL, (), ""))
    return ledger


def fees(dao: str) -> pb.SetFeeScheduleRequest:
    return pb.SetFeeScheduleRequest(schedule=pb.FeeSchedule(account=ACCOUNT, dao=dao))


def dao(name: str) -> pb.SetDaoRequest:
    return pb.SetDaoRequest(dao=pb.Dao(name=name, holdings=[pb.Holding(holder="0xa", units=1)]))


# Each call stands alone: they may run in any order, and on several machines.
CALLS: list[Call] = [
    Call("SetFeeSchedule", fees(DAO)),
    Call("SetFeeSchedule", fees("daos/unknown"), reason="DAO_NOT_FOUND"),
    Call("SetFeeSchedule", pb.SetFeeScheduleRequest(), reason="INVALID_FIELD"),
    Call("GetFeeSchedule", pb.GetFeeScheduleRequest()),
    Call("GetFeeSchedule", pb.GetFeeScheduleRequest(account="x"), reason="INVALID_FIELD"),
    Call("SetDao", dao("daos/other")),
    Call("SetDao", pb.SetDaoRequest(), reason="INVALID_FIELD"),
    Call("GetDao", pb.GetDaoRequest(name=DAO)),
    Call("GetDao", pb.GetDaoRequest(name="daos/unknown"), reason="DAO_NOT_FOUND"),
    Call("PriceRun", pb.PriceRunRequest(account=ACCOUNT, gas=5)),
    Call("PriceRun", pb.PriceRunRequest(account=ACCOUNT, gas=-1), reason="INVALID_FIELD"),
    Call("BillRun", pb.BillRunRequest(run=CLOSED_RUN)),
    Call("BillRun", pb.BillRunRequest(run=UNKNOWN_RUN), reason="RUN_NOT_FOUND"),
    Call("BillRun", pb.BillRunRequest(run=OPEN_RUN), reason="RUN_OPEN"),
    Call("BillRun", pb.BillRunRequest(run=CALLED_RUN), reason="RUN_CALLED"),
    Call("BillRun", pb.BillRunRequest(), "runtime", "METHOD_DENIED"),
    # A stream that works does not end; it is in tests/gas/market/test_event_service.py.
    Call("SubscribeUsage", pb.SubscribeUsageRequest(after_offset=99), reason="INVALID_FIELD"),
    # With a key it works in tests/gas/market/test_event_service.py.
    Call(
        "CreateWebhook",
        pb.CreateWebhookRequest(request_id="w", webhook=pb.Webhook(url=URL)),
        reason="WEBHOOK_KEY_MISSING",
    ),
    Call("CreateWebhook", pb.CreateWebhookRequest(request_id="w"), reason="INVALID_FIELD"),
    Call("ListWebhooks", pb.ListWebhooksRequest()),
    Call("ListWebhooks", pb.ListWebhooksRequest(page_token="?"), reason="INVALID_FIELD"),
    Call("DeleteWebhook", pb.DeleteWebhookRequest(name=UNKNOWN_WEBHOOK)),
    Call("DeleteWebhook", pb.DeleteWebhookRequest(name="webhooks/1"), reason="INVALID_FIELD"),
    Call("ReplayWebhook", pb.ReplayWebhookRequest(name=WEBHOOK)),
    Call(
        "ReplayWebhook",
        pb.ReplayWebhookRequest(name=UNKNOWN_WEBHOOK),
        reason="WEBHOOK_NOT_FOUND",
    ),
    Call(
        "ReplayWebhook",
        pb.ReplayWebhookRequest(name=WEBHOOK, after_offset=99),
        reason="INVALID_FIELD",
    ),
]


@pytest.fixture(scope="module")
def hosted_service() -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield hosted(GasService(prepare().store))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[market_pb2_grpc.MarketplaceServiceStub]:
    return market_pb2_grpc.MarketplaceServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)
