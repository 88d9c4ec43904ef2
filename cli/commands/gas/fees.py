"""The commands of what an agent costs its user: gas fees, gas dao, gas bill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from actionvm.gas.v1 import market_pb2 as pb

from ...client import Client
from ...command import AsJson, Command, ask, group
from ...errors import CommandError
from ...manifest import read_limited
from ...output import clean, console, print_json, spelled, table, to_json
from ...quantities import money_text, parse_money, parse_percent, parse_whole, percent_text
from ..runs import run_name
from .options import PaymentToken, account_name, agent_of, resource_name

HOLDINGS_BYTES_MAX = 4 * 1024 * 1024
PAYOUTS_SHOWN_MAX = 20

fees_app = group("What agents cost their users besides gas.")
dao_app = group("Who shares the fees of creators.")

ForAgent = Annotated[str, typer.Argument(metavar="AGENT", help="One agent; else the default.")]
ForGas = Annotated[
    str, typer.Option("--gas", metavar="GAS", help="Price a run that spends so much gas.")
]
ServiceCost = Annotated[
    str, typer.Option("--service-cost", metavar="MONEY", help="ActionVM's, for a run: 0.01")
]
Commission = Annotated[
    str, typer.Option("--commission", metavar="SHARE", help="The marketplace's: 10%")
]
Discounts = Annotated[
    list[str] | None,
    typer.Option(
        "--discount", metavar="TOKEN=SHARE", help="Off the commission: MGN=25%; may be repeated."
    ),
]
CreatorFee = Annotated[
    str, typer.Option("--creator-fee", metavar="MONEY", help="The creator's, for a run: 0.05")
]
CreatorShare = Annotated[
    str, typer.Option("--creator-share", metavar="SHARE", help="The creator's, on ActionVM's: 5%")
]
DaoOption = Annotated[
    str | None, typer.Option("--dao", metavar="DAO", help="Who gets the creator's fee; '' nobody.")
]
Dao = Annotated[str, typer.Argument(metavar="DAO", help="Such as founders.")]
Holdings = Annotated[
    list[str] | None,
    typer.Argument(metavar="HOLDER=UNITS", help="Who holds how much: alice=60 bob=40"),
]
HoldingsFile = Annotated[
    Path | None, typer.Option("--file", help="CSV with a line 'holder,units' for each holder.")
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run that has ended; see: runs")]


@fees_app.command("show", cls=Command)
def show_fees(
    context: typer.Context,
    agent: ForAgent = "",
    *,
    gas: ForGas = "",
    token: PaymentToken = "",
    as_json: AsJson = False,
) -> None:
    """Show what an agent costs besides its gas; with --gas, what its user pays for such a run.

    Example: actionvm gas fees show market-brief --gas 50000 --token MGN
    """
    if gas and not agent:
        raise CommandError(
            "--gas prices a run of one agent",
            reason="INVALID_FIELD",
            field="AGENT",
            fix="name it: actionvm gas fees show market-brief --gas 50000",
        )
    account = account_name(agent)
    if gas:
        request = pb.PriceRunRequest(
            account=account, gas=parse_whole(gas, "--gas"), payment_token=token
        )
        priced = ask(context, lambda client: client.market(lambda stub: stub.PriceRun(request)))
        if as_json:
            print_json(to_json(priced))
        else:
            console().print(_render_price(f"a run of {agent}", priced.price))
        return
    schedule = ask(context, lambda client: _schedule(client, account))
    if as_json:
        print_json(to_json(schedule))
    else:
        console().print(_render_schedule(schedule, account))


@fees_app.command("set", cls=Command)
def set_fees(
    context: typer.Context,
    agent: ForAgent = "",
    *,
    service_cost: ServiceCost = "",
    commission: Commission = "",
    discounts: Discounts = None,
    creator_fee: CreatorFee = "",
    creator_share: CreatorShare = "",
    dao: DaoOption = None,
    as_json: AsJson = False,
) -> None:
    """Set what an agent costs besides its gas. What is not named stays as it is.

    Without AGENT it is the default, for agents that have no fees of their own.

    Example: actionvm gas fees set market-brief --commission 10% --creator-fee 0.05 --dao founders
    """
    account = account_name(agent)
    changes = pb.FeeSchedule(
        service_cost_micros=parse_money(service_cost, "--service-cost") if service_cost else 0,
        commission_basis_points=parse_percent(commission, "--commission") if commission else 0,
        discounts=map(_parse_discount, discounts or ()),
        creator_fee_micros=parse_money(creator_fee, "--creator-fee") if creator_fee else 0,
        creator_basis_points=parse_percent(creator_share, "--creator-share")
        if creator_share
        else 0,
        dao=resource_name(dao, "daos") if dao else "",
    )
    named = {
        "service_cost_micros": bool(service_cost),
        "commission_basis_points": bool(commission),
        "discounts": bool(discounts),
        "creator_fee_micros": bool(creator_fee),
        "creator_basis_points": bool(creator_share),
        "dao": dao is not None,
    }

    async def change(client: Client) -> pb.FeeSchedule:
        schedule = await _schedule(client, account)
        schedule.account = account
        for field, is_named in named.items():
            if is_named:
                schedule.ClearField(field)  # type: ignore[arg-type]  # the names of its fields
        schedule.MergeFrom(changes)
        request = pb.SetFeeScheduleRequest(schedule=schedule)
        return (await client.market(lambda stub: stub.SetFeeSchedule(request))).schedule

    found = ask(context, change)
    if as_json:
        print_json(to_json(found))
    else:
        console().print(_render_schedule(found, account))


@dao_app.command("show", cls=Command)
def show_dao(context: typer.Context, name: Dao, *, as_json: AsJson = False) -> None:
    """Show who holds how much, and what was paid out so far.

    Example: actionvm gas dao show founders
    """
    request = pb.GetDaoRequest(name=resource_name(name, "daos"))
    found = ask(context, lambda client: client.market(lambda stub: stub.GetDao(request)))
    if as_json:
        print_json(to_json(found))
        return
    total = sum(holding.units for holding in found.dao.holdings)
    paid = {payout.holder: payout.micros for payout in found.payouts}
    units = {holding.holder: holding.units for holding in found.dao.holdings}
    rows = [
        (
            holder,
            str(units.get(holder, 0)),
            f"{units.get(holder, 0) / total:.2%}",
            money_text(paid.get(holder, 0), ""),
        )
        # Who holds nothing any more keeps what was paid.
        for holder in sorted({*units, *paid})
    ]
    numbers = ("units", "share", "paid")
    console().print(table("holder", *numbers, rows=rows, right=numbers))
    console().print(f"{found.dao.name}, version {found.dao.version}")


@dao_app.command("set", cls=Command)
def set_dao(
    context: typer.Context,
    name: Dao,
    holdings: Holdings = None,
    *,
    file: HoldingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Set who holds how much; replaces all holdings. Bills that were made stay as they are.

    Example: actionvm gas dao set founders alice=60 bob=40
    """
    pairs = [_parse_holding(holding) for holding in holdings or ()]
    pairs += _read_holdings(file) if file else ()
    if not pairs:
        raise CommandError(
            "there are no holdings",
            reason="INVALID_FIELD",
            field="HOLDER=UNITS",
            fix="such as alice=60 bob=40, or --file holdings.csv",
        )
    dao = pb.Dao(name=resource_name(name, "daos"), holdings=pairs)

    async def store(client: Client) -> pb.Dao:
        return (await client.market(lambda stub: stub.SetDao(pb.SetDaoRequest(dao=dao)))).dao

    found = ask(context, store)
    if as_json:
        print_json(to_json(found))
    else:
        count = len(found.holdings)
        console().print(f"{found.name} has {count} holders now (version {found.version})")


