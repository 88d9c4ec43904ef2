"""Every reason of the contract is provoked once over real gRPC, and answers carry what they say."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from actionvm.action.v1.action_pb2 import Usage
from actionvm.gas.v1 import gas_pb2 as pb
from chassis.canonical import canonical_json, sha256_hex
from chassis.fields import page_token
from tests.gas.calls import Stub, bad_field, limit, reason, reserve, used
from tests.gas.ledgers import ACCOUNT, MODEL, PRICES
from tests.grpc_fixtures import StubAs


def test_a_reservation_is_held_and_charged(runtime: Stub, account: str) -> None:
    request = reserve(account, 30)
    hold = runtime.ReserveGas(request).hold
    assert (hold.state, hold.gas, hold.charged_gas) == (pb.Hold.STATE_OPEN, 30, 0)
    assert (hold.account, hold.run, hold.item) == (account, request.run, MODEL)

    settled = runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[used(12)])).hold

    assert (settled.state, settled.charged_gas) == (pb.Hold.STATE_SETTLED, 12)


def test_a_receipt_can_be_verified_from_its_fields(
    runtime: Stub,
    account: str,
) -> None:
    request = reserve(account, 30)
    hold = runtime.ReserveGas(request).hold
    runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[used(12)]))

    receipt = runtime.CloseRun(pb.CloseRunRequest(run=request.run, account=account)).receipt

    content = canonical_json(
        {
            "run": receipt.run,
            "account": receipt.account,
            "charges": [
                {
                    "line": charge.line,
                    "item": charge.item,
                    "usages": [
                        {"meter": Usage.Meter.Name(usage.meter), "amount": usage.amount}
                        for usage in charge.usages
                    ],
                    "gas": charge.gas,
                    "price_version": charge.price_version,
                }
                for charge in receipt.charges
            ],
            "total_gas": receipt.total_gas,
        }
    )
    assert receipt.digest.sha256 == sha256_hex(content)
    assert receipt.digest.size_bytes == len(content)
    assert receipt.total_gas == 12


def test_budgets_of_both_origins_apply_together(
    runtime: Stub,
    account: str,
) -> None:
    manifest = limit(account, 40, origin=pb.Budget.ORIGIN_MANIFEST)
    runtime.SetBudget(pb.SetBudgetRequest(budget=manifest))
    runtime.ReserveGas(reserve(account, 15))

    answer = runtime.GetBudget(pb.GetBudgetRequest(account=account))

    limits = [(found.gas_limit, found.gas_spent) for found in answer.budgets]
    assert (limits, answer.gas_available) == ([(40, 15), (100, 15)], 25)


def test_usage_pages_have_every_row_once(grpc_stub: Stub, runtime: Stub, account: str) -> None:
    for name in "cab":
        hold = runtime.ReserveGas(reserve(account, 1, item=f"model local/{name}")).hold
        runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[used(1)]))
    items, token = [], ""
    for _ in range(3):
        page = grpc_stub.ListUsage(
            pb.ListUsageRequest(account=account, page_size=1, page_token=token)
        )
        items += [row.item for row in page.rows]
        token = page.next_page_token

    assert (items, token) == (["model local/a", "model local/b", "model local/c"], "")


def test_the_price_table_is_listed_with_its_version(grpc_stub: Stub) -> None:
    table = grpc_stub.GetPriceTable(pb.GetPriceTableRequest())

    assert (table.version, len(table.prices)) == (PRICES.version, 3)


# --- Reasons -------------------------------------------------------------------------------------


def test_an_item_without_a_price_is_refused(runtime: Stub, account: str) -> None:
    request = reserve(account, 1, item="model cloud/x")

    assert reason(runtime.ReserveGas, request) == "PRICE_NOT_FOUND"


def test_an_account_without_a_budget_may_not_spend(runtime: Stub) -> None:
    assert reason(runtime.ReserveGas, reserve("agents/poor", 1)) == "BUDGET_MISSING"


def test_a_closed_run_may_not_spend(runtime: Stub, account: str) -> None:
    request = reserve(account, 1)
    runtime.CloseRun(pb.CloseRunRequest(run=request.run, account=account))

    assert reason(runtime.ReserveGas, request) == "RUN_CLOSED"


def test_a_hold_above_the_budget_is_refused(runtime: Stub, account: str) -> None:
    assert reason(runtime.ReserveGas, reserve(account, 101)) == "BUDGET_EXCEEDED"


def test_a_request_id_stands_for_one_content(runtime: Stub, account: str) -> None:
    request = reserve(account, 1)
    runtime.ReserveGas(request)
    request.usages[0].amount = 2

    assert reason(runtime.ReserveGas, request) == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("method", "request_class"),
    [("SettleGas", pb.SettleGasRequest), ("ReleaseGas", pb.ReleaseGasRequest)],
)
def test_an_unknown_hold_is_refused(
    runtime: Stub,
    method: str,
    request_class: Callable[..., Any],
) -> None:
    request = request_class(hold=f"holds/{uuid.UUID(int=7, version=4)}")

    assert reason(getattr(runtime, method), request) == "HOLD_NOT_FOUND"


def test_a_released_hold_is_not_charged(runtime: Stub, account: str) -> None:
    name = runtime.ReserveGas(reserve(account, 1)).hold.name
    runtime.ReleaseGas(pb.ReleaseGasRequest(hold=name))

    assert reason(runtime.SettleGas, pb.SettleGasRequest(hold=name)) == "HOLD_RELEASED"


def test_a_charged_hold_is_not_given_back(runtime: Stub, account: str) -> None:
    name = runtime.ReserveGas(reserve(account, 1)).hold.name
    runtime.SettleGas(pb.SettleGasRequest(hold=name))

    assert reason(runtime.ReleaseGas, pb.ReleaseGasRequest(hold=name)) == "HOLD_SETTLED"


def test_an_account_that_never_had_a_budget_is_unknown(runtime: Stub) -> None:
    request = pb.GetBudgetRequest(account="agents/nobody")

    assert reason(runtime.GetBudget, request) == "ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize(
    ("caller", "origin"),
    [("runtime", pb.Budget.ORIGIN_OPERATOR), ("operator", pb.Budget.ORIGIN_MANIFEST)],
)
def test_nobody_sets_the_budget_of_another_origin(
    grpc_stub_as: StubAs, caller: str, origin: int
) -> None:
    request = pb.SetBudgetRequest(budget=limit(ACCOUNT, 1, origin=origin))

    assert reason(grpc_stub_as(caller).SetBudget, request) == "METHOD_DENIED"


def test_an_operator_does_not_spend(grpc_stub: Stub) -> None:
    assert reason(grpc_stub.ReserveGas, reserve(ACCOUNT, 1)) == "METHOD_DENIED"


def test_a_stranger_is_refused(
    grpc_create_channel: Callable[[str], grpc.Channel],
) -> None:
    stub = Stub(grpc_create_channel("stolen"))

    assert reason(stub.GetPriceTable, pb.GetPriceTableRequest()) == "TOKEN_INVALID"


# --- Fields --------------------------------------------------------------------------------------

HOLD = f"holds/{uuid.UUID(int=7, version=4)}"
RUN = f"runs/{uuid.UUID(int=7, version=4)}"


def _reserve_with(**changes: object) -> pb.ReserveGasRequest:
    good = {"request_id": "r", "account": ACCOUNT, "run": RUN, "item": MODEL}
    return pb.ReserveGasRequest(**{**good, "usages": [used(1)], **changes})  # type: ignore[arg-type]  # any field


BAD_FIELDS = [
    ("ReserveGas", _reserve_with(request_id=""), "request_id"),
    ("ReserveGas", _reserve_with(request_id="x" * 129), "request_id"),
    ("ReserveGas", _reserve_with(request_id="a b"), "request_id"),
    ("ReserveGas", _reserve_with(account="market-brief"), "account"),
    ("ReserveGas", _reserve_with(run="runs/1"), "run"),
    ("ReserveGas", _reserve_with(item=""), "item"),
    ("ReserveGas", _reserve_with(item="babbler"), "item"),
    ("ReserveGas", _reserve_with(item="model *"), "item"),
    ("ReserveGas", _reserve_with(item="model " + "x" * 129), "item"),
    ("ReserveGas", _reserve_with(usages=[]), "usages"),
    ("ReserveGas", _reserve_with(usages=[used(1)] * 17), "usages"),
    ("ReserveGas", _reserve_with(usages=[used(1), used(2)]), "usages[1].meter"),
    ("ReserveGas", _reserve_with(usages=[used(1, meter=0)]), "usages[0].meter"),
    ("ReserveGas", _reserve_with(usages=[used(1, meter=99)]), "usages[0].meter"),
    ("ReserveGas", _reserve_with(usages=[used(-1)]), "usages[0].amount"),
    ("ReserveGas", _reserve_with(usages=[used(2**53)]), "usages[0].amount"),
    ("SettleGas", pb.SettleGasRequest(hold="holds/1"), "hold"),
    ("SettleGas", pb.SettleGasRequest(hold=HOLD, usages=[used(-1)]), "usages[0].amount"),
    ("ReleaseGas", pb.ReleaseGasRequest(), "hold"),
    ("CloseRun", pb.CloseRunRequest(account=ACCOUNT), "run"),
    ("CloseRun", pb.CloseRunRequest(run=RUN), "account"),
    ("GetReceipt", pb.GetReceiptRequest(run=f"{RUN}\n"), "run"),
    ("QuoteGas", pb.QuoteGasRequest(usages=[used(1)]), "item"),
    ("QuoteGas", pb.QuoteGasRequest(item=MODEL), "usages"),
    ("QuoteGas", pb.QuoteGasRequest(item=MODEL, usages=[used(2**53 - 1)]), "usages"),
    ("GetBudget", pb.GetBudgetRequest(account="agents/Ä"), "account"),
    ("SetBudget", pb.SetBudgetRequest(), "budget"),
    ("SetBudget", pb.SetBudgetRequest(budget=limit("x", 1)), "budget.account"),
    ("SetBudget", pb.SetBudgetRequest(budget=limit(ACCOUNT, 0)), "budget.gas_limit"),
    ("SetBudget", pb.SetBudgetRequest(budget=limit(ACCOUNT, 10**15 + 1)), "budget.gas_limit"),
    ("SetBudget", pb.SetBudgetRequest(budget=limit(ACCOUNT, 1, origin=9)), "budget.origin"),
    ("SetBudget", pb.SetBudgetRequest(budget=limit(ACCOUNT, 1, period=0)), "budget.period"),
]
BAD_LISTINGS = [
    (pb.ListUsageRequest(page_size=-1), "page_size"),
    (pb.ListUsageRequest(page_token="?"), "page_token"),
    (pb.ListUsageRequest(page_token=page_token("one")), "page_token"),
    (pb.ListUsageRequest(page_token=page_token("a", "\ud800")), "page_token"),
    (pb.ListUsageRequest(page_token="W1tb" * 4000), "page_token"),
    (pb.ListUsageRequest(account="agents/"), "account"),
]


@pytest.mark.parametrize(("method", "request_", "field"), BAD_FIELDS)
def test_a_bad_field_is_named(
    runtime: Stub,
    method: str,
    request_: object,
    field: str,
) -> None:
    assert bad_field(getattr(runtime, method), request_) == field


@pytest.mark.parametrize(("request_", "field"), BAD_LISTINGS)
def test_a_bad_field_of_a_listing_is_named(
    grpc_stub: Stub,
    request_: pb.ListUsageRequest,
    field: str,
) -> None:
    assert bad_field(grpc_stub.ListUsage, request_) == field


def test_a_run_is_paid_by_one_account(runtime: Stub, account: str) -> None:
    run = reserve(account, 1).run
    runtime.CloseRun(pb.CloseRunRequest(run=run, account=account))

    request = pb.CloseRunRequest(run=run, account=ACCOUNT)

    assert bad_field(runtime.CloseRun, request) == "account"
