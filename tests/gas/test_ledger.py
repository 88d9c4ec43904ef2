"""Holds become what the contract says, and receipts have exactly the documented bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from chassis.errors import InvalidField
from gas import ledger
from gas.errors import HoldOpen
from gas.ledger import Charge, Consumption, Hold, HoldState, Receipt
from gas.prices import Meter, Tariff, Usage
from tests.gas.ledgers import ACCOUNT, MODEL, reservation, tokens

NOW = datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)
HOLD = Hold(
    name="holds/1",
    reservation=reservation("r", 10),
    tariff=Tariff("v", {Meter.INPUT_TOKENS: 1000}),
    gas=10,
    create_time=NOW,
    expire_time=NOW + ledger.HOLD_LIFE,
)


def test_a_charge_is_cut_to_its_hold() -> None:
    assert ledger.settle(HOLD, tokens(11), now=NOW).charged_gas == 10


def test_a_settled_hold_spends_its_charge_alone() -> None:
    assert ledger.settle(HOLD, tokens(3), now=NOW).gas_spent == 3


def test_a_hold_that_stays_open_spends_all_of_it_and_charges_a_part() -> None:
    hold = ledger.settle(HOLD, tokens(3), now=NOW, keep_open=True)

    assert (hold.state, hold.gas_spent, hold.charged_gas) == (HoldState.OPEN, 10, 3)


def test_settling_with_keep_open_gives_another_life() -> None:
    later = NOW + timedelta(minutes=50)

    hold = ledger.settle(HOLD, tokens(3), now=later, keep_open=True)

    assert hold.expire_time == later + ledger.HOLD_LIFE


def test_a_report_that_comes_late_does_not_take_a_charge_back() -> None:
    hold = ledger.settle(HOLD, tokens(7), now=NOW, keep_open=True)

    assert ledger.settle(hold, tokens(3), now=NOW, keep_open=True).charged_gas == 7


def test_an_expired_hold_is_charged_in_full() -> None:
    assert ledger.expire(HOLD).charged_gas == 10


def test_a_late_settlement_corrects_the_charge_of_an_expired_hold() -> None:
    hold = ledger.settle(ledger.expire(HOLD), tokens(3), now=NOW)

    assert (hold.state, hold.charged_gas) == (HoldState.SETTLED, 3)


def test_a_release_leaves_what_was_reported() -> None:
    hold = ledger.settle(HOLD, tokens(3), now=NOW, keep_open=True)

    released = ledger.release(ledger.expire(hold))

    assert (released.state, released.charged_gas) == (HoldState.RELEASED, 3)


def test_no_more_is_refunded_than_was_charged() -> None:
    hold = ledger.refund(ledger.settle(HOLD, tokens(7), now=NOW), 5)

    with pytest.raises(InvalidField):
        ledger.refund(hold, 3)


def test_what_may_still_be_charged_is_not_refunded() -> None:
    with pytest.raises(HoldOpen):
        ledger.refund(ledger.expire(HOLD), 1)


def test_a_receipt_has_the_documented_bytes() -> None:
    usages = (Usage(Meter.OUTPUT_TOKENS, 2), Usage(Meter.INPUT_TOKENS, 12))
    receipt = Receipt(
        "runs/1", ACCOUNT, (Charge(MODEL, usages, 16, "abc"), Charge("action x", (), 1, "abc"))
    )

    assert receipt.canonical == (
        b'{"account":"agents/market-brief","charges":['
        b'{"gas":16,"item":"model local/babbler","line":1,"price_version":"abc","usages":'
        b'[{"amount":2,"meter":"METER_OUTPUT_TOKENS"},{"amount":12,"meter":"METER_INPUT_TOKENS"}]},'
        b'{"gas":1,"item":"action x","line":2,"price_version":"abc","usages":[]}],'
        b'"run":"runs/1","total_gas":17}'
    )


def test_an_empty_receipt_has_every_key() -> None:
    content = json.loads(Receipt("runs/1", "", ()).canonical)

    assert content == {"run": "runs/1", "account": "", "charges": [], "total_gas": 0}


def test_sums_of_amounts_stop_before_they_overflow() -> None:
    full = (Usage(Meter.INPUT_TOKENS, ledger.AMOUNT_SUM_MAX - 1),)
    summed = ledger.consume(Consumption(ACCOUNT, MODEL, full), tokens(2), 2, is_first=True)

    assert summed.usages == (Usage(Meter.INPUT_TOKENS, ledger.AMOUNT_SUM_MAX),)
