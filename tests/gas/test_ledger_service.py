"""Entries, refunds and the stream of charges over real gRPC."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest

from actionvm.action.v1.action_pb2 import Usage
from actionvm.gas.v1 import gas_pb2 as pb
from chassis.canonical import canonical_json
from chassis.fields import page_token
from tests.gas.calls import Stub, bad_field, charge, entries, reason, reserve, used

HOLD = f"holds/{uuid.UUID(int=7, version=4)}"
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


def test_a_stream_is_charged_as_it_goes(runtime: Stub, account: str) -> None:
    hold = runtime.ReserveGas(reserve(account, 30)).hold
    for amount in (5, 12, 12):
        request = pb.SettleGasRequest(hold=hold.name, usages=[used(amount)], keep_open=True)
        kept = runtime.SettleGas(request).hold
        assert (kept.state, kept.charged_gas) == (pb.Hold.STATE_OPEN, amount)

    settled = runtime.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[used(20)])).hold

    assert (settled.state, settled.charged_gas) == (pb.Hold.STATE_SETTLED, 20)
    assert runtime.GetReceipt(pb.GetReceiptRequest(run=hold.run)).receipt.total_gas == 20


def test_a_refund_can_be_spent_again_and_leaves_the_receipt(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    hold = charge(runtime, account, 80)
    refund = pb.RefundGasRequest(request_id=f"f{hold.name}", hold=hold.name, gas=50, cause="bad")

    refunded = [grpc_stub.RefundGas(refund).hold.refunded_gas for _ in range(2)]

    assert refunded == [50, 50]
    assert runtime.GetBudget(pb.GetBudgetRequest(account=account)).gas_available == 70
    assert runtime.GetReceipt(pb.GetReceiptRequest(run=hold.run)).receipt.total_gas == 80


def test_a_refund_id_stands_for_one_content(grpc_stub: Stub, runtime: Stub, account: str) -> None:
    hold = charge(runtime, account, 80)
    refund = pb.RefundGasRequest(request_id=f"f{hold.name}", hold=hold.name, gas=50, cause="bad")
    grpc_stub.RefundGas(refund)
    refund.gas = 1

    assert reason(grpc_stub.RefundGas, refund) == "REQUEST_ID_REUSED"


def test_what_may_still_be_charged_is_not_refunded(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    hold = runtime.ReserveGas(reserve(account, 30)).hold
    refund = pb.RefundGasRequest(request_id=hold.name, hold=hold.name, gas=1, cause="bad")

    assert reason(grpc_stub.RefundGas, refund) == "HOLD_OPEN"


def test_entries_can_be_verified_from_their_fields(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    for gas in (3, 4):
        hold = charge(runtime, account, gas)
    grpc_stub.RefundGas(
        pb.RefundGasRequest(request_id=hold.name, hold=hold.name, gas=1, cause='zu spät "')
    )

    before = bytes(32)
    for sequence, entry in enumerate(entries(grpc_stub), start=1):
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
    hold = charge(runtime, account, 7)
    grpc_stub.RefundGas(
        pb.RefundGasRequest(request_id=hold.name, hold=hold.name, gas=2, cause="bad")
    )

    moves = [
        (entry.debit_account, entry.credit_account, entry.gas)
        for entry in grpc_stub.ListEntries(pb.ListEntriesRequest(account=account)).entries
    ]

    assert moves == [(account, "providers/local", 7), ("providers/local", account, 2)]


def test_entries_are_listed_newest_first_in_pages(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    for _ in range(8):
        charge(runtime, account, 1)

    for wanted in ("", account):
        found = entries(grpc_stub, wanted, newest_first=True)
        assert len(found) >= 8
        assert found == entries(grpc_stub, wanted)[::-1]


def test_a_watcher_sees_every_entry_once_also_those_that_come_later(
    grpc_stub: Stub, runtime: Stub, account: str
) -> None:
    start = len(entries(grpc_stub))
    charge(runtime, account, 1)
    watch: Any = grpc_stub.WatchCharges(pb.WatchChargesRequest(after_sequence=start), timeout=20)
    seen = [next(watch)]
    for gas in (2, 3):
        charge(runtime, account, gas)
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
    watch: Any = grpc_stub.WatchCharges(pb.WatchChargesRequest(after_sequence=0))

    charged = [charge(runtime, account, 1).charged_gas for _ in range(30)]

    watch.cancel()
    assert charged == [1] * 30


@pytest.mark.parametrize(("field", "value"), BAD_REFUNDS)
def test_a_bad_field_of_a_refund_is_named(grpc_stub: Stub, field: str, value: object) -> None:
    request = pb.RefundGasRequest()
    request.CopyFrom(GOOD_REFUND)
    setattr(request, field, value)

    assert bad_field(grpc_stub.RefundGas, request) == field


@pytest.mark.parametrize("token", ["?", page_token("x"), page_token("-1"), page_token("9" * 19)])
def test_a_bad_token_of_entries_is_named(grpc_stub: Stub, token: str) -> None:
    request = pb.ListEntriesRequest(page_token=token)

    assert bad_field(grpc_stub.ListEntries, request) == "page_token"


@pytest.mark.parametrize("sequence", [-1, 10**9])
def test_a_watcher_starts_within_the_ledger(grpc_stub: Stub, sequence: int) -> None:
    request = pb.WatchChargesRequest(after_sequence=sequence)

    def watch(asked: pb.WatchChargesRequest, *, timeout: float) -> list[object]:
        return list(grpc_stub.WatchCharges(asked, timeout=timeout))

    assert bad_field(watch, request) == "after_sequence"
