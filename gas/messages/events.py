"""Events, webhooks and deliveries in messages, and events as CloudEvents."""

from __future__ import annotations

import json
import re

from google.protobuf.json_format import MessageToDict

from actionvm.gas.v1 import delivery_pb2, gas_pb2, market_pb2
from chassis import fields
from chassis.errors import InvalidField
from chassis.receivers import URL_CHARACTERS_MAX, require_url

from .. import texts
from ..entries import Entry
from ..market.events import TYPES, ClosedRun, Fact, event_id
from ..market.fees import Bill
from ..market.webhooks import Delivery, DeliveryState, Progress
from .budgets import warning_to_proto
from .charges import charge_to_proto, entry_to_proto
from .fees import bill_to_proto
from .usages import timestamp_to_proto

EVENT_TYPES_MAX = 16
SOURCE = "actionvm/gas"
# As many as the largest offset has, so that offsets sort like texts, as CloudEvents asks for.
SEQUENCE_DIGITS = 19
_WEBHOOK = re.compile(f"webhooks/{fields.UUID}")
_OFFSET = re.compile(r"[0-9]{1,18}")
_STATES = {
    DeliveryState.PENDING: delivery_pb2.Delivery.STATE_PENDING,
    DeliveryState.DELIVERED: delivery_pb2.Delivery.STATE_DELIVERED,
    DeliveryState.DEAD: delivery_pb2.Delivery.STATE_DEAD,
}


def event_to_proto(fact: Fact) -> market_pb2.Event:
    """Return an event."""
    happening, detail = fact.happening, fact.detail
    event = market_pb2.Event(
        offset=happening.offset,
        id=fact.id,
        account=happening.account,
        time=timestamp_to_proto(happening.time),
    )
    if isinstance(detail, Entry):
        event.entry.CopyFrom(entry_to_proto(detail))
    elif isinstance(detail, Bill):
        event.bill.CopyFrom(bill_to_proto(detail))
    elif isinstance(detail, ClosedRun):
        event.run_closed.CopyFrom(
            market_pb2.RunClosed(
                run=detail.run,
                total_gas=detail.total_gas,
                receipt_sha256=detail.receipt_sha256,
            )
        )
    else:
        event.budget_warning.CopyFrom(warning_to_proto(detail))
    return event


def cloud_event(fact: Fact) -> bytes:
    """Return an event as a CloudEvent 1.0 in JSON; always the same bytes for the same event."""
    event = event_to_proto(fact)
    payload = event.WhichOneof("payload")
    assert payload is not None, "every event has something to say"
    content = {
        "specversion": "1.0",
        "id": event.id,
        "source": SOURCE,
        "type": fact.happening.type,
        "subject": event.account,
        "time": event.time.ToJsonString(),
        "sequence": f"{event.offset:0{SEQUENCE_DIGITS}}",
        "datacontenttype": "application/json",
        "data": MessageToDict(getattr(event, payload)),
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def webhook_name(field: str, value: str) -> str:
    """Return the name of a webhook."""
    example = "webhooks/00000000-0000-4000-8000-000000000000"
    return fields.require_match(field, value, _WEBHOOK, example=example)


def webhook_from_proto(webhook: market_pb2.Webhook) -> tuple[str, tuple[str, ...], str]:
    """Return URL, event types and account of a webhook, or refuse them."""
    fields.require_size("webhook.url", webhook.url, size_max=URL_CHARACTERS_MAX)
    types = webhook.event_types
    fields.require_size("webhook.event_types", types, size_min=0, size_max=EVENT_TYPES_MAX)
    for i, kind in enumerate(types):
        path = f"webhook.event_types[{i}]"
        if kind not in TYPES:
            raise InvalidField(path, f"is no type of event; those are {', '.join(TYPES)}")
        if kind in types[:i]:
            raise InvalidField(path, "comes again")
    account = webhook.account and texts.account("webhook.account", webhook.account)
    return require_url("webhook.url", webhook.url), tuple(types), account


def webhook_to_proto(progress: Progress) -> market_pb2.Webhook:
    """Return a webhook, and how far it is."""
    webhook = progress.webhook
    return market_pb2.Webhook(
        name=webhook.name,
        url=webhook.url,
        event_types=webhook.event_types,
        account=webhook.account,
        create_time=timestamp_to_proto(webhook.create_time),
        done_offset=progress.done_offset,
        dead_count=progress.dead_count,
    )


def state_from_proto(state: int) -> DeliveryState | None:
    """Return a state to look for; none stands for all."""
    if not state:
        return None
    for known, value in _STATES.items():
        if value == state:
            return known
    raise InvalidField("state", "is no state of a delivery")


def report_key(page_token: str) -> tuple[int, str] | None:
    """Return offset and webhook that a page of reports starts after."""
    start = fields.page_start(page_token, parts=2)
    if start is None:
        return None
    if not _OFFSET.fullmatch(start[0]):
        raise InvalidField("page_token", "was not made by this service")
    return int(start[0]), webhook_name("page_token", start[1])


def webhook_key(page_token: str) -> str:
    """Return the webhook that a page of webhooks starts after."""
    start = fields.page_start(page_token)
    return webhook_name("page_token", start[0]) if start else ""


def report_to_proto(ledger_id: str, delivery: Delivery, entry: Entry | None) -> gas_pb2.Report:
    """Return what one webhook was told about one event."""
    report = gas_pb2.Report(
        id=event_id(ledger_id, delivery.source),
        delivery=delivery_pb2.Delivery(
            webhook=delivery.webhook,
            offset=delivery.offset,
            state=_STATES[delivery.state],
            attempt_count=delivery.attempt_count,
            last_error=delivery.last_error,
        ),
    )
    if entry is not None:
        report.charge.CopyFrom(charge_to_proto(entry))
    if delivery.acknowledge_time is not None:
        report.acknowledge_time.CopyFrom(timestamp_to_proto(delivery.acknowledge_time))
    if delivery.state is DeliveryState.PENDING:
        report.delivery.next_attempt_time.CopyFrom(timestamp_to_proto(delivery.next_attempt_time))
    return report
