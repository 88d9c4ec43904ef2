"""What was acknowledged is there after a kill, and what is repeated does not count twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gas.entries import first_break
from gas.ledger import HoldState
from tests.gas.ledgers import ACCOUNT, Ledger, open_ledger, run_name
from tests.gas.spender import CHARGED, HELD, request

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = range(1, 4)
STATES = {"settled": HoldState.SETTLED, "released": HoldState.RELEASED}


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, dict[int, list[str]]]:
    """Return the ledger after some kills, and what the killed processes had been told."""
    path = tmp_path_factory.mktemp("ledger") / "gas.db"
    told = {number: _spend_and_kill(path, number, lines=20 + 7 * number) for number in ROUNDS}
    return open_ledger(path), told


def test_every_acknowledged_hold_is_there(
    rounds: tuple[Ledger, dict[int, list[str]]],
) -> None:
    store, told = rounds
    for round_number, lines in told.items():
        for verb, number, *name in map(str.split, lines):
            if verb == "reserved":
                hold = store.reserve(request(round_number, int(number)))
                assert hold.name == name[0]


def test_every_acknowledged_end_is_there(
    rounds: tuple[Ledger, dict[int, list[str]]],
) -> None:
    store, told = rounds
    for round_number, lines in told.items():
        for verb, number, *_ in map(str.split, lines):
            if verb != "reserved":
                hold = store.reserve(request(round_number, int(number)))
                assert hold.state is STATES[verb]


def test_repeating_everything_changes_nothing_but_the_last_unanswered_request(
    rounds: tuple[Ledger, dict[int, list[str]]],
) -> None:
    store, told = rounds
    spent = 0
    for round_number, lines in told.items():
        # One more than it was told about: the kill may have come between commit and answer.
        last = int(lines[-1].split()[1]) + 1
        holds = [store.reserve(request(round_number, number)) for number in range(last + 1)]
        assert len({hold.name for hold in holds}) == len(holds)
        spent += sum(hold.gas_spent for hold in holds)

    assert store.budgets(ACCOUNT)[0].gas_spent == spent


def test_a_receipt_after_a_kill_has_every_acknowledged_charge(
    rounds: tuple[Ledger, dict[int, list[str]]],
) -> None:
    store, told = rounds
    for round_number, lines in told.items():
        settled = sum(line.startswith("settled") for line in lines)
        charges = store.receipt(run_name(round_number)).charges
        assert len(charges) in {settled, settled + 1}
        assert {charge.gas for charge in charges} == {CHARGED}


def test_closing_a_run_after_a_kill_gives_its_open_holds_back(tmp_path: Path) -> None:
    path = tmp_path / "gas.db"
    lines = _spend_and_kill(path, 1, lines=20)
    store = open_ledger(path)
    before = store.budgets(ACCOUNT)[0].gas_spent

    receipt = store.close_run(run_name(1), ACCOUNT)

    assert store.budgets(ACCOUNT)[0].gas_spent == receipt.total_gas < before
    assert before <= receipt.total_gas + HELD * len(lines)


@pytest.mark.parametrize("lines", [10, 137, 400, 999])
def test_a_kill_during_group_commit_loses_nothing_and_doubles_nothing(
    tmp_path: Path, lines: int
) -> None:
    path, callers = tmp_path / "gas.db", 32
    told = _spend_and_kill(path, 1, lines=lines, callers=callers)
    store = open_ledger(path)
    before = store.budgets(ACCOUNT)[0].gas_spent

    # More than it was told about: the kill may have come between a commit and its answers.
    last = max(int(line.split()[1]) for line in told) + callers
    asked = {number: request(1, number) for number in range(last + 1)}
    holds = {number: store.reserve(one) for number, one in asked.items()}

    for verb, number, *name in map(str.split, told):
        hold = holds[int(number)]
        assert hold.name == name[0] if name else hold.state is STATES[verb]
    found = store.store.entries(0, limit=10_000)
    charged = [hold for hold in holds.values() if hold.state is HoldState.SETTLED]
    assert first_break(found) is None
    assert sorted(entry.hold for entry in found) == sorted(hold.name for hold in charged)
    spent = sum(hold.gas_spent for hold in holds.values())
    assert store.budgets(ACCOUNT)[0].gas_spent == spent
    # What this test reserved itself was not there before.
    assert (spent - before) % HELD == 0


def _spend_and_kill(
    path: Path, round_number: int, *, lines: int, callers: int | None = None
) -> list[str]:
    """Return the lines that a spender wrote before it was killed."""
    command = [sys.executable, "-m", "tests.gas.spender", str(path), str(round_number)]
    command += [str(callers)] if callers else []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    # The kill may have cut the last line.
    whole = [line for line in told if line.endswith("\n")]
    assert len(whole) >= lines
    return whole
