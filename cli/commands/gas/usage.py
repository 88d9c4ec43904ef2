"""The command that sums what was consumed: gas usage."""

from __future__ import annotations

import csv
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from actionvm.gas.v1 import budgets_pb2, prices_pb2
from actionvm.gas.v1 import gas_pb2 as pb

from ...chart import Column, print_chart
from ...client import Client, all_pages
from ...command import AsJson, ask
from ...errors import CommandError
from ...meters import meter_name
from ...output import console, print_json, spelled, table, to_json
from ...quantities import cost_text, parse_moment, parse_zone
from ...render import describe_usages
from .options import AnyAgent, Zone, account_name, agent_of, resource_name

BARS_MAX = 60


class By(StrEnum):
    """What to sum by."""

    AGENT = "agent"
    MODEL = "model"
    ITEM = "item"
    DAY = "day"
    TENANT = "tenant"


_Query = budgets_pb2.UsageQuery
DIMENSIONS = {
    By.AGENT: _Query.DIMENSION_ACCOUNT,
    By.MODEL: _Query.DIMENSION_ITEM,
    By.ITEM: _Query.DIMENSION_ITEM,
    By.DAY: _Query.DIMENSION_DAY,
    By.TENANT: _Query.DIMENSION_TENANT,
}
VALUES: dict[By, Callable[[pb.UsageRow], str]] = {
    By.AGENT: lambda row: agent_of(row.account),
    By.MODEL: lambda row: row.item.removeprefix("model "),
    By.ITEM: lambda row: row.item,
    By.DAY: lambda row: row.day,
    By.TENANT: lambda row: row.tenant.removeprefix("tenants/"),
}

ByOption = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="WHAT",
        help="agent, model, item (models and actions), day, tenant; or some.",
    ),
]
Since = Annotated[str, typer.Option("--since", metavar="TIME", help="From here on, in --zone.")]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help="Up to here, in --zone.")]
Tenant = Annotated[str, typer.Option("--tenant", metavar="TENANT", help="Agents of this tenant.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")]
AsChart = Annotated[bool, typer.Option("--chart", help="Draw a bar for each row.")]


def usage(
    context: typer.Context,
    agent: AnyAgent = "",
    *,
    by: ByOption = "agent,item",
    since: Since = "",
    until: Until = "",
    zone: Zone = "",
    tenant: Tenant = "",
    as_csv: AsCsv = False,
    as_chart: AsChart = False,
    as_json: AsJson = False,
) -> None:
    """Sum what was consumed: by agent, model, day, tenant, or some of them.

    Example: actionvm gas usage --by day --since 2026-11-01 --chart
    """
    dimensions = parse_dimensions(by)
    if as_csv + as_chart + as_json > 1:
        raise CommandError(
            "--csv, --chart and --json exclude each other",
            reason="INVALID_FIELD",
            field="--csv",
            fix="leave out all but one",
        )
    times = parse_zone(zone, "--zone")
    query = _Query(
        start_time=parse_moment(since, times, "--since") if since else None,
        end_time=parse_moment(until, times, "--until") if until else None,
        time_zone=zone,
        dimensions=[DIMENSIONS[dimension] for dimension in dimensions],
        tenant=resource_name(tenant, "tenants") if tenant else "",
    )
    rows = ask(context, lambda client: read_usage(client, account_name(agent), query))
    if By.MODEL in dimensions:
        rows = [row for row in rows if row.item.startswith("model ")]
    if as_json:
        print_json({"rows": [to_json(row) for row in rows]})
    elif as_csv:
        _print_csv(rows, dimensions)
    elif not rows:
        console().print(Text(spelled("nothing was spent here yet; see: actionvm runs")))
    elif as_chart:
        _print_chart(rows, dimensions)
    else:
        _print_table(rows, dimensions)


async def read_usage(client: Client, account: str, query: _Query) -> list[pb.UsageRow]:
    """Return all rows of a sum."""

    def fetch(token: str) -> Awaitable[pb.ListUsageResponse]:
        request = pb.ListUsageRequest(account=account, query=query, page_token=token)
        return client.gas(lambda stub: stub.ListUsage(request))

    return await all_pages(fetch, lambda page: page.rows)


