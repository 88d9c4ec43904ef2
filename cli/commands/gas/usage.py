"""The commands for what agents may spend and did: gas usage, budget, quote."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import StrEnum
from typing import Annotated

import typer

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import gas_pb2 as pb

from ..client import Client, all_pages
from ..command import AsJson, Command, ask, group
from ..errors import CommandError
from ..output import console, print_json, table, to_json
from ..render import describe_usages

app = group("See and limit what agents spend.")


class Period(StrEnum):
    """How often a budget renews."""

    TOTAL = "total"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


PERIODS = {
    Period.TOTAL: pb.Budget.PERIOD_TOTAL,
    Period.HOUR: pb.Budget.PERIOD_HOUR,
    Period.DAY: pb.Budget.PERIOD_DAY,
    Period.MONTH: pb.Budget.PERIOD_MONTH,
}

OptionalAgent = Annotated[str, typer.Argument(metavar="AGENT", help="One agent; default all.")]
Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Such as market-brief.")]
GasLimit = Annotated[int | None, typer.Option("--set", help="Allow this much gas per period.")]
Per = Annotated[Period, typer.Option("--per", help="How often the budget renews, in UTC.")]
Item = Annotated[
    str,
    typer.Argument(metavar="ITEM", help="Such as 'model local/babbler' or 'action board.post'."),
]
Usages = Annotated[
    list[str],
    typer.Option("--usage", metavar="METER=AMOUNT", help="The worst case; may be repeated."),
]


@app.command("usage", cls=Command)
def usage(context: typer.Context, *, agent: OptionalAgent = "", as_json: AsJson = False) -> None:
    """Show what agents consumed.

    Example: actionvm gas usage market-brief
    """

    async def read(client: Client) -> list[pb.UsageRow]:
        def fetch(token: str) -> Awaitable[pb.ListUsageResponse]:
            request = pb.ListUsageRequest(
                account=account_name(agent) if agent else "", page_token=token
            )
            return client.gas(lambda stub: stub.ListUsage(request))

        return await all_pages(fetch, lambda page: page.rows)

    found = ask(context, read)
    if as_json:
        print_json({"rows": [to_json(row) for row in found]})
        return
    rows = [
        (row.account, row.item, describe_usages(row.usages), str(row.charge_count), str(row.gas))
        for row in found
    ]
    columns = ("account", "item", "used", "charges", "gas")
    made = table(*columns, rows=rows, right=("charges", "gas"))
    console().print(made if rows else "nothing was spent yet")


@app.command("budget", cls=Command)
def budget(
    context: typer.Context,
    agent: Agent,
    *,
    gas_limit: GasLimit = None,
    per: Per = Period.DAY,
    as_json: AsJson = False,
) -> None:
    """Show what an agent may spend; with --set, limit it. Limits of all origins apply together.

    Example: actionvm gas budget market-brief --set 100000 --per day
    """
    account = account_name(agent)

    async def read(client: Client) -> pb.GetBudgetResponse:
        if gas_limit is not None:
            limit = pb.Budget(
                account=account,
                origin=pb.Budget.ORIGIN_OPERATOR,
                period=PERIODS[per],
                gas_limit=gas_limit,
            )
            change = pb.SetBudgetRequest(budget=limit)
            await client.gas(lambda stub: stub.SetBudget(change))
        return await client.gas(lambda stub: stub.GetBudget(pb.GetBudgetRequest(account=account)))

    found = ask(context, read)
    if as_json:
        print_json(to_json(found))
        return
    rows = [
        (
            pb.Budget.Origin.Name(one.origin).removeprefix("ORIGIN_").lower(),
            pb.Budget.Period.Name(one.period).removeprefix("PERIOD_").lower(),
            str(one.gas_limit),
            str(one.gas_spent),
        )
        for one in found.budgets
    ]
    numbers = ("limit", "spent")
    console().print(table("set by", "per", *numbers, rows=rows, right=numbers))
    console().print(f"available now: {found.gas_available} gas")


@app.command("quote", cls=Command)
def quote(context: typer.Context, item: Item, usages: Usages, *, as_json: AsJson = False) -> None:
    """Price a worst case without holding anything.

    Example: actionvm gas quote "model local/babbler" --usage output_tokens=256
    """
    request = pb.QuoteGasRequest(item=item, usages=map(parse_usage, usages))

    async def price(client: Client) -> pb.QuoteGasResponse:
        return await client.gas(lambda stub: stub.QuoteGas(request))

    found = ask(context, price)
    if as_json:
        print_json(to_json(found))
    else:
        console().print(f"{found.gas} gas at most (prices {found.price_version})")


def account_name(agent: str) -> str:
    """Return the account of an agent, which may be given without `agents/`."""
    return agent if agent.startswith("agents/") else f"agents/{agent}"


def parse_usage(text: str) -> action_pb2.Usage:
    """Return an amount such as `output_tokens=256`."""
    name, _, amount = text.partition("=")
    meters = action_pb2.Usage.Meter
    known = [key.removeprefix("METER_").lower() for key in meters.keys()[1:]]
    if name not in known or not amount.isdecimal() or int(amount) >= 2**63:
        raise CommandError(
            f"--usage {text} is not of the form METER=AMOUNT",
            reason="INVALID_FIELD",
            field="--usage",
            fix=f"meters are {', '.join(known)}",
        )
    return action_pb2.Usage(meter=meters.Value(f"METER_{name.upper()}"), amount=int(amount))
