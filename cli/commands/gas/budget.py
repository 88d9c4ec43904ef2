"""The commands that limit what may be spent: gas budget list, set, delete, and gas tenant."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration
from rich.text import Text

from actionvm.gas.v1 import budgets_pb2
from actionvm.gas.v1 import gas_pb2 as pb

from ...client import Client
from ...command import AsJson, Command, ask, group
from ...errors import CommandError
from ...output import console, print_json, spelled, table, to_json
from ...quantities import parse_whole, parse_window, window_text
from .options import Account, Agent, Zone, account_name, agent_of, resource_name

SHARE_STYLES = {50: "", 80: "yellow", 100: "bold red"}

app = group("Limit what agents and tenants spend; all limits apply together.")


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

GasLimit = Annotated[str, typer.Argument(metavar="GAS", help="Gas that may be spent, from 1.")]
Per = Annotated[
    Period | None,
    typer.Option("--per", help="How often it renews, in --zone. Default: day."),
]
Window = Annotated[
    str, typer.Option("--window", metavar="TIME", help="Slide over the last 90m, 36h or 7d.")
]
Id = Annotated[
    str, typer.Option("--id", help="Tells several limits of one account apart; else 'default'.")
]
Run = Annotated[str, typer.Option("--run", metavar="RUN", help="Only what this run spends.")]
ItemOption = Annotated[
    str, typer.Option("--item", metavar="ITEM", help="Only this item, such as 'model openai/*'.")
]
Soft = Annotated[bool, typer.Option("--soft", help="Warn at 50, 80 and 100 %; refuse nothing.")]
Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="As in the list: market-brief/budgets/operator.default"),
]
Tenant = Annotated[
    str, typer.Argument(metavar="TENANT", help="Such as research; left out: show the tenant.")
]


@app.command("list", cls=Command)
def list_budgets(context: typer.Context, account: Account, *, as_json: AsJson = False) -> None:
    """Show what an agent or a tenant may spend, and has spent.

    Example: actionvm gas budget list market-brief
    """
    name = account_name(account)
    found, of_tenant = ask(context, lambda client: _read(client, name))
    if as_json:
        document = to_json(found)
        if found.tenant:
            document["tenant_budgets"] = [to_json(budget) for budget in of_tenant]
        print_json(document)
        return
    rows = [_row(budget) for budget in (*found.budgets, *of_tenant)]
    if not rows:
        advice = f"{name} has no budget yet: actionvm gas budget set {agent_of(name)} 100000"
        console().print(Text(spelled(advice)))
        return
    columns = ("budget", "per", "only", "limit", "spent", "used")
    console().print(table(*columns, rows=rows, right=("limit", "spent", "used")))
    if found.tenant:
        console().print(f"tenant: {found.tenant}")
    console().print(f"available now: {found.gas_available} gas")


@app.command("set", cls=Command)
def set_budget(
    context: typer.Context,
    account: Account,
    gas: GasLimit,
    *,
    per: Per = None,
    window: Window = "",
    zone: Zone = "",
    budget_id: Id = "",
    run: Run = "",
    item: ItemOption = "",
    soft: Soft = False,
    as_json: AsJson = False,
) -> None:
    """Limit what an agent or a tenant spends; replaces its limit of the same id.

    It counts what was spent since its window began.

    Example: actionvm gas budget set market-brief 100000 --per day --zone Europe/Berlin
    """
    if window and per is not None:
        raise CommandError(
            "--window slides, and --per renews: a budget does one of them",
            reason="INVALID_FIELD",
            field="--window",
            fix="leave one of them out, or set two budgets with different --id",
        )
    length = Duration()
    if window:
        length.FromTimedelta(parse_window(window, "--window"))
    budget = pb.Budget(
        account=account_name(account),
        origin=pb.Budget.ORIGIN_OPERATOR,
        period=pb.Budget.PERIOD_SLIDING if window else PERIODS[per or Period.DAY],
        gas_limit=parse_whole(gas, "GAS"),
        id=budget_id,
        run=resource_name(run, "runs") if run else "",
        item=item,
        time_zone=zone,
        window=length if window else None,
        soft=soft,
    )

    async def store(client: Client) -> pb.Budget:
        request = pb.SetBudgetRequest(budget=budget)
        return (await client.gas(lambda stub: stub.SetBudget(request))).budget

    found = ask(context, store)
    if as_json:
        print_json(to_json(found))
        return
    what = "warns from" if found.soft else "allows"
    spent = f"{found.gas_spent} of it are spent"
    console().print(f"{found.name} {what} {found.gas_limit} gas {_span(found)}; {spent}")


@app.command("delete", cls=Command)
def delete_budget(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Lift a limit. An agent whose last hard limit is gone may spend nothing.

    Example: actionvm gas budget delete market-brief/budgets/operator.default
    """
    full_name = account_name(name)
    request = budgets_pb2.DeleteBudgetRequest(name=full_name)

    async def lift(client: Client) -> None:
        await client.gas(lambda stub: stub.DeleteBudget(request))

    ask(context, lift)
    if as_json:
        print_json({"deleted": full_name})
    else:
        console().print(f"{full_name} is lifted")


