"""Tests of the ledger in the terminal: what is shown, and what a forged chain looks like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import budgets_pb2
from actionvm.gas.v1 import gas_pb2 as pb
from cli.ledger import Anchor, verify

from .conftest import FakeSystem, Invoke
from .gas_fakes import HOLD, at

RUN = "runs/00000000-0000-4000-8000-000000000001"


def chain(count: int) -> list[pb.Entry]:
    """Return a ledger of so many entries."""
    return chained(range(1, count + 1))


def chained(sequences: Iterable[int]) -> list[pb.Entry]:
    """Return entries whose hashes were made here, byte by byte as the contract says."""
    made: list[pb.Entry] = []
    before = bytes(32)
    for sequence in sequences:
        content = (
            '{"cause":"","create_time":"2026-03-31T22:30:00.000000Z",'
            '"credit_account":"providers/local","debit_account":"agents/a","gas":12,'
            f'"hold":"{HOLD}","item":"model local/babbler","kind":"KIND_CHARGE","line":1,'
            f'"price_version":"v1","sequence":{sequence},'
            '"usages":[{"amount":12,"meter":"METER_INPUT_TOKENS"}]}'
        )
        before = hashlib.sha256(before + content.encode()).digest()
        made.append(
            pb.Entry(
                sequence=sequence,
                debit_account="agents/a",
                credit_account="providers/local",
                gas=12,
                chain_hash=before,
                create_time=at("2026-03-31T22:30:00"),
                kind=pb.Entry.KIND_CHARGE,
                hold=HOLD,
                item="model local/babbler",
                usages=[action_pb2.Usage(meter=action_pb2.Usage.METER_INPUT_TOKENS, amount=12)],
                price_version="v1",
                line=1,
            )
        )
    return made


def fee_after(before: bytes, sequence: int) -> pb.Entry:
    """Return an entry of a fee, whose hash was made here as the contract says."""
    content = (
        '{"cause":"","create_time":"2026-03-31T22:30:00.000000Z",'
        '"credit_account":"fees/actionvm","debit_account":"agents/a",'
        f'"fee":{{"currency":"USD","micros":140,"run":"{RUN}"}},"gas":0,'
        '"hold":"","item":"fee actionvm","kind":"KIND_FEE","line":0,'
        f'"price_version":"","sequence":{sequence},"usages":[]}}'
    )
    return pb.Entry(
        sequence=sequence,
        debit_account="agents/a",
        credit_account="fees/actionvm",
        chain_hash=hashlib.sha256(before + content.encode()).digest(),
        create_time=at("2026-03-31T22:30:00"),
        kind=pb.Entry.KIND_FEE,
        item="fee actionvm",
        fee=budgets_pb2.Fee(run=RUN, micros=140, currency="USD"),
    )


FORGERIES: dict[str, Callable[[list[pb.Entry]], object]] = {
    "another amount": lambda entries: setattr(entries[1], "gas", 11),
    "another agent": lambda entries: setattr(entries[1], "debit_account", "agents/b"),
    "another time": lambda entries: entries[1].create_time.FromSeconds(5),
    "another usage": lambda entries: setattr(entries[1].usages[0], "amount", 11),
    "more than can be written": lambda entries: setattr(entries[1], "gas", 2**62),
    "another hash": lambda entries: setattr(entries[1], "chain_hash", bytes(32)),
    "no hash": lambda entries: setattr(entries[1], "chain_hash", b""),
    "one is gone": lambda entries: entries.pop(1),
    "the first is gone": lambda entries: entries.pop(0),
    "two changed places": lambda entries: entries.reverse(),
    "one comes twice": lambda entries: entries.insert(1, entries[0]),
}


def test_a_ledger_as_the_contract_defines_it_has_no_flaw() -> None:
    found = verify(chain(3))

    assert (found.count, found.flaw) == (3, "")
    assert found.head == chain(3)[-1].chain_hash


def test_a_fee_is_covered_by_the_chain() -> None:
    entries = chain(2)
    entries.append(fee_after(entries[-1].chain_hash, 3))
    assert not verify(entries).flaw

    entries[-1].fee.micros += 1
    assert "entry 3 was changed" in verify(entries).flaw


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_ledger_has_a_flaw(forge: Callable[[list[pb.Entry]], object]) -> None:
    entries = chain(3)
    forge(entries)

    assert verify(entries).flaw


def test_a_ledger_that_was_written_without_an_entry_has_a_flaw() -> None:
    assert verify(chained([1, 3])).flaw == "entry 2 is missing: 3 follows"


def test_a_ledger_whose_end_was_cut_off_does_not_reach_what_was_kept() -> None:
    kept = Anchor(3, chain(3)[-1].chain_hash)

    assert "ends before" in verify(chain(2), kept).flaw


def test_a_ledger_that_was_written_anew_is_not_what_was_kept() -> None:
    assert "not what it was" in verify(chain(3), Anchor(2, bytes(32))).flaw


def test_a_ledger_that_grew_is_still_what_was_kept() -> None:
    assert not verify(chain(5), Anchor(3, chain(3)[-1].chain_hash)).flaw


# --- Commands ------------------------------------------------------------------------------------


def test_all_pages_are_verified(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.entries = chain(5)

    result = invoke("gas", "entries", "--verify")

    assert result.exit_code == 0
    assert f"--kept 5:{chain(5)[-1].chain_hash.hex()}" in result.stdout


def test_a_ledger_that_was_changed_exits_with_1(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.entries = chain(3)
    system.gas.entries[1].gas = 1

    result = invoke("gas", "entries", "--verify")

    assert result.exit_code == 1
    assert "entry 2 was changed" in result.stdout


def test_what_was_printed_as_json_is_verified_without_a_service(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    system.gas.entries = chain(5)
    file = tmp_path / "ledger.json"
    file.write_text(invoke("gas", "entries", "--json").stdout)

    nowhere = ("--home", str(tmp_path / "none"))
    result = invoke(*nowhere, "gas", "entries", "--verify", "--file", str(file), "--json")

    assert json.loads(result.stdout)["verified"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"entries": 5}', b"\xff", b'{"rows": []}'])
def test_a_file_without_entries_is_refused(invoke: Invoke, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.json").write_bytes(content)

    result = invoke("gas", "entries", "--file", str(tmp_path / "ledger.json"))

    assert result.exit_code == 2
    assert "FILE_INVALID" in result.stderr


@pytest.mark.parametrize("kept", ["5", "0:" + "a" * 64, "5:" + "a" * 63, "5:" + "g" * 64])
def test_a_hash_that_is_none_is_refused(system: FakeSystem, invoke: Invoke, kept: str) -> None:
    assert invoke("gas", "entries", "--kept", kept).exit_code == 2


def test_the_entries_of_one_agent_are_not_verified(system: FakeSystem, invoke: Invoke) -> None:
    assert invoke("gas", "entries", "fake", "--verify").exit_code == 2


def test_the_last_entries_are_shown(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.entries = chain(5)

    lines = invoke("gas", "entries", "--limit", "2").stdout.splitlines()

    assert [line.split()[0] for line in lines[1:3]] == ["4", "5"]
    assert lines[3].startswith("the last 2;")
    # Two to a page, and one more than is shown.
    assert len(system.gas.requests) == 2


def test_a_refund_counts_against_what_was_charged(system: FakeSystem, invoke: Invoke) -> None:
    back = chain(1)[0]
    back.kind = pb.Entry.KIND_REFUND
    back.debit_account, back.credit_account = back.credit_account, back.debit_account
    system.gas.entries = [back]

    words = invoke("gas", "entries").stdout.splitlines()[1].split()

    assert words[3:5] == ["refund", "a"]
    assert "-12" in words


def test_a_fee_is_shown_in_money(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.entries = [fee_after(bytes(32), 1)]

    words = invoke("gas", "entries").stdout.splitlines()[1].split()

    assert words[3:9] == ["fee", "a", "fee", "actionvm", "0.00014", "USD"]


def test_an_empty_ledger_says_where_to_look(system: FakeSystem, invoke: Invoke) -> None:
    assert "is empty" in invoke("gas", "entries").stdout


def test_a_refund_names_its_cause(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("gas", "refund", HOLD, "30", "--cause", "was down")

    (request,) = system.gas.requests
    assert isinstance(request, pb.RefundGasRequest)
    assert (request.hold, request.gas, request.cause) == (HOLD, 30, "was down")
    assert "70 of the charge are left" in result.stdout


def test_a_refund_of_too_much_names_the_field(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("gas", "refund", HOLD, "101", "--cause", "x", "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["field"] == "gas"


def test_drift_is_shown_in_percent_of_what_the_provider_counted(
    system: FakeSystem, invoke: Invoke
) -> None:
    line = invoke("gas", "drift").stdout.splitlines()[1]

    assert "-5.0%" in line
    assert "7.5%" in line


def test_no_drift_says_why(system: FakeSystem, invoke: Invoke) -> None:
    system.gas.drifts = []

    assert "no provider has counted" in invoke("gas", "drift").stdout
