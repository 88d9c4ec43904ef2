"""Tests of receipts and their check, and of how messages become JSON and text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import gas_pb2
from cli.output import clean, to_json
from cli.receipt import find_flaw

from .conftest import FakeSystem, Invoke
from .fakes import RUN, make_receipt, receipt_key

CALLED = "runs/11111111-2222-4333-8444-555555555555"
CALL = f"agent translator/{CALLED.removeprefix('runs/')}"
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


# --- Runs that were called, and files ------------------------------------------------------------


@pytest.fixture
def calling(system: FakeSystem) -> FakeSystem:
    """Return a system whose run called another one."""
    system.runtime.receipts = {RUN: make_receipt(item=CALL), CALLED: make_receipt(CALLED)}
    return system


@pytest.fixture
def file(calling: FakeSystem, invoke: Invoke, tmp_path: Path) -> Path:
    """Return a file with the receipts of both."""
    path = tmp_path / "receipt.json"
    path.write_text(invoke("show", RUN, "--json").stdout)
    return path


def test_a_run_is_shown_with_the_receipts_of_the_runs_that_it_called(
    calling: FakeSystem, invoke: Invoke
) -> None:
    output = invoke("show", RUN).stdout

    assert f"    {CALLED}" in output
    assert output.count("✓ signature verified") == 2


def test_a_called_run_that_this_runtime_never_had_is_a_line_all_the_same(
    calling: FakeSystem, invoke: Invoke
) -> None:
    del calling.runtime.receipts[CALLED]

    result = invoke("show", RUN)

    assert result.exit_code == 0
    assert CALL in result.stdout


def test_a_line_that_is_not_the_total_of_the_called_run_is_a_flaw() -> None:
    receipt = make_receipt(item=CALL)

    assert not find_flaw(receipt, KEY, {CALLED: 7})
    assert CALLED in find_flaw(receipt, KEY, {CALLED: 8})


def test_a_file_is_verified_without_a_service(invoke: Invoke, file: Path, tmp_path: Path) -> None:
    nowhere = ("--home", str(tmp_path / "none"))

    found = json.loads(invoke(*nowhere, "verify", str(file), "--key", KEY.hex(), "--json").stdout)

    assert found == {"verified": True, "flaws": {}, "missing": [], "key": KEY.hex()}


def test_without_a_key_this_system_says_which_one_it_signs_with(invoke: Invoke, file: Path) -> None:
    assert json.loads(invoke("verify", str(file), "--json").stdout)["key"] == KEY.hex()


def test_a_file_that_was_changed_exits_with_1(invoke: Invoke, file: Path) -> None:
    file.write_text(file.read_text().replace('"total_gas": 7', '"total_gas": 6'))

    assert invoke("verify", str(file)).exit_code == 1


def test_a_receipt_that_is_not_in_the_file_is_named(
    calling: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    del calling.runtime.receipts[CALLED]
    (tmp_path / "one.json").write_text(invoke("show", RUN, "--json").stdout)

    assert (
        f"{CALLED}, which was called, is not in"
        in invoke("verify", str(tmp_path / "one.json")).stdout
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"5",
        b"{}",
        b'{"receipt": 5}',
        b'{"receipt": {}, "called": 5}',
        b'{"receipt": {}, "called": [5]}',
        b'{"receipt": {"gas": 1}}',
        b"[" * 100_000,
    ],
    ids=range(10),
)
def test_a_file_without_a_receipt_is_refused(
    invoke: Invoke, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "receipt.json").write_bytes(content)

    result = invoke("verify", str(tmp_path / "receipt.json"), "--key", KEY.hex())

    assert result.exit_code == 2
    assert "FILE_INVALID" in result.stderr


@pytest.mark.parametrize("key", ["short", "ab" * 31, "zz" * 32])
def test_a_key_that_is_none_is_refused(invoke: Invoke, file: Path, key: str) -> None:
    assert invoke("verify", str(file), "--key", key).exit_code == 2


# --- Texts ---------------------------------------------------------------------------------------


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
            "tenant": "",
            "day": "",
        }
    ]


@given(text=st.text())
def test_cleaned_text_steers_no_terminal(text: str) -> None:
    assert all(letter >= " " or letter in "\t\n" for letter in clean(text))
