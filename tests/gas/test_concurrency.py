"""Callers that spend from one account at once must neither overspend nor waste its budget."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from chassis.errors import ServiceError
from gas.errors import BudgetExceeded, HoldReleased, HoldSettled
from gas.ledger import HoldState
from gas.operations import Limit, Release, Reserve, Settle
from gas.writer import Writer
from tests.gas.ledgers import (
    ACCOUNT,
    Ledger,
    budget,
    open_ledger,
    reservation,
    run_name,
    tokens,
)

CALLERS = 6
ROUNDS = 12


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(tmp_path / "gas.db")


@pytest.fixture(params=[1, 4, 1_024], ids="batches of {}".format)
async def writer(ledger: Ledger, request: pytest.FixtureRequest) -> Writer:
    return Writer(ledger.store, batch_max=request.param)


async def test_callers_take_exactly_what_the_budget_has(writer: Writer) -> None:
    await writer.apply(Limit(budget(10 * 40 + 9)))

    async def spend(caller: int) -> int:
        asked = [reservation(f"{caller}/{number}", 10) for number in range(ROUNDS)]
        outcomes = [await _outcome(writer.apply(Reserve(one))) for one in asked]
        return outcomes.count("")

    assert sum(await asyncio.gather(*map(spend, range(CALLERS)))) == 40


async def test_callers_that_settle_never_hold_more_than_the_budget(
    writer: Writer, ledger: Ledger
) -> None:
    await writer.apply(Limit(budget(25)))

    async def spend(caller: int) -> int:
        spent = 0
        for number in range(ROUNDS):
            try:
                asked = reservation(f"{caller}/{number}", 10)
                hold = (await writer.apply(Reserve(asked))).hold
            except BudgetExceeded:
                continue
            spent += (await writer.apply(Settle(hold.name, tokens(2)))).hold.charged_gas
        return spent

    spent = sum(await asyncio.gather(*map(spend, range(CALLERS))))

    assert [found.gas_spent for found in ledger.budgets(ACCOUNT)] == [spent]
    assert spent <= 25
    assert ledger.receipt(run_name(1)).total_gas == spent


async def test_a_request_that_arrives_many_times_at_once_holds_once(
    writer: Writer, ledger: Ledger
) -> None:
    await writer.apply(Limit(budget(1000)))
    asked = (writer.apply(Reserve(reservation("r", 10))) for _ in range(CALLERS))

    answers = await asyncio.gather(*asked)

    assert len({held.hold.name for held in answers}) == 1
    assert ledger.budgets(ACCOUNT)[0].gas_spent == 10


async def test_either_the_settlement_or_the_release_wins(writer: Writer, ledger: Ledger) -> None:
    await writer.apply(Limit(budget(1000)))
    name = (await writer.apply(Reserve(reservation("r", 10)))).hold.name
    ends = [Settle(name, tokens(4)), Release(name)] * CALLERS

    outcomes = set(await asyncio.gather(*(_outcome(writer.apply(end)) for end in ends)))

    state = ledger.reserve(reservation("r", 10)).state
    loser = HoldSettled.reason if state is HoldState.SETTLED else HoldReleased.reason
    assert outcomes == {"", loser}
    assert ledger.budgets(ACCOUNT)[0].gas_spent == (4 if state is HoldState.SETTLED else 0)


async def test_a_caller_that_goes_away_does_not_take_its_batch_with_it(
    writer: Writer, ledger: Ledger
) -> None:
    await writer.apply(Limit(budget(1000)))
    asked = [
        asyncio.ensure_future(writer.apply(Reserve(reservation(f"r{number}", 10))))
        for number in range(CALLERS)
    ]
    await asyncio.sleep(0)
    asked[0].cancel()

    outcomes = await asyncio.gather(*asked, return_exceptions=True)

    assert sum(isinstance(outcome, BaseException) for outcome in outcomes) == 1


async def _outcome(call: Awaitable[object]) -> str:
    try:
        await call
    except ServiceError as error:
        return error.reason
    return ""