def tenant(
    context: typer.Context, agent: Agent, tenant: Tenant = "", *, as_json: AsJson = False
) -> None:
    """Put an agent into a tenant, whose budgets then apply, too; or show its tenant.

    What the agent spent before stays with the tenant of then.

    Example: actionvm gas tenant market-brief research
    """
    account = account_name(agent)
    full_name = resource_name(tenant, "tenants") if tenant else ""

    async def place(client: Client) -> str:
        if full_name:
            request = budgets_pb2.SetTenantRequest(account=account, tenant=full_name)
            await client.gas(lambda stub: stub.SetTenant(request))
            return full_name
        return (await _get(client, account)).tenant

    found = ask(context, place)
    if as_json:
        print_json({"account": account, "tenant": found})
    else:
        console().print(f"{account} is in {found}")


async def _get(client: Client, account: str) -> pb.GetBudgetResponse:
    request = pb.GetBudgetRequest(account=account)
    return await client.gas(lambda stub: stub.GetBudget(request))


async def _read(client: Client, account: str) -> tuple[pb.GetBudgetResponse, list[pb.Budget]]:
    """Return the budgets of an account, and those of its tenant, which apply to it, too."""
    found = await _get(client, account)
    if not found.tenant:
        return found, []
    try:
        return found, [*(await _get(client, found.tenant)).budgets]
    except CommandError as error:
        if error.reason != "ACCOUNT_NOT_FOUND":
            raise
        # A tenant without budgets, whose agents never spent anything.
        return found, []


def _row(budget: pb.Budget) -> tuple[str | Text, ...]:
    """Return a budget in words; of its name what `budget delete` takes."""
    share = 100 * budget.gas_spent // max(1, budget.gas_limit)
    style = SHARE_STYLES[max((level for level in SHARE_STYLES if level <= share), default=50)]
    scope = " ".join(part for part in (budget.run, budget.item) if part)
    return (
        agent_of(budget.name),
        _period(budget),
        scope or "everything",
        f"{budget.gas_limit}{' (soft)' if budget.soft else ''}",
        str(budget.gas_spent),
        Text(f"{share} %", style),
    )


def _span(budget: pb.Budget) -> str:
    """Return for how long a budget is, as part of a sentence."""
    match budget.period:
        case pb.Budget.PERIOD_SLIDING:
            return f"in the {_period(budget)}"
        case pb.Budget.PERIOD_TOTAL:
            return "in total"
        case _:
            return f"a {_period(budget)}"


def _period(budget: pb.Budget) -> str:
    if budget.period == pb.Budget.PERIOD_SLIDING:
        return f"last {window_text(budget.window.ToTimedelta())}"
    period = pb.Budget.Period.Name(budget.period).removeprefix("PERIOD_").lower()
    return f"{period} in {budget.time_zone}" if budget.time_zone else period
