"""Contract of the gas system: every RPC is called, with each reason that it documents."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1.action_pb2 import Usage
from actionvm.gas.v1 import budgets_pb2, gas_pb2_grpc, prices_pb2
from actionvm.gas.v1 import gas_pb2 as pb
from chassis.server import Hosted
from gas.service import GasService, hosted
from tests.contracts.contract import Call, make
from tests.gas.ledgers import (
    ACCOUNT,
    MODEL,
    Ledger,
    budget,
    hold_names,
    open_ledger,
    reservation,
    run_name,
    tokens,
)
from tests.grpc_fixtures import StubAs

SEED = 7
OPEN, OTHER_OPEN, SETTLED, RELEASED, LEFT_OPEN = islice(hold_names(SEED), 5)
UNKNOWN = next(hold_names(SEED + 1))
RUN, CLOSED_RUN, FRESH_RUN = run_name(1), run_name(2), run_name(3)
PRICE_FILE = prices_pb2.PriceFile(file="a.yaml", content=b"prices: {model *: {images: 1}}")
USAGES = [Usage(meter=Usage.METER_INPUT_TOKENS, amount=5)]


def prepare() -> Ledger:
    """Return a ledger with a hold in every state, and a closed run."""
    store = open_ledger(dice=random.Random(SEED))
    store.set_budget(budget(1_000))
    names = [store.reserve(reservation(f"r{n}", 10)).name for n in range(5)]
    assert names == [OPEN, OTHER_OPEN, SETTLED, RELEASED, LEFT_OPEN]
    store.settle(SETTLED, tokens(5))
    store.release(RELEASED)
    store.close_run(CLOSED_RUN, ACCOUNT)
    return store


def reserve(
    request_id: str, *, account: str = ACCOUNT, run: str = RUN, item: str = MODEL, amount: int = 5
) -> pb.ReserveGasRequest:
    usages = [Usage(meter=Usage.METER_INPUT_TOKENS, amount=amount)]
    return pb.ReserveGasRequest(
        request_id=request_id, account=account, run=run, item=item, usages=usages
    )


def refund(request_id: str, hold: str, *, gas: int = 1) -> pb.RefundGasRequest:
    return pb.RefundGasRequest(request_id=request_id, hold=hold, gas=gas, cause="a test")


def limit(origin: pb.Budget.Origin.ValueType) -> pb.SetBudgetRequest:
    return pb.SetBudgetRequest(
        budget=pb.Budget(
            account="agents/new", origin=origin, period=pb.Budget.PERIOD_DAY, gas_limit=5
        )
    )


def plan(item: str) -> prices_pb2.QuoteRunRequest:
    usage = prices_pb2.UsageRange(meter=Usage.METER_INPUT_TOKENS, most=5)
    call = prices_pb2.PlannedCall(item=item, count_most=2, usages=[usage])
    return prices_pb2.QuoteRunRequest(account=ACCOUNT, calls=[call])


def price_update(request_id: str, *, effective_time: Timestamp) -> pb.UpdatePriceTableRequest:
    price = pb.Price(item="model *", meter=Usage.METER_IMAGES, gas_per_thousand=1)
    return pb.UpdatePriceTableRequest(
        request_id=request_id, prices=[price], effective_time=effective_time
    )


# Each call stands alone: they may run in any order, and on several machines.
CALLS: list[Call] = [
    Call("QuoteGas", pb.QuoteGasRequest(item=MODEL, usages=USAGES), "assembler"),
    Call("QuoteGas", pb.QuoteGasRequest(item="model x/y", usages=USAGES), reason="PRICE_NOT_FOUND"),
    Call("QuoteGas", pb.QuoteGasRequest(item=MODEL), "linker", "INVALID_FIELD"),
    Call("QuoteGas", pb.QuoteGasRequest(), "knowledge", "METHOD_DENIED"),
    Call("ReserveGas", reserve("new"), "linker"),
    Call("ReserveGas", reserve("r0", amount=10), "runtime"),
    Call("ReserveGas", reserve("r0", amount=11), "runtime", "REQUEST_ID_REUSED"),
    Call("ReserveGas", reserve("a", item="model x/y"), "linker", "PRICE_NOT_FOUND"),
    Call(
        "ReserveGas", reserve("b", account="agents/poor", run=FRESH_RUN), "linker", "BUDGET_MISSING"
    ),
    Call("ReserveGas", reserve("c", account="agents/poor"), "linker", "INVALID_FIELD"),
    Call("ReserveGas", reserve("d", run=CLOSED_RUN), "linker", "RUN_CLOSED"),
    Call("ReserveGas", reserve("e", amount=1_001), "linker", "BUDGET_EXCEEDED"),
    Call("SettleGas", pb.SettleGasRequest(hold=OPEN, usages=USAGES), "linker"),
    Call("SettleGas", pb.SettleGasRequest(hold=SETTLED, usages=USAGES), "runtime"),
    Call("SettleGas", pb.SettleGasRequest(hold=UNKNOWN), "linker", "HOLD_NOT_FOUND"),
    Call("SettleGas", pb.SettleGasRequest(hold=RELEASED), "linker", "HOLD_RELEASED"),
    Call("ReleaseGas", pb.ReleaseGasRequest(hold=OTHER_OPEN), "linker"),
    Call("ReleaseGas", pb.ReleaseGasRequest(hold=RELEASED), "runtime"),
    Call("ReleaseGas", pb.ReleaseGasRequest(hold=UNKNOWN), "linker", "HOLD_NOT_FOUND"),
    Call("ReleaseGas", pb.ReleaseGasRequest(hold=SETTLED), "linker", "HOLD_SETTLED"),
    Call("CloseRun", pb.CloseRunRequest(run=CLOSED_RUN, account=ACCOUNT), "runtime"),
    Call(
        "CloseRun",
        pb.CloseRunRequest(run=CLOSED_RUN, account="agents/x"),
        "runtime",
        "INVALID_FIELD",
    ),
    Call("GetReceipt", pb.GetReceiptRequest(run=RUN)),
    Call("GetReceipt", pb.GetReceiptRequest(run="runs/1"), reason="INVALID_FIELD"),
    Call("SetBudget", limit(pb.Budget.ORIGIN_MANIFEST), "runtime"),
    Call("SetBudget", limit(pb.Budget.ORIGIN_OPERATOR)),
    Call("SetBudget", limit(pb.Budget.ORIGIN_MANIFEST), reason="METHOD_DENIED"),
    Call("GetBudget", pb.GetBudgetRequest(account=ACCOUNT)),
    Call("GetBudget", pb.GetBudgetRequest(account="agents/x"), reason="ACCOUNT_NOT_FOUND"),
    Call("ListUsage", pb.ListUsageRequest()),
    Call("ListUsage", pb.ListUsageRequest(query=budgets_pb2.UsageQuery())),
    Call("ListUsage", pb.ListUsageRequest(page_size=-1), reason="INVALID_FIELD"),
    Call("GetPriceTable", pb.GetPriceTableRequest()),
    Call("GetPriceTable", pb.GetPriceTableRequest(version=64 * "0"), reason="INVALID_FIELD"),
    Call(
        "GetPriceTable", pb.GetPriceTableRequest(version=12 * "0"), reason="PRICE_TABLE_NOT_FOUND"
    ),
    # In the year 2286, so that no other call meets its prices.
    Call("UpdatePriceTable", price_update("p0", effective_time=Timestamp(seconds=10**10))),
    Call(
        "UpdatePriceTable", price_update("p1", effective_time=Timestamp()), reason="INVALID_FIELD"
    ),
    Call("UpdatePriceTable", pb.UpdatePriceTableRequest(), reason="INVALID_FIELD"),
    Call("ReadPriceFiles", prices_pb2.ReadPriceFilesRequest(files=[PRICE_FILE])),
    Call("ReadPriceFiles", prices_pb2.ReadPriceFilesRequest(), reason="INVALID_FIELD"),
    Call("RefundGas", refund("f0", SETTLED)),
    Call("RefundGas", refund("f1", UNKNOWN), reason="HOLD_NOT_FOUND"),
    Call("RefundGas", refund("f2", LEFT_OPEN), reason="HOLD_OPEN"),
    Call("RefundGas", refund("f3", SETTLED, gas=6), reason="INVALID_FIELD"),
    Call("RefundGas", refund("f4", SETTLED), "runtime", "METHOD_DENIED"),
    Call("ListEntries", pb.ListEntriesRequest()),
    Call("ListEntries", pb.ListEntriesRequest(newest_first=True)),
    Call("ListEntries", pb.ListEntriesRequest(page_token="?"), reason="INVALID_FIELD"),
    # A stream that works does not end; it is in tests/gas/test_service.py.
    Call("WatchCharges", pb.WatchChargesRequest(after_sequence=99), reason="INVALID_FIELD"),
    Call("QuoteRun", plan(MODEL)),
    Call("QuoteRun", plan("model x/y"), reason="PRICE_NOT_FOUND"),
    Call("QuoteRun", prices_pb2.QuoteRunRequest(account=ACCOUNT), reason="INVALID_FIELD"),
    Call("DeleteBudget", budgets_pb2.DeleteBudgetRequest(name=f"{ACCOUNT}/budgets/operator.none")),
    Call("DeleteBudget", budgets_pb2.DeleteBudgetRequest(), reason="INVALID_FIELD"),
    Call("SetTenant", budgets_pb2.SetTenantRequest(account=ACCOUNT, tenant="tenants/new")),
    Call("SetTenant", budgets_pb2.SetTenantRequest(account=ACCOUNT), reason="INVALID_FIELD"),
    Call("ListTokenDrift", budgets_pb2.ListTokenDriftRequest()),
    Call("ListTokenDrift", budgets_pb2.ListTokenDriftRequest(item="?"), reason="INVALID_FIELD"),
    Call("ListPriceTables", prices_pb2.ListPriceTablesRequest()),
    Call(
        "ListPriceTables", prices_pb2.ListPriceTablesRequest(page_size=-1), reason="INVALID_FIELD"
    ),
    Call("ListReports", pb.ListReportsRequest()),
    Call("ListReports", pb.ListReportsRequest(page_size=-1), reason="INVALID_FIELD"),
]


@pytest.fixture(scope="module")
def hosted_service() -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield hosted(GasService(prepare().store))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[gas_pb2_grpc.GasServiceStub]:
    return gas_pb2_grpc.GasServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)