def parse_dimensions(text: str) -> tuple[By, ...]:
    """Return what a list such as `agent,day` names, each once."""
    words = [word.strip() for word in text.split(",")]
    known = [by.value for by in By]
    if not set(words) <= set(known) or len(set(words)) < len(words):
        raise CommandError(
            f"--by {text} is not a list of different things to sum by",
            reason="INVALID_FIELD",
            field="--by",
            fix=f"such as --by agent,day; known are {', '.join(known)}",
        )
    if {By.MODEL, By.ITEM} <= set(words):
        raise CommandError(
            "--by model and --by item are the same sum, of models alone and with actions",
            reason="INVALID_FIELD",
            field="--by",
            fix="leave one of them out",
        )
    return tuple(map(By, words))


def _print_table(rows: Sequence[pb.UsageRow], dimensions: Sequence[By]) -> None:
    cells = [
        (
            *(VALUES[dimension](row) for dimension in dimensions),
            describe_usages(row.usages),
            str(row.charge_count),
            str(row.gas),
            cost_text(row.cost),
        )
        for row in rows
    ]
    # What one agent paid for another one stands in the rows of both.
    own = [row for row in rows if not row.item.startswith("agent ")]
    gap = [""] * len(dimensions)
    charges = str(sum(row.charge_count for row in own))
    gas = str(sum(row.gas for row in own))
    cells.append((*["total", *gap][: len(gap)], "", charges, gas, _total_cost(own)))
    numbers = ("charges", "gas", "cost")
    made = table(*dimensions, "used", *numbers, rows=cells, right=numbers)
    console().print(made)
    if len(own) < len(rows):
        console().print("items 'agent …' were passed on to that agent, and are not in the total")


def _total_cost(rows: Sequence[pb.UsageRow]) -> str:
    """Return the sum of money; nothing where rows are in several currencies."""
    currencies = {row.cost.currency for row in rows}
    if len(currencies) != 1:
        return ""
    micros = sum(row.cost.micros for row in rows)
    return cost_text(prices_pb2.Money(micros=micros, currency=currencies.pop()))


def _print_csv(rows: Sequence[pb.UsageRow], dimensions: Sequence[By]) -> None:
    meters = sorted({used.meter for row in rows for used in row.usages})
    writer = csv.writer(sys.stdout, lineterminator="\n")
    sums = ("charges", "gas", "cost_micros", "currency")
    writer.writerow([*dimensions, *map(meter_name, meters), *sums])
    for row in rows:
        amounts = {used.meter: used.amount for used in row.usages}
        writer.writerow(
            [
                *(VALUES[dimension](row) for dimension in dimensions),
                *(amounts.get(meter, 0) for meter in meters),
                row.charge_count,
                row.gas,
                row.cost.micros,
                row.cost.currency,
            ]
        )


def _print_chart(rows: Sequence[pb.UsageRow], dimensions: Sequence[By]) -> None:
    own = [row for row in rows if not row.item.startswith("agent ")]
    columns = [
        Column(" ".join(VALUES[dimension](row) for dimension in dimensions), row.gas) for row in own
    ]
    if tuple(dimensions) == (By.DAY,):
        columns = _fill_days(columns)
    elif By.DAY not in dimensions:
        columns.sort(key=lambda column: -column.amount)
    # Of many days the last ones count, of many agents those who spend most.
    shown = columns[-BARS_MAX:] if By.DAY in dimensions else columns[:BARS_MAX]
    console().print(Text(f"gas by {', '.join(dimensions)}", "bold"))
    print_chart(console(), shown)
    if len(shown) < len(columns):
        console().print(f"{len(columns) - len(shown)} more are not drawn; --csv has all")


def _fill_days(columns: Sequence[Column]) -> list[Column]:
    """Return a bar for each day from the first to the last, also for those without a charge."""
    amounts = {column.label: column.amount for column in columns}
    first, last = (date.fromisoformat(edge(amounts)) for edge in (min, max))
    days = ((first + timedelta(number)).isoformat() for number in range((last - first).days + 1))
    return [Column(day, amounts.get(day, 0)) for day in days]
