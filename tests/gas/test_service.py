"""Every reason of the contract is provoked once over real gRPC, and answers carry what they say."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import grpc
import pytest

from actionvm.action.v1.action_pb2 import Usage
from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import gas_pb2_grpc
from chassis.canonical import canonical_json, sha256_hex
from chassis.fields import page_token
from chassis.server import Hosted
from gas.service import GasService, hosted
from tests.contracts.contract import bad_request, error_info
from tests.gas.ledgers import ACCOUNT, MODEL, PRICES, open_ledger
from tests.grpc_fixtures import StubAs

Stub: TypeAlias = gas_pb2_grpc.GasServiceStub

SEEDS = iter(range(10**6))


@pytest.fixture(scope="module")
def hosted_service(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    path = tmp_path_factory.mktemp("gas") / "gas.db"

    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        store = await asyncio.to_thread(open_ledger, path)
        yield hosted(GasService(store.store, PRICES))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


@pytest.fixture
def runtime(grpc_stub_as: StubAs) -> Stub:
    stub: Stub = grpc_stub_as("runtime")
    return stub


@pytest.fixture
def account(grpc_stub: Stub) -> str:
    """Return an account that no other test knows, with 100 gas a day."""
    name = f"agents/a{next(SEEDS)}"
    grpc_stub.SetBudget(pb.SetBudgetRequest(budget=_budget(name, 100)))
    return name


def test_a_reservation_is_held_and_charged(runtime: Stub, account: str) -> None:
    reserve = _reserve(account, 30)
    hold = runtime.ReserveGas(reserve).hold
    assert (hold.state, hold.gas, hold.charged_gas) == (pb.Hold.STATE_OPEN, 30, 0)
    assert (hold.account, hold.run, hold.item) == (account, reserve.run, MODEL)

    settled = runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[_tokens(12)])).hold

    assert (settled.state, settled.charged_gas) == (pb.Hold.STATE_SETTLED, 12)


def test_a_receipt_can_be_verified_from_its_fields(
    runtime: Stub,
    account: str,
) -> None:
    reserve = _reserve(account, 30)
    hold = runtime.ReserveGas(reserve).hold
    runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[_tokens(12)]))

    receipt = runtime.CloseRun(pb.CloseRunRequest(run=reserve.run, account=account)).receipt

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
    manifest = _budget(account, 40, origin=pb.Budget.ORIGIN_MANIFEST)
    runtime.SetBudget(pb.SetBudgetRequest(budget=manifest))
    runtime.ReserveGas(_reserve(account, 15))

    answer = runtime.GetBudget(pb.GetBudgetRequest(account=account))

    limits = [(found.gas_limit, found.gas_spent) for found in answer.budgets]
    assert (limits, answer.gas_available) == ([(40, 15), (100, 15)], 25)


def test_usage_pages_have_every_row_once(grpc_stub: Stub, runtime: Stub, account: str) -> None:
    for name in "cab":
        hold = runtime.ReserveGas(_reserve(account, 1, item=f"model local/{name}")).hold
        runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[_tokens(1)]))
    items, token = [], ""
    for _ in range(3):
        page = grpc_stub.ListUsage(
            pb.ListUsageRequest(account=account, page_size=1, page_token=token)
        )
        items += [row.item for row in page.rows]
        token = page.next_page_token

    assert (items, token) == (["model local/a", "model local/b", "model local/c"], "")


def test_a_stream_is_charged_as_it_goes(runtime: Stub, account: str) -> None:
    hold = runtime.ReserveGas(_reserve(account, 30)).hold
    for used in (5, 12, 12):
        request = pb.SettleGasRequest(hold=hold.name, usages=[_tokens(used)], keep_open=True)
        kept = runtime.SettleGas(request).hold
        assert (kept.state, kept.charged_gas) == (pb.Hold.STATE_OPEN, used)

    settled = runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[_tokens(20)])).hold

    assert (settled.state, settled.charged_gas) == (pb.Hold.STATE_SETTLED, 20)
    assert runtime.GetReceipt(pb.GetReceiptRequest(run=hold.run)).receipt.total_gas == 20


def test_a_refund_can_be_spent_again_and_leaves_the_receipt(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    hold = _charge(runtime, account, 80)
    refund = pb.RefundGasRequest(request_id=f"f{hold.name}", hold=hold.name, gas=50, cause="bad")

    refunded = [grpc_stub.RefundGas(refund).hold.refunded_gas for _ in range(2)]

    assert refunded == [50, 50]
    assert runtime.GetBudget(pb.GetBudgetRequest(account=account)).gas_available == 70
    assert runtime.GetReceipt(pb.GetReceiptRequest(run=hold.run)).receipt.total_gas == 80


def test_a_refund_id_stands_for_one_content(grpc_stub: Stub, runtime: Stub, account: str) -> None:
    hold = _charge(runtime, account, 80)
    refund = pb.RefundGasRequest(request_id=f"f{hold.name}", hold=hold.name, gas=50, cause="bad")
    grpc_stub.RefundGas(refund)
    refund.gas = 1

    assert _reason(grpc_stub.RefundGas, refund) == "REQUEST_ID_REUSED"


def test_what_may_still_be_charged_is_not_refunded(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    hold = runtime.ReserveGas(_reserve(account, 30)).hold
    refund = pb.RefundGasRequest(request_id=hold.name, hold=hold.name, gas=1, cause="bad")

    assert _reason(grpc_stub.RefundGas, refund) == "HOLD_OPEN"


def test_entries_can_be_verified_from_their_fields(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    for gas in (3, 4):
        hold = _charge(runtime, account, gas)
    grpc_stub.RefundGas(
        pb.RefundGasRequest(request_id=hold.name, hold=hold.name, gas=1, cause='zu spät "')
    )

    before = bytes(32)
    for sequence, entry in enumerate(_entries(grpc_stub), start=1):
        content = canonical_json(
            {
                "sequence": sequence,
                "kind": pb.Entry.Kind.Name(entry.kind),
                "debit_account": entry.debit_account,
                "credit_account": entry.credit_account,
                "gas": entry.gas,
                "hold": entry.hold,
                "line": entry.line,
                "item": entry.item,
                "usages": [
                    {"meter": Usage.Meter.Name(usage.meter), "amount": usage.amount}
                    for usage in entry.usages
                ],
                "price_version": entry.price_version,
                "cause": entry.cause,
                "create_time": entry.create_time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
        )
        before = hashlib.sha256(before + content).digest()
        assert entry.chain_hash == before


def test_a_charge_debits_the_agent_and_a_refund_credits_it(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    hold = _charge(runtime, account, 7)
    grpc_stub.RefundGas(
        pb.RefundGasRequest(request_id=hold.name, hold=hold.name, gas=2, cause="bad")
    )

    moves = [
        (entry.debit_account, entry.credit_account, entry.gas)
        for entry in grpc_stub.ListEntries(pb.ListEntriesRequest(account=account)).entries
    ]

    assert moves == [(account, "providers/local", 7), ("providers/local", account, 2)]


def test_a_watcher_sees_every_entry_once_also_those_that_come_later(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    start = len(_entries(grpc_stub))
    _charge(runtime, account, 1)
    watch = grpc_stub.WatchCharges(pb.WatchChargesRequest(after_sequence=start), timeout=20)
    seen = [next(watch)]
    for gas in (2, 3):
        _charge(runtime, account, gas)
        seen.append(next(watch))
    watch.cancel()

    assert [(one.sequence - start, one.account, one.charge.gas) for one in seen] == [
        (1, account, 1),
        (2, account, 2),
        (3, account, 3),
    ]


def test_a_watcher_that_reads_nothing_stops_nobody(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    watch = grpc_stub.WatchCharges(pb.WatchChargesRequest(after_sequence=0))

    charged = [_charge(runtime, account, 1).charged_gas for _ in range(30)]

    watch.cancel()
    assert charged == [1] * 30


def test_the_price_table_is_listed_with_its_version(grpc_stub: Stub) -> None:
    table = grpc_stub.GetPriceTable(pb.GetPriceTableRequest())

    assert (table.version, len(table.prices)) == (PRICES.version, 3)


# --- Reasons -------------------------------------------------------------------------------------


def test_an_item_without_a_price_is_refused(runtime: Stub, account: str) -> None:
    request = _reserve(account, 1, item="model cloud/x")

    assert _reason(runtime.ReserveGas, request) == "PRICE_NOT_FOUND"


def test_an_account_without_a_budget_may_not_spend(runtime: Stub) -> None:
    assert _reason(runtime.ReserveGas, _reserve("agents/poor", 1)) == "BUDGET_MISSING"


def test_a_closed_run_may_not_spend(runtime: Stub, account: str) -> None:
    request = _reserve(account, 1)
    runtime.CloseRun(pb.CloseRunRequest(run=request.run, account=account))

    assert _reason(runtime.ReserveGas, request) == "RUN_CLOSED"


def test_a_hold_above_the_budget_is_refused(runtime: Stub, account: str) -> None:
    assert _reason(runtime.ReserveGas, _reserve(account, 101)) == "BUDGET_EXCEEDED"


def test_a_request_id_stands_for_one_content(runtime: Stub, account: str) -> None:
    request = _reserve(account, 1)
    runtime.ReserveGas(request)
    request.usages[0].amount = 2

    assert _reason(runtime.ReserveGas, request) == "REQUEST_ID_REUSED"


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

    assert _reason(getattr(runtime, method), request) == "HOLD_NOT_FOUND"


def test_a_released_hold_is_not_charged(runtime: Stub, account: str) -> None:
    name = runtime.ReserveGas(_reserve(account, 1)).hold.name
    runtime.ReleaseGas(pb.ReleaseGasRequest(hold=name))

    assert _reason(runtime.SettleGas, pb.SettleGasRequest(hold=name)) == "HOLD_RELEASED"


def test_a_charged_hold_is_not_given_back(runtime: Stub, account: str) -> None:
    name = runtime.ReserveGas(_reserve(account, 1)).hold.name
    runtime.SettleGas(pb.SettleGasRequest(hold=name))

    assert _reason(runtime.ReleaseGas, pb.ReleaseGasRequest(hold=name)) == "HOLD_SETTLED"


def test_an_account_that_never_had_a_budget_is_unknown(runtime: Stub) -> None:
    request = pb.GetBudgetRequest(account="agents/nobody")

    assert _reason(runtime.GetBudget, request) == "ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize(
    ("caller", "origin"),
    [("runtime", pb.Budget.ORIGIN_OPERATOR), ("operator", pb.Budget.ORIGIN_MANIFEST)],
)
def test_nobody_sets_the_budget_of_another_origin(
    grpc_stub_as: StubAs, caller: str, origin: int
) -> None:
    request = pb.SetBudgetRequest(budget=_budget(ACCOUNT, 1, origin=origin))

    assert _reason(grpc_stub_as(caller).SetBudget, request) == "METHOD_DENIED"


def test_an_operator_does_not_spend(grpc_stub: Stub) -> None:
    assert _reason(grpc_stub.ReserveGas, _reserve(ACCOUNT, 1)) == "METHOD_DENIED"


def test_a_stranger_is_refused(
    grpc_create_channel: Callable[[str], grpc.Channel],
) -> None:
    stub = Stub(grpc_create_channel("stolen"))

    assert _reason(stub.GetPriceTable, pb.GetPriceTableRequest()) == "TOKEN_INVALID"


def test_what_a_later_release_brings_says_so(grpc_stub: Stub) -> None:
    assert _reason(grpc_stub.ListReports, pb.ListReportsRequest()) == "NOT_IMPLEMENTED"


# --- Fields --------------------------------------------------------------------------------------

HOLD = f"holds/{uuid.UUID(int=7, version=4)}"
RUN = f"runs/{uuid.UUID(int=7, version=4)}"


def _tokens(amount: int, meter: int = Usage.METER_INPUT_TOKENS) -> Usage:
    return Usage(meter=meter, amount=amount)  # type: ignore[arg-type]  # also unknown ones


def _budget(
    name: str,
    gas_limit: int,
    *,
    origin: int = pb.Budget.ORIGIN_OPERATOR,
    period: int = pb.Budget.PERIOD_DAY,
) -> pb.Budget:
    return pb.Budget(account=name, origin=origin, period=period, gas_limit=gas_limit)  # type: ignore[arg-type]  # also unknown ones


def _reserve(name: str, gas: int, *, item: str = MODEL) -> pb.ReserveGasRequest:
    seed = next(SEEDS)
    run = f"runs/{uuid.UUID(int=1000 + seed, version=4)}"
    return pb.ReserveGasRequest(
        request_id=f"r{seed}", account=name, run=run, item=item, usages=[_tokens(gas)]
    )


def _charge(stub: Stub, name: str, gas: int) -> pb.Hold:
    hold = stub.ReserveGas(_reserve(name, gas)).hold
    return stub.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[_tokens(gas)])).hold


def _entries(stub: Stub) -> list[pb.Entry]:
    entries, token = list[pb.Entry](), ""
    while not entries or token:
        page = stub.ListEntries(pb.ListEntriesRequest(page_size=7, page_token=token))
        entries += page.entries
        token = page.next_page_token
        if not page.entries:
            break
    return entries


def _reserve_with(**changes: object) -> pb.ReserveGasRequest:
    good = {"request_id": "r", "account": ACCOUNT, "run": RUN, "item": MODEL}
    return pb.ReserveGasRequest(**{**good, "usages": [_tokens(1)], **changes})  # type: ignore[arg-type]  # any field


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
    ("ReserveGas", _reserve_with(usages=[_tokens(1)] * 17), "usages"),
    ("ReserveGas", _reserve_with(usages=[_tokens(1), _tokens(2)]), "usages[1].meter"),
    ("ReserveGas", _reserve_with(usages=[_tokens(1, meter=0)]), "usages[0].meter"),
    ("ReserveGas", _reserve_with(usages=[_tokens(1, meter=99)]), "usages[0].meter"),
    ("ReserveGas", _reserve_with(usages=[_tokens(-1)]), "usages[0].amount"),
    ("ReserveGas", _reserve_with(usages=[_tokens(2**53)]), "usages[0].amount"),
    ("SettleGas", pb.SettleGasRequest(hold="holds/1"), "hold"),
    ("SettleGas", pb.SettleGasRequest(hold=HOLD, usages=[_tokens(-1)]), "usages[0].amount"),
    ("ReleaseGas", pb.ReleaseGasRequest(), "hold"),
    ("CloseRun", pb.CloseRunRequest(account=ACCOUNT), "run"),
    ("CloseRun", pb.CloseRunRequest(run=RUN), "account"),
    ("GetReceipt", pb.GetReceiptRequest(run=f"{RUN}\n"), "run"),
    ("QuoteGas", pb.QuoteGasRequest(usages=[_tokens(1)]), "item"),
    ("QuoteGas", pb.QuoteGasRequest(item=MODEL), "usages"),
    ("QuoteGas", pb.QuoteGasRequest(item=MODEL, usages=[_tokens(2**53 - 1)]), "usages"),
    ("GetBudget", pb.GetBudgetRequest(account="agents/Ä"), "account"),
    ("SetBudget", pb.SetBudgetRequest(), "budget"),
    ("SetBudget", pb.SetBudgetRequest(budget=_budget("x", 1)), "budget.account"),
    ("SetBudget", pb.SetBudgetRequest(budget=_budget(ACCOUNT, 0)), "budget.gas_limit"),
    ("SetBudget", pb.SetBudgetRequest(budget=_budget(ACCOUNT, 10**15 + 1)), "budget.gas_limit"),
    ("SetBudget", pb.SetBudgetRequest(budget=_budget(ACCOUNT, 1, origin=9)), "budget.origin"),
    ("SetBudget", pb.SetBudgetRequest(budget=_budget(ACCOUNT, 1, period=0)), "budget.period"),
]
BAD_LISTINGS = [
    (pb.ListUsageRequest(page_size=-1), "page_size"),
    (pb.ListUsageRequest(page_token="?"), "page_token"),
    (pb.ListUsageRequest(page_token=page_token("one")), "page_token"),
    (pb.ListUsageRequest(page_token=page_token("a", "\ud800")), "page_token"),
    (pb.ListUsageRequest(page_token="W1tb" * 4000), "page_token"),
    (pb.ListUsageRequest(account="agents/"), "account"),
]
GOOD_REFUND = pb.RefundGasRequest(request_id="f", hold=HOLD, gas=1, cause="a test")
BAD_REFUNDS = [
    ("request_id", ""),
    ("hold", "holds/1"),
    ("gas", 0),
    ("gas", -1),
    ("gas", 10**15 + 1),
    ("cause", ""),
    ("cause", "x" * 257),
    ("cause", "a\0b"),
]


@pytest.mark.parametrize(("method", "request_", "field"), BAD_FIELDS)
def test_a_bad_field_is_named(
    runtime: Stub,
    method: str,
    request_: object,
    field: str,
) -> None:
    assert _bad_field(getattr(runtime, method), request_) == field


@pytest.mark.parametrize(("request_", "field"), BAD_LISTINGS)
def test_a_bad_field_of_a_listing_is_named(
    grpc_stub: Stub,
    request_: pb.ListUsageRequest,
    field: str,
) -> None:
    assert _bad_field(grpc_stub.ListUsage, request_) == field


@pytest.mark.parametrize(("field", "value"), BAD_REFUNDS)
def test_a_bad_field_of_a_refund_is_named(grpc_stub: Stub, field: str, value: object) -> None:
    request = pb.RefundGasRequest()
    request.CopyFrom(GOOD_REFUND)
    setattr(request, field, value)

    assert _bad_field(grpc_stub.RefundGas, request) == field


@pytest.mark.parametrize("token", ["?", page_token("x"), page_token("-1"), page_token("9" * 19)])
def test_a_bad_token_of_entries_is_named(grpc_stub: Stub, token: str) -> None:
    request = pb.ListEntriesRequest(page_token=token)

    assert _bad_field(grpc_stub.ListEntries, request) == "page_token"


@pytest.mark.parametrize("sequence", [-1, 10**9])
def test_a_watcher_starts_within_the_ledger(grpc_stub: Stub, sequence: int) -> None:
    request = pb.WatchChargesRequest(after_sequence=sequence)

    assert (
        _bad_field(lambda *args, **options: list(grpc_stub.WatchCharges(*args, **options)), request)
        == "after_sequence"
    )


def test_a_run_is_paid_by_one_account(runtime: Stub, account: str) -> None:
    run = _reserve(account, 1).run
    runtime.CloseRun(pb.CloseRunRequest(run=run, account=account))

    request = pb.CloseRunRequest(run=run, account=ACCOUNT)

    assert _bad_field(runtime.CloseRun, request) == "account"


def _reason(method: Callable[..., object], request: object) -> str:
    with pytest.raises(grpc.RpcError) as failed:
        method(request, timeout=20)
    return error_info(failed.value).reason


def _bad_field(method: Callable[..., object], request: object) -> str:
    with pytest.raises(grpc.RpcError) as failed:
        method(request, timeout=20)
    (field,) = bad_request(failed.value)
    return field