def bill(
    context: typer.Context, run: Run, *, token: PaymentToken = "", as_json: AsJson = False
) -> None:
    """Bill the user of a run that has ended, once: asking again shows the first bill.

    Example: actionvm gas bill runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b --token MGN
    """
    request = pb.BillRunRequest(run=run_name(run), payment_token=token)

    async def charge(client: Client) -> pb.Bill:
        return (await client.market(lambda stub: stub.BillRun(request))).bill

    found = ask(context, charge)
    if as_json:
        print_json(to_json(found))
    else:
        console().print(_render_price(f"{found.run} of {agent_of(found.account)}", found.price))


async def _schedule(client: Client, account: str) -> pb.FeeSchedule:
    request = pb.GetFeeScheduleRequest(account=account)
    return (await client.market(lambda stub: stub.GetFeeSchedule(request))).schedule


def _render_schedule(schedule: pb.FeeSchedule, account: str) -> RenderableType:
    if not schedule.version:
        advice = "no fees are set: users pay for gas alone; set some: actionvm gas fees set --help"
        return Text(spelled(advice))
    rows = [
        ("service cost", f"{money_text(schedule.service_cost_micros, '')} a run"),
        ("commission", percent_text(schedule.commission_basis_points)),
        *(
            (f"  paid in {one.token}", f"{percent_text(one.discount_basis_points)} off it")
            for one in schedule.discounts
        ),
        ("creator's fee", f"{money_text(schedule.creator_fee_micros, '')} a run"),
        ("creator's share", f"{percent_text(schedule.creator_basis_points)} of ActionVM's"),
        ("paid to", schedule.dao or "nobody"),
        ("version", str(schedule.version)),
    ]
    whose = schedule.account or "the default"
    inherited = " (no fees of its own)" if account and not schedule.account else ""
    return Group(Text(clean(f"fees: {whose}{inherited}"), "bold"), table("", "", rows=rows))


