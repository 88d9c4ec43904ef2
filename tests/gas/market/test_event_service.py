"""What the marketplace answers over gRPC about events, webhooks and deliveries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actionvm.gas.v1 import delivery_pb2
from actionvm.gas.v1 import gas_pb2 as gas
from actionvm.gas.v1 import market_pb2 as pb
from tests.gas.calls import bad_field, reason
from tests.gas.market.agents import Agent, Both, bill


def test_a_stream_has_every_kind_of_event_in_order(grpc_stub: Both, agent: Agent) -> None:
    budget = gas.Budget(
        account=agent.name,
        origin=gas.Budget.ORIGIN_OPERATOR,
        period=gas.Budget.PERIOD_TOTAL,
        gas_limit=100,
        id="small",
        soft=True,
    )
    grpc_stub.SetBudget(gas.SetBudgetRequest(budget=budget))
    run = agent.closed_run(60)
    receipt = grpc_stub.GetReceipt(gas.GetReceiptRequest(run=run)).receipt
    made = bill(grpc_stub, run)

    events = list(_events(grpc_stub, agent, 5))

    kinds = [event.WhichOneof("payload") for event in events]
    assert kinds == ["budget_warning", "entry", "run_closed", "entry", "bill"]
    assert [event.offset for event in events] == sorted(event.offset for event in events)
    assert {event.account for event in events} == {agent.name}
    warning, entry, closed, fee, billed = events
    assert (warning.budget_warning.percent, warning.budget_warning.soft) == (50, True)
    assert (entry.entry.gas, entry.entry.debit_account) == (60, agent.name)
    assert (closed.run_closed.total_gas, closed.run_closed.run) == (60, run)
    assert closed.run_closed.receipt_sha256 == receipt.digest.sha256
    paid = fee.entry
    assert (paid.kind, paid.credit_account) == (gas.Entry.KIND_FEE, "fees/actionvm")
    assert (paid.fee.run, paid.fee.micros) == (run, made.price.total_micros)
    assert billed.bill == made


def test_an_event_has_the_same_id_whoever_asks(grpc_stub: Both, agent: Agent) -> None:
    agent.spend(1)
    (first,), (second,) = (list(_events(grpc_stub, agent, 1)) for _ in range(2))

    assert first == second
    assert first.id.endswith(f"/entries/{first.entry.sequence}")


def test_a_stream_starts_after_its_offset(grpc_stub: Both, agent: Agent) -> None:
    agent.spend(1)
    agent.spend(2)
    first, second = _events(grpc_stub, agent, 2)

    (found,) = _events(grpc_stub, agent, 1, after=first.offset)

    assert found == second


def test_a_stream_goes_on_with_what_happens(grpc_stub: Both, agent: Agent) -> None:
    request = pb.SubscribeUsageRequest(account=agent.name)
    stream = grpc_stub.SubscribeUsage(request, timeout=20)
    agent.spend(5)

    assert next(stream).event.entry.gas == 5
    stream.cancel()


@pytest.mark.parametrize("after", [-1, 10**9, 2**63 - 1])
def test_a_stream_cannot_start_where_nothing_is(grpc_stub: Both, after: int) -> None:
    request = pb.SubscribeUsageRequest(after_offset=after)

    def subscribe(asked: pb.SubscribeUsageRequest, *, timeout: float) -> list[object]:
        return list(grpc_stub.SubscribeUsage(asked, timeout=timeout))

    assert bad_field(subscribe, request) == "after_offset"


def test_a_webhook_is_made_once_for_a_request(grpc_stub: Both) -> None:
    request = _create("twice", url="https://market.example/a")
    first, second = grpc_stub.CreateWebhook(request), grpc_stub.CreateWebhook(request)
    changed = _create("twice", url="https://market.example/b")

    assert first == second
    assert first.secret.startswith("whsec_")
    assert reason(grpc_stub.CreateWebhook, changed) == "REQUEST_ID_REUSED"
    _drop(grpc_stub, first.webhook)


def test_a_repeated_request_does_not_bring_a_deleted_webhook_back(grpc_stub: Both) -> None:
    request = _create("gone", url="https://market.example/")
    webhook = grpc_stub.CreateWebhook(request).webhook
    _drop(grpc_stub, webhook)
    _drop(grpc_stub, webhook)

    grpc_stub.CreateWebhook(request)

    assert webhook.name not in {found.name for found in _webhooks(grpc_stub)}
    replay = pb.ReplayWebhookRequest(name=webhook.name)
    assert reason(grpc_stub.ReplayWebhook, replay) == "WEBHOOK_NOT_FOUND"


def test_webhooks_come_in_pages_and_not_without_limit(grpc_stub: Both) -> None:
    made = [
        grpc_stub.CreateWebhook(_create(f"many {n}", url="https://market.example/")).webhook.name
        for n in range(100)
    ]

    assert [webhook.name for webhook in _webhooks(grpc_stub)] == sorted(made)
    one_more = _create("one more", url="https://market.example/")
    assert reason(grpc_stub.CreateWebhook, one_more) == "WEBHOOKS_EXHAUSTED"
    for webhook in _webhooks(grpc_stub):
        _drop(grpc_stub, webhook)


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        (pb.Webhook(), "webhook.url"),
        (pb.Webhook(url="http://market.example/"), "webhook.url"),
        (pb.Webhook(url="https://m.example/", account="tenants/t"), "webhook.account"),
        (pb.Webhook(url="https://m.example/", event_types=["bill"]), "webhook.event_types[0]"),
        (
            pb.Webhook(
                url="https://m.example/",
                event_types=["com.actionvm.gas.bill.v1", "com.actionvm.gas.bill.v1"],
            ),
            "webhook.event_types[1]",
        ),
        (
            pb.Webhook(url="https://m.example/", event_types=["x"] * 17),
            "webhook.event_types",
        ),
    ],
)
def test_a_webhook_that_makes_no_sense_is_refused(
    grpc_stub: Both, webhook: pb.Webhook, field: str
) -> None:
    request = pb.CreateWebhookRequest(request_id="wrong", webhook=webhook)

    assert bad_field(grpc_stub.CreateWebhook, request) == field


def test_a_report_says_how_far_each_delivery_is(grpc_stub: Both, agent: Agent) -> None:
    # The courier of this module finds nobody at home.
    webhook = grpc_stub.CreateWebhook(_create("report", url="https://m.example/")).webhook
    agent.spend(3)
    agent.spend(4)
    state = delivery_pb2.Delivery.STATE_DEAD
    found: list[gas.Report] = []
    while len(found) < 2:
        found = _reports(grpc_stub, gas.ListReportsRequest(webhook=webhook.name, state=state))

    first, second = _events(grpc_stub, agent, 2)
    assert [report.id for report in found] == [first.id, second.id]
    assert [report.charge.gas for report in found] == [3, 4]
    assert {report.delivery.last_error for report in found} == {"nobody"}
    assert {report.delivery.attempt_count for report in found} == {12}
    assert not found[0].HasField("acknowledge_time")
    assert not found[0].delivery.HasField("next_attempt_time")
    _drop(grpc_stub, webhook)


def _reports(stub: Both, request: gas.ListReportsRequest) -> list[gas.Report]:
    found, request.page_size = list[gas.Report](), 1
    while True:
        page = stub.ListReports(request)
        found += page.reports
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


def _webhooks(stub: Both) -> list[pb.Webhook]:
    found, token = list[pb.Webhook](), ""
    while True:
        page = stub.ListWebhooks(pb.ListWebhooksRequest(page_size=7, page_token=token))
        found += page.webhooks
        token = page.next_page_token
        if not token:
            return found


def _events(stub: Both, agent: Agent, size: int, *, after: int = 0) -> Iterator[pb.Event]:
    request = pb.SubscribeUsageRequest(account=agent.name, after_offset=after)
    stream = stub.SubscribeUsage(request, timeout=20)
    for _ in range(size):
        yield next(stream).event
    stream.cancel()


def _create(request_id: str, *, url: str) -> pb.CreateWebhookRequest:
    request_id = request_id.replace(" ", "-")
    return pb.CreateWebhookRequest(request_id=request_id, webhook=pb.Webhook(url=url))


def _drop(stub: Both, webhook: pb.Webhook) -> None:
    stub.DeleteWebhook(pb.DeleteWebhookRequest(name=webhook.name))
