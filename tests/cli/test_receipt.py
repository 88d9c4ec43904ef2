"""Tests of the check of receipts, and of how messages become JSON and text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import gas_pb2
from cli.output import clean, to_json
from cli.receipt import find_flaw

from .fakes import make_receipt, receipt_key

KEY = receipt_key().public_key().public_bytes_raw()

FORGERIES: dict[str, Callable[[action_pb2.Receipt], object]] = {
    "another total": lambda receipt: setattr(receipt, "total_gas", 6),
    "another account": lambda receipt: setattr(receipt, "account", "agents/other"),
    "another run": lambda receipt: setattr(receipt, "run", "runs/other"),
    "another amount": lambda receipt: setattr(receipt.charges[0].usages[0], "amount", 11),
    "another item": lambda receipt: setattr(receipt.charges[0], "item", "action x"),
    "another digest": lambda receipt: setattr(receipt.digest, "sha256", "0" * 64),
    "a free line": lambda receipt: receipt.charges.add(line=2, item="gift"),
    "no signature": lambda receipt: receipt.ClearField("signature"),
    "an empty signature": lambda receipt: setattr(receipt.signature, "value", b""),
    "another signature": lambda receipt: setattr(receipt.signature, "value", b"s" * 64),
}


def test_a_genuine_receipt_has_no_flaw() -> None:
    assert not find_flaw(make_receipt(), KEY)


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_receipt_has_a_flaw(forge: Callable[[action_pb2.Receipt], object]) -> None:
    receipt = make_receipt()
    forge(receipt)

    assert find_flaw(receipt, KEY)


@pytest.mark.parametrize("key", [b"", b"short", b"k" * 32])
def test_a_receipt_of_another_key_has_a_flaw(key: bytes) -> None:
    assert find_flaw(make_receipt(), key)


def test_whole_numbers_are_numbers_wherever_they_stand() -> None:
    row = gas_pb2.UsageRow(gas=2**62, usages=[action_pb2.Usage(amount=3)])

    found = to_json(gas_pb2.ListUsageResponse(rows=[row]))

    assert found["rows"] == [
        {
            "account": "",
            "item": "",
            "usages": [{"meter": "METER_UNSPECIFIED", "amount": 3}],
            "gas": 2**62,
            "charge_count": 0,
        }
    ]


@given(text=st.text())
def test_cleaned_text_steers_no_terminal(text: str) -> None:
    assert all(letter >= " " or letter in "\t\n" for letter in clean(text))
