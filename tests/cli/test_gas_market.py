"""Tests of fees, bills, webhooks and events in the terminal."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from actionvm.gas.v1 import budgets_pb2, delivery_pb2, gas_pb2, market_pb2

from .conftest import FakeSystem, Invoke
from .fakes import RUN
from .gas_fakes import SECRET, WEBHOOK, at


def schedule_set(system: FakeSystem) -> market_pb2.FeeSchedule:
    (request,) = system.market.requests
    assert isinstance(request, market_pb2.SetFeeScheduleRequest)
    return request.schedule


# --- Fees and bills ------------------------------------------------------------------------------


def test_a_fee_that_is_not_named_stays_as_it_is(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "fees", "set", "fake", "--commission", "12.5%")

    schedule = schedule_set(system)
    assert schedule.commission_basis_points == 1_250
    assert (schedule.creator_fee_micros, schedule.dao) == (50_000, "daos/founders")
    assert [one.token for one in schedule.discounts] == ["MGN"]


def test_fees_are_named_in_money_and_percent(system: FakeSystem, invoke: Invoke) -> None:
    options = ("--service-cost", "0.01", "--creator-share", "5", "--discount", "ABC=50%")

    invoke("gas", "fees", "set", "fake", *options)

    schedule = schedule_set(system)
    assert schedule.service_cost_micros == 10_000
    assert schedule.creator_basis_points == 500
    assert [(one.token, one.discount_basis_points) for one in schedule.discounts] == [("ABC", 5000)]


def test_a_fee_of_zero_is_a_fee_that_is_named(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "fees", "set", "fake", "--creator-fee", "0", "--dao", "")

    schedule = schedule_set(system)
    assert (schedule.creator_fee_micros, schedule.dao) == (0, "")


def test_the_first_fees_of_an_agent_start_from_the_default(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.market.schedule.account = ""

    invoke("gas", "fees", "set", "fake", "--service-cost", "0.01")

    schedule = schedule_set(system)
    assert (schedule.account, schedule.commission_basis_points) == ("agents/fake", 1_000)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--service-cost", "-1"),
        ("--service-cost", "0.0000001"),
        ("--service-cost", "1e3"),
        ("--commission", "half"),
        ("--commission", "1.005%"),
        ("--discount", "MGN"),
        ("--discount", "=5%"),
    ],
)
def test_an_amount_that_is_none_is_refused(
    system: FakeSystem, invoke: Invoke, option: str, value: str
) -> None:
    result = invoke("gas", "fees", "set", option, value, "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["field"] == option
    assert not system.market.requests


def test_fees_that_were_never_set_teach_how_to_set_them(system: FakeSystem, invoke: Invoke) -> None:
    system.market.schedule = market_pb2.FeeSchedule()

    assert "gas fees set --help" in invoke("gas", "fees", "show").stdout


def test_an_agent_without_fees_of_its_own_shows_the_default(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.market.schedule.account = ""

    assert "the default (no fees of its own)" in invoke("gas", "fees", "show", "fake").stdout


def test_gas_is_priced_for_one_agent(system: FakeSystem, invoke: Invoke) -> None:
    assert invoke("gas", "fees", "show", "--gas", "5").exit_code == 2

    invoke("gas", "fees", "show", "fake", "--gas", "5", "--token", "MGN")

    (request,) = system.market.requests
    assert request == market_pb2.PriceRunRequest(account="agents/fake", gas=5, payment_token="MGN")


def test_a_bill_adds_up_line_by_line(system: FakeSystem, invoke: Invoke) -> None:
    output = invoke("gas", "bill", RUN, "--token", "MGN").stdout

    amounts = [line.split()[-2] for line in output.splitlines() if line.endswith("USD")]
    assert amounts == [
        *("0.00007", "0.00001", "0.00005", "0.000013", "-0.000003"),
        *("0.00014", "0.00005"),
    ]


def test_a_bill_is_for_the_run_that_was_named(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "bill", RUN.removeprefix("runs/"))

    assert system.market.requests == [market_pb2.BillRunRequest(run=RUN)]


def test_holdings_are_named_one_by_one(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "dao", "set", "founders", "alice=60", "a=b=40")

    (request,) = system.market.requests
    assert isinstance(request, market_pb2.SetDaoRequest)
    holdings = {one.holder: one.units for one in request.dao.holdings}
    assert (request.dao.name, holdings) == ("daos/founders", {"alice": 60, "a=b": 40})


def test_holdings_come_from_a_file(system: FakeSystem, invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "holdings.csv"
    file.write_text("holder,units\n0x1f, 60\n\nbob,40\n")

    invoke("gas", "dao", "set", "founders", "--file", str(file))

    (request,) = system.market.requests
    assert isinstance(request, market_pb2.SetDaoRequest)
    assert {one.holder: one.units for one in request.dao.holdings} == {"0x1f": 60, "bob": 40}


@pytest.mark.parametrize("content", ["alice", "alice,1,2", "alice,many", "", '"' + "a" * 200_000])
def test_a_file_that_holds_no_holdings_is_refused(
    system: FakeSystem, invoke: Invoke, tmp_path: Path, content: str
) -> None:
    (tmp_path / "holdings.csv").write_text(content)

    result = invoke("gas", "dao", "set", "founders", "--file", str(tmp_path / "holdings.csv"))

    assert result.exit_code == 2
    assert not system.market.requests


def test_a_dao_shows_also_who_was_paid_and_holds_nothing_any_more(
    system: FakeSystem, invoke: Invoke
) -> None:
    lines = invoke("gas", "dao", "show", "founders").stdout.splitlines()

    assert [line.split() for line in lines[1:4]] == [
        ["alice", "3", "75.00%", "0.00"],
        ["bob", "1", "25.00%", "0.00"],
        ["carol", "0", "0.00%", "1.50"],
    ]


# --- Webhooks and reports ------------------------------------------------------------------------


def test_a_webhook_takes_short_names_of_events(system: FakeSystem, invoke: Invoke) -> None:
    events = ("--event", "bill", "--event", "com.actionvm.gas.entry.v1")

    invoke("gas", "webhook", "create", "https://example.com", *events, "--agent", "fake")

    (request,) = system.market.requests
    assert isinstance(request, market_pb2.CreateWebhookRequest)
    assert request.webhook == market_pb2.Webhook(
        url="https://example.com",
        event_types=["com.actionvm.gas.bill.v1", "com.actionvm.gas.entry.v1"],
        account="agents/fake",
    )


def test_the_secret_of_a_webhook_is_shown_when_it_is_made(
    system: FakeSystem, invoke: Invoke
) -> None:
    assert SECRET in invoke("gas", "webhook", "create", "https://example.com").stdout


def test_a_webhook_is_replayed_from_an_offset(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "webhook", "replay", WEBHOOK.removeprefix("webhooks/"), "--after", "7")

    assert system.market.requests == [market_pb2.ReplayWebhookRequest(name=WEBHOOK, after_offset=7)]


def test_a_webhook_is_deleted(system: FakeSystem, invoke: Invoke) -> None:
    invoke("gas", "webhook", "delete", WEBHOOK)

    assert system.market.requests == [market_pb2.DeleteWebhookRequest(name=WEBHOOK)]


def test_no_webhooks_teach_how_to_make_one(system: FakeSystem, invoke: Invoke) -> None:
    system.market.webhooks = []

    assert "gas webhook create --help" in invoke("gas", "webhook", "list").stdout


def test_reports_say_what_failed(system: FakeSystem, invoke: Invoke) -> None:
    line = invoke("gas", "reports", WEBHOOK, "--state", "dead").stdout.splitlines()[1]

    assert system.gas.requests == [
        gas_pb2.ListReportsRequest(webhook=WEBHOOK, state=delivery_pb2.Delivery.STATE_DEAD)
    ]
    assert line.split()[2:] == ["dead", "12", "HTTP", "503"]


# --- Watching ------------------------------------------------------------------------------------


def events() -> list[market_pb2.Event]:
    entry = gas_pb2.Entry(kind=gas_pb2.Entry.KIND_CHARGE, gas=12, item="model local/babbler")
    bill = market_pb2.Bill(run=RUN, price=market_pb2.RunPrice(total_micros=140, currency="USD"))
    warning = budgets_pb2.BudgetWarning(budget="b", percent=80, gas_spent=8, gas_limit=10)
    fee = gas_pb2.Entry(
        kind=gas_pb2.Entry.KIND_FEE,
        credit_account="daos/founders",
        fee=budgets_pb2.Fee(run=RUN, micros=140, currency="USD"),
    )
    made = [
        market_pb2.Event(entry=entry),
        market_pb2.Event(run_closed=market_pb2.RunClosed(run=RUN, total_gas=12)),
        market_pb2.Event(bill=bill),
        market_pb2.Event(budget_warning=warning),
        market_pb2.Event(entry=fee),
    ]
    for offset, event in enumerate(made, start=1):
        event.offset, event.account = offset, "agents/fake"
        event.time.CopyFrom(at("2026-11-22T09:30"))
    return made


def test_every_kind_of_event_is_told_in_a_line(system: FakeSystem, invoke: Invoke) -> None:
    system.market.events = events()

    lines = invoke("gas", "watch").stdout.splitlines()

    assert [line.split(maxsplit=4)[3:] for line in lines] == [
        ["charge", "fake: 12 gas for model local/babbler"],
        ["closed", f"fake: {RUN} cost 12 gas"],
        ["bill", f"fake: {RUN}: 0.00014 USD to pay"],
        ["warning", "fake: 80 % of b are used: 8 of 10 gas"],
        ["fee", "fake: 0.00014 USD to daos/founders"],
    ]


def test_a_stream_that_breaks_off_is_resumed_after_the_last_event(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.market.events, system.market.breaks = events(), [2]

    lines = invoke("gas", "watch", "fake", "--json").stdout.splitlines()

    assert [json.loads(line)["event"]["offset"] for line in lines] == [1, 2, 3, 4, 5]
    assert system.market.requests == [
        market_pb2.SubscribeUsageRequest(account="agents/fake"),
        market_pb2.SubscribeUsageRequest(account="agents/fake", after_offset=2),
    ]


def test_ctrl_c_says_how_to_go_on(
    system: FakeSystem, start_command: Callable[..., subprocess.Popen[str]]
) -> None:
    system.market.events, system.market.hangs = events(), True
    process = start_command("gas", "watch", "fake", "--after", "3")
    assert process.stdout is not None
    assert "warning" in process.stdout.readline()
    # Those are all that come.
    assert "fee" in process.stdout.readline()

    process.send_signal(signal.SIGINT)

    output, _ = process.communicate(timeout=20)
    assert "gas watch fake --after 5" in output
    assert process.returncode == 130
