"""The commands that tell others what was used: gas webhook, gas reports."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from actionvm.gas.v1 import delivery_pb2, market_pb2
from actionvm.gas.v1 import gas_pb2 as pb

from ...client import Client, all_pages
from ...command import AsJson, Command, ask, group
from ...output import clean, console, print_json, spelled, table, to_json
from ...render import time_text
from .options import account_name, agent_of, resource_name

EVENT_PREFIX = "com.actionvm.gas."
EVENT_SUFFIX = ".v1"

app = group("Send events of usage and settlement to a URL, signed, at least once.")


class State(StrEnum):
    """How far a delivery is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


STATES = {
    State.PENDING: delivery_pb2.Delivery.STATE_PENDING,
    State.DELIVERED: delivery_pb2.Delivery.STATE_DELIVERED,
    State.DEAD: delivery_pb2.Delivery.STATE_DEAD,
}
STYLES = {State.PENDING: "yellow", State.DELIVERED: "green", State.DEAD: "bold red"}

Url = Annotated[str, typer.Argument(metavar="URL", help="https, or http to this machine.")]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event", metavar="TYPE", help="entry, run-closed, bill, budget-warning; default all."
    ),
]
AgentOption = Annotated[str, typer.Option("--agent", metavar="AGENT", help="Only of this agent.")]
Name = Annotated[str, typer.Argument(metavar="WEBHOOK", help="As in: gas webhook list")]
OptionalName = Annotated[str, typer.Argument(metavar="WEBHOOK", help="One of them; default all.")]
After = Annotated[
    int, typer.Option("--after", metavar="OFFSET", min=0, help="Events after this one; 0 for all.")
]
StateOption = Annotated[State | None, typer.Option("--state", help="Only those in this state.")]


@app.command("create", cls=Command)
def create(
    context: typer.Context,
    url: Url,
    *,
    events: Events = None,
    agent: AgentOption = "",
    as_json: AsJson = False,
) -> None:
    """Send events to a URL from now on, and show once the secret that they are signed with.

    Example: actionvm gas webhook create https://example.com/usage --event bill
    """
    webhook = market_pb2.Webhook(
        url=url, event_types=map(event_type, events or ()), account=account_name(agent)
    )
    request = market_pb2.CreateWebhookRequest(request_id=str(uuid.uuid4()), webhook=webhook)
    found = ask(context, lambda client: client.market(lambda stub: stub.CreateWebhook(request)))
    if as_json:
        print_json(to_json(found))
        return
    console().print(Text(clean(f"{found.webhook.name} sends to {found.webhook.url}")))
    console().print(f"secret: {found.secret}")
    console().print("It is shown only now; the receiver checks webhook-signature with it.")


@app.command("list", cls=Command)
def list_webhooks(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the webhooks, and how far each of them is.

    Example: actionvm gas webhook list
    """

    async def read(client: Client) -> list[market_pb2.Webhook]:
        def fetch(token: str) -> Awaitable[market_pb2.ListWebhooksResponse]:
            request = market_pb2.ListWebhooksRequest(page_token=token)
            return client.market(lambda stub: stub.ListWebhooks(request))

        return await all_pages(fetch, lambda page: page.webhooks)

    found = ask(context, read)
    if as_json:
        print_json({"webhooks": [to_json(webhook) for webhook in found]})
        return
    rows = [
        (
            one.name.removeprefix("webhooks/"),
            one.url,
            ", ".join(map(_event_text, one.event_types)) or "all",
            agent_of(one.account) or "all",
            str(one.done_offset),
            Text(str(one.dead_count), "bold red" if one.dead_count else ""),
        )
        for one in found
    ]
    columns = ("webhook", "url", "events", "agent", "done", "dead")
    none = Text(spelled("there are no webhooks yet: actionvm gas webhook create --help"))
    console().print(table(*columns, rows=rows, right=("done", "dead")) if rows else none)


@app.command("delete", cls=Command)
def delete(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Stop sending to a webhook.

    Example: actionvm gas webhook delete 3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    full_name = resource_name(name, "webhooks")
    request = market_pb2.DeleteWebhookRequest(name=full_name)
    ask(context, lambda client: client.market(lambda stub: stub.DeleteWebhook(request)))
    if as_json:
        print_json({"deleted": full_name})
    else:
        console().print(f"{full_name} is gone")


@app.command("replay", cls=Command)
def replay(
    context: typer.Context, name: Name, *, after: After = 0, as_json: AsJson = False
) -> None:
    """Send events again, also those that are dead. A receiver drops ids that it knows.

    Example: actionvm gas webhook replay 3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b --after 120
    """
    request = market_pb2.ReplayWebhookRequest(
        name=resource_name(name, "webhooks"), after_offset=after
    )
    found = ask(context, lambda client: client.market(lambda stub: stub.ReplayWebhook(request)))
    if as_json:
        print_json(to_json(found))
    else:
        console().print(f"{found.webhook.name} sends everything after {after} again")


def reports(
    context: typer.Context,
    name: OptionalName = "",
    *,
    state: StateOption = None,
    as_json: AsJson = False,
) -> None:
    """List which events were delivered to webhooks, and why others were not.

    Example: actionvm gas reports --state dead
    """

    async def read(client: Client) -> list[pb.Report]:
        def fetch(token: str) -> Awaitable[pb.ListReportsResponse]:
            request = pb.ListReportsRequest(
                page_token=token,
                webhook=resource_name(name, "webhooks") if name else "",
                state=STATES[state] if state else delivery_pb2.Delivery.STATE_UNSPECIFIED,
            )
            return client.gas(lambda stub: stub.ListReports(request))

        return await all_pages(fetch, lambda page: page.reports)

    found = ask(context, read)
    if as_json:
        print_json({"reports": [to_json(report) for report in found]})
        return
    columns = ("offset", "webhook", "state", "tried", "next", "last error")
    made = table(*columns, rows=map(_row, found), right=("offset", "tried"))
    none = Text(spelled("there are no reports; who gets them: actionvm gas webhook list"))
    console().print(made if found else none)


def event_type(text: str) -> str:
    """Return the full type of an event, which may be given by its short name, such as `bill`."""
    return text if "." in text else f"{EVENT_PREFIX}{text}{EVENT_SUFFIX}"


def _event_text(event: str) -> str:
    return event.removeprefix(EVENT_PREFIX).removesuffix(EVENT_SUFFIX)


def _row(report: pb.Report) -> tuple[str | Text, ...]:
    delivery = report.delivery
    state = next((one for one, number in STATES.items() if number == delivery.state), None)
    is_waiting = delivery.HasField("next_attempt_time")
    return (
        str(delivery.offset),
        delivery.webhook.removeprefix("webhooks/"),
        Text(state or "unknown", STYLES[state] if state else ""),
        str(delivery.attempt_count),
        time_text(delivery.next_attempt_time) if is_waiting else "",
        delivery.last_error,
    )