def _render_price(title: str, price: pb.RunPrice) -> RenderableType:
    """Return a bill line by line, and who gets the creator's fee."""
    gas_micros = price.actionvm_micros - price.service_cost_micros
    discount = f"discount for {price.payment_token}" if price.payment_token else "discount"
    lines = [
        (f"{price.gas} gas", gas_micros),
        ("service cost", price.service_cost_micros),
        ("creator", price.creator_micros),
        ("commission", price.commission_micros),
        (discount, -price.discount_micros),
        ("to pay", price.total_micros),
    ]
    rows = [(name, money_text(micros, price.currency)) for name, micros in lines]
    parts: list[RenderableType] = [
        Text(clean(title), "bold"),
        table("", "money", rows=rows, right=("money",)),
    ]
    if price.payouts:
        shown = price.payouts[:PAYOUTS_SHOWN_MAX]
        paid = [(one.holder, money_text(one.micros, price.currency)) for one in shown]
        parts.append(table(f"of {price.dao}", "gets", rows=paid, right=("gets",)))
    if len(price.payouts) > PAYOUTS_SHOWN_MAX:
        more = len(price.payouts) - PAYOUTS_SHOWN_MAX
        parts.append(Text(f"and {more} more; --json has all"))
    return Group(*parts)


def _parse_discount(text: str) -> pb.TokenDiscount:
    token, _, share = text.partition("=")
    if not token or not share:
        raise CommandError(
            f"--discount {text} is not of the form TOKEN=SHARE",
            reason="INVALID_FIELD",
            field="--discount",
            fix="such as --discount MGN=25%",
        )
    return pb.TokenDiscount(token=token, discount_basis_points=parse_percent(share, "--discount"))


def _parse_holding(text: str) -> pb.Holding:
    holder, _, units = text.rpartition("=")
    if not holder:
        raise CommandError(
            f"{text} is not of the form HOLDER=UNITS",
            reason="INVALID_FIELD",
            field="HOLDER=UNITS",
            fix="such as alice=60 bob=40",
        )
    return pb.Holding(holder=holder, units=parse_whole(units, f"units of {holder}"))


def _read_holdings(file: Path) -> Iterator[pb.Holding]:
    content = read_limited(file, HOLDINGS_BYTES_MAX, what=str(file), field="--file")
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        words = [word.strip() for word in line.split(",")]
        if words in ([""], ["holder", "units"]):
            continue
        if len(words) != 2:  # noqa: PLR2004  # a holder and its units
            raise CommandError(
                f"{file}:{number}: is not 'holder,units'",
                reason="FILE_INVALID",
                field="--file",
                fix="write each holder on a line of its own, such as alice,60",
            )
        yield pb.Holding(holder=words[0], units=parse_whole(words[1], f"{file}:{number}:"))
