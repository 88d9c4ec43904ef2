"""Bills, webhooks and deliveries are kept alike in SQLite and in PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from chassis.errors import InvalidField
from gas.chain import Caller
from gas.entries import Fee, first_break
from gas.errors import LedgerFenced
from gas.ledger import Reservation
from gas.market.events import Happening, happening_of
from gas.market.fees import MICROS_MAX, Dao, FeeSchedule, Holding, Payout
from gas.market.operations import (
    AddWebhook,
    DropWebhook,
    Enqueue,
    MakeBill,
    Record,
    Replay,
    SetDao,
    SetFees,
)
from gas.market.store import MarketStore
from gas.market.webhooks import Delivery, DeliveryState
from gas.operations import Close, Operation, Publish
from gas.price_schedule import Update
from gas.prices import PriceTable, Rate
from gas.usage_report import UsageQuery
from tests.gas.ledgers import (
    ACCOUNT,
    MODEL,
    PRICES,
    HandSetClock,
    Ledger,
    budget,
    open_ledger,
    reservation,
    run_name,
    tokens,
)

DAO = "daos/d"
HOOK = "webhooks/00000000-0000-5000-8000-000000000001"
USAGE = (UsageQuery(), None, 9)
OTHER_HOOK = "webhooks/00000000-0000-5000-8000-000000000002"


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    ledger = open_ledger(engine=engine)
    ledger.set_budget(budget(10**9))
    return ledger


def test_a_bill_is_what_it_was_after_another_opens_the_ledger(
    ledger: Ledger, engine: Engine
) -> None:
    _set_fees(ledger, creator_fee_micros=10)
    made = ledger.apply(MakeBill(_closed_run(ledger, 1, 1_000), "MAGNET"))
    _set_fees(ledger, creator_fee_micros=20)

    assert open_ledger(engine=engine).apply(MakeBill(made.run, "")) == made
    assert made.price.payouts == (Payout("a", 4), Payout("b", 6))


def test_a_bill_and_its_event_are_written_together_and_once(ledger: Ledger) -> None:
    run = _closed_run(ledger, 1, 10)
    before = ledger.store.last_offset()

    outcomes = ledger.store.apply([MakeBill(run, ""), MakeBill(run, "ETH"), MakeBill(run, "")])

    assert outcomes[0] == outcomes[1] == outcomes[2]
    # What its gas costs, and that it was billed.
    assert ledger.store.last_offset() == before + 2


def test_what_a_user_pays_for_a_run_is_in_the_ledger(ledger: Ledger) -> None:
    _set_fees(ledger, creator_fee_micros=10, service_cost_micros=50, commission_basis_points=1_000)
    run = _closed_run(ledger, 1, 1_000)
    price = ledger.apply(MakeBill(run, "MAGNET")).price

    entries = ledger.store.entries(0, limit=9)

    # A tenth of 1,000, and 50; 10; a tenth of 160, of which 5 basis points are less than one.
    assert [(entry.credit_account, entry.fee) for entry in entries[1:]] == [
        ("fees/actionvm", Fee(run, 150, "USD")),
        (DAO, Fee(run, 10, "USD")),
        ("fees/marketplace", Fee(run, 16, "USD")),
    ]
    assert {entry.debit_account for entry in entries} == {ACCOUNT}
    assert sum(entry.fee.micros for entry in entries if entry.fee) == price.total_micros
    assert first_break(entries) is None
    forged = replace(entries[3], fee=Fee(run, 15, "USD"))
    assert first_break([*entries[:3], forged]) == 4


def test_money_moves_no_gas(ledger: Ledger) -> None:
    _set_fees(ledger, creator_fee_micros=10)
    run = _closed_run(ledger, 1, 1_000)
    before = (ledger.budgets(ACCOUNT), ledger.receipt(run), ledger.store.usage(*USAGE))
    ledger.apply(MakeBill(run, ""))

    assert (ledger.budgets(ACCOUNT), ledger.receipt(run), ledger.store.usage(*USAGE)) == before


def test_a_run_that_costs_nothing_has_no_fees_in_the_ledger(ledger: Ledger) -> None:
    ledger.close_run(run_name(1), ACCOUNT)
    ledger.apply(MakeBill(run_name(1), ""))

    assert ledger.store.entries(0, limit=9) == []


def test_a_run_that_is_being_closed_is_billed_after_that(ledger: Ledger) -> None:
    hold = ledger.reserve(reservation("r", 10))
    ledger.settle(hold.name, tokens(3), keep_open=True)
    bill: Operation[object] = MakeBill(run_name(1), "")

    _, refused = ledger.store.apply([Close(run_name(1), ACCOUNT), bill])

    assert str(refused) == f"{run_name(1)} may still spend; close it first"
    assert ledger.apply(MakeBill(run_name(1), "")).price.gas == 3


def test_a_bill_has_what_runs_spent_that_were_called_through_others(ledger: Ledger) -> None:
    for name in ("agents/b", "agents/c"):
        ledger.set_budget(budget(10**9, account=name))
    _charge(ledger, "r1", ACCOUNT, 1, 100)
    _charge(ledger, "r2", "agents/b", 2, 20, Caller(ACCOUNT, run_name(1)))
    chain = (Caller(ACCOUNT, run_name(1)), Caller("agents/b", run_name(2)))
    hold = _charge(ledger, "r3", "agents/c", 3, 3, *chain)
    ledger.close_run(run_name(1), ACCOUNT)
    ledger.refund("f", hold, 1)

    assert ledger.apply(MakeBill(run_name(1), "")).price.gas == 122
    assert ledger.receipt(run_name(1)).total_gas == 123


def test_gas_has_the_rate_of_the_prices_at_which_it_was_charged(engine: Engine) -> None:
    clock = HandSetClock()
    ledger = open_ledger(engine=engine, clock=clock)
    ledger.set_budget(budget(10**9))
    _charge(ledger, "r1", ACCOUNT, 1, 11)
    clock.advance(timedelta(seconds=1))
    _publish(ledger, Rate(300, "USD"))
    _charge(ledger, "r2", ACCOUNT, 1, 11)
    ledger.close_run(run_name(1), ACCOUNT)
    _publish(ledger, Rate(10**6, "USD"))

    price = ledger.apply(MakeBill(run_name(1), "")).price

    # 1.1 up, and 3.3 up; what the rate is by now is nobody's price.
    assert (price.gas, price.actionvm_micros, price.rate) == (22, 2 + 4, Rate(300, "USD"))


def test_gas_that_was_charged_in_several_currencies_has_the_rate_of_now(ledger: Ledger) -> None:
    _charge(ledger, "r1", ACCOUNT, 1, 11)
    _publish(ledger, Rate(300, "EUR"))
    _charge(ledger, "r2", ACCOUNT, 1, 11)
    ledger.close_run(run_name(1), ACCOUNT)

    price = ledger.apply(MakeBill(run_name(1), "")).price

    # 6.6 up.
    assert (price.actionvm_micros, price.rate) == (7, Rate(300, "EUR"))


def test_money_that_cannot_be_counted_is_no_bill(engine: Engine) -> None:
    prices = PriceTable(PRICES.gas_per_thousand, rate=Rate(10**9, "USD"))
    ledger = open_ledger(engine=engine, prices=prices)
    ledger.set_budget(budget(10**15))
    run = _closed_run(ledger, 1, 10**14)

    with pytest.raises(InvalidField, match="lower the rate") as refused:
        ledger.apply(MakeBill(run, ""))

    assert refused.value.field == "run"
    assert ledger.store.events(after_offset=2, limit=9) == []


def test_sums_of_payouts_stop_where_numbers_do(engine: Engine) -> None:
    prices = PriceTable(PRICES.gas_per_thousand, rate=Rate(10**9, "USD"))
    ledger = open_ledger(engine=engine, prices=prices)
    ledger.set_budget(budget(10**15))
    _set_fees(ledger, creator_basis_points=100_000)
    for number in (1, 2):
        ledger.apply(MakeBill(_closed_run(ledger, number, 8 * 10**11), ""))

    _, paid = MarketStore(ledger.store).dao(DAO)

    # Two fifths and three fifths of twice 8 * 10^18.
    assert paid == [Payout("a", 64 * 10**17), Payout("b", MICROS_MAX)]


def test_a_refused_bill_leaves_nothing_behind(ledger: Ledger) -> None:
    before = ledger.store.last_offset()
    _charge(ledger, "r", ACCOUNT, 1, 5)

    outcomes = ledger.store.apply([MakeBill(run_name(1), ""), MakeBill(run_name(2), "")])

    assert [type(outcome).__name__ for outcome in outcomes] == ["RunOpen", "RunNotFound"]
    assert ledger.store.last_offset() == before + 1


def test_deliveries_are_kept_and_come_in_order(ledger: Ledger, engine: Engine) -> None:
    market = _with_events(ledger, 3)
    first = market.next_delivery(HOOK, ACCOUNT)
    assert first is not None
    done = replace(first, state=DeliveryState.DELIVERED, acknowledge_time=first.next_attempt_time)
    ledger.apply(Record(done))
    later = MarketStore(open_ledger(engine=engine).store)
    second = later.next_delivery(HOOK, ACCOUNT)

    assert second is not None
    assert (first.offset, second.offset) == (1, 2)
    assert later.waiting_accounts(HOOK) == [ACCOUNT]
    assert next(one for one, _ in _all(later)) == done
    assert later.progress(later.webhook(HOOK)).done_offset == 1


def test_a_dead_delivery_counts_once_it_is_passed(ledger: Ledger) -> None:
    market = _with_events(ledger, 3)
    for offset, state in ((1, DeliveryState.DEAD), (3, DeliveryState.DEAD)):
        ledger.apply(Record(_delivery(market, offset, state)))

    progress = market.progress(market.webhook(HOOK))

    assert (progress.done_offset, progress.dead_count) == (1, 1)


def test_what_is_replayed_waits_for_what_comes_before_it(ledger: Ledger) -> None:
    market = _with_events(ledger, 3)
    ledger.apply(Replay(HOOK, 0))

    assert market.next_delivery(HOOK, ACCOUNT) is None
    assert market.progress(market.webhook(HOOK)).done_offset == 0
    happenings = list(map(happening_of, ledger.store.events(after_offset=0, limit=2)))
    ledger.apply(Enqueue(HOOK, happenings, 2))
    again = market.next_delivery(HOOK, ACCOUNT)
    assert again is not None
    assert again.offset == 1


def test_a_replay_never_leaps_over_what_was_not_queued(ledger: Ledger) -> None:
    market = _with_events(ledger, 1)
    _charge(ledger, "late", ACCOUNT, 50, 1)

    ledger.apply(Replay(HOOK, 2))

    assert market.webhook(HOOK).queued_offset == 1


def test_reports_come_in_order_and_in_pages(ledger: Ledger) -> None:
    market = _with_events(ledger, 2)
    ledger.apply(AddWebhook("other", OTHER_HOOK, "https://m.example/", (), ""))
    ledger.apply(Replay(OTHER_HOOK, 0))
    happenings = list(map(happening_of, ledger.store.events(after_offset=0, limit=2)))
    ledger.apply(Enqueue(OTHER_HOOK, happenings, 2))

    keys = [(one.offset, one.webhook) for one, _ in _all(market)]

    assert keys == [(1, HOOK), (1, OTHER_HOOK), (2, HOOK), (2, OTHER_HOOK)]
    page = market.deliveries(webhook="", state=None, after=keys[1], limit=9)
    assert [(one.offset, one.webhook) for one, _ in page] == keys[2:]
    ledger.apply(DropWebhook(OTHER_HOOK))
    assert {one.webhook for one, _ in _all(market)} == {HOOK}


def test_who_lost_the_ledger_marks_nothing(ledger: Ledger, engine: Engine) -> None:
    market = _with_events(ledger, 1)
    open_ledger(engine=engine)

    with pytest.raises(LedgerFenced):
        ledger.apply(Record(_delivery(market, 1, DeliveryState.DELIVERED)))

    assert _delivery(market, 1, DeliveryState.PENDING) in [one for one, _ in _all(market)]


def test_a_webhook_starts_after_what_its_own_batch_wrote(ledger: Ledger) -> None:
    hold = ledger.reserve(reservation("r", 1))
    settle: list[Operation[object]] = [
        Close(run_name(1), ACCOUNT),
        AddWebhook("hook", HOOK, "https://m.example/", (), ""),
    ]
    ledger.settle(hold.name, tokens(1))

    _, webhook = ledger.store.apply(settle)

    assert getattr(webhook, "queued_offset", None) == ledger.store.last_offset() == 2


def _set_fees(ledger: Ledger, **fees: int) -> None:
    ledger.apply(SetDao(Dao(DAO, (Holding("a", 2), Holding("b", 3)))))
    ledger.apply(SetFees(FeeSchedule(ACCOUNT, dao=DAO, discounts={"MAGNET": 5}, **fees)))


def _publish(ledger: Ledger, rate: Rate) -> None:
    table = PriceTable(PRICES.gas_per_thousand, rate=rate)
    update = Update(f"{rate}", table, has_rate=True, effective_time=None)
    ledger.apply(Publish(update))


def _closed_run(ledger: Ledger, number: int, gas: int) -> str:
    _charge(ledger, f"run {number}", ACCOUNT, number, gas)
    ledger.close_run(run_name(number), ACCOUNT)
    return run_name(number)


def _charge(
    ledger: Ledger, request_id: str, account: str, run: int, gas: int, *callers: Caller
) -> str:
    asked = Reservation(request_id, account, run_name(run), MODEL, tokens(gas), callers)
    return ledger.settle(ledger.reserve(asked).name, tokens(gas)).name


def _with_events(ledger: Ledger, size: int) -> MarketStore:
    """Return the store after some events were queued for a webhook."""
    ledger.apply(AddWebhook("hook", HOOK, "https://m.example/", (), ""))
    for number in range(1, size + 1):
        _charge(ledger, f"event {number}", ACCOUNT, number, 1)
    happenings: list[Happening] = list(
        map(happening_of, ledger.store.events(after_offset=0, limit=size))
    )
    ledger.apply(Enqueue(HOOK, happenings, size))
    return MarketStore(ledger.store)


def _delivery(market: MarketStore, offset: int, state: DeliveryState) -> Delivery:
    found = next(one for one, _ in _all(market) if one.offset == offset)
    return replace(found, state=state)


def _all(market: MarketStore) -> list[tuple[Delivery, object]]:
    return list(market.deliveries(webhook="", state=None, after=None, limit=99))
