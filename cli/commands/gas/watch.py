"""The command that shows what is spent as it happens: gas watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from grpc import aio
from rich.text import Text

from actionvm.gas.v1 import gas_pb2
from actionvm.gas.v1 import market_pb2 as pb

from ...client import Client, Retrying, command_error
from ...command import AsJson, ask
from ...errors import ExitCode
from ...following import RESUME_SECONDS
from ...output import clean, console, print_json, spelled, to_json
from ...quantities import money_text
from .options import AnyAgent, account_name, agent_of

After = Annotated[
    int, typer.Option("--after", metavar="OFFSET", min=0, help="Events after this one; 0 for all.")
]


def watch(
    context: typer.Context, agent: AnyAgent = "", *, after: After = 0, as_json: AsJson = False
) -> None:
    """Show every charge, receipt, bill and warning, and go on as they happen. Ctrl-C stops.

    Example: actionvm gas watch market-brief --after 120
    """
    look = _Look(account_name(agent), after)
    show = _print_event if not as_json else _print_document
    try:
        ask(context, lambda client: look.follow(client, show))
    except KeyboardInterrupt as interrupt:
        if not as_json:
            agent_words = f"{agent} " if agent else ""
            advice = f"go on from here: actionvm gas watch {agent_words}--after {look.offset}"
            console().print(Text(spelled(advice), "dim"))
        raise typer.Exit(ExitCode.INTERRUPTED) from interrupt


class _Look:
    """How far somebody has seen the events of an account."""

    def __init__(self, account: str, offset: int) -> None:
        self._account = account
        self.offset = offset

    async def follow(self, client: Client, show: Callable[[pb.Event], None]) -> None:
        """Show every event once; a stream that breaks off is resumed after the last one."""
        peer = client.market
        retrying = Retrying(RESUME_SECONDS if peer.patience_seconds else 0.0)
        while True:
            request = pb.SubscribeUsageRequest(after_offset=self.offset, account=self._account)
            try:
                async for response in peer.stub.SubscribeUsage(request):
                    retrying.restart()
                    show(response.event)
                    self.offset = response.event.offset
            except aio.AioRpcError as error:
                if not await retrying.is_worth_it(error):
                    raise command_error(error, peer.name, peer.address) from error
            else:
                return


def _print_document(event: pb.Event) -> None:
    print_json({"event": to_json(event)})


def _print_event(event: pb.Event) -> None:
    moment = f"{event.time.ToDatetime():%Y-%m-%d %H:%M:%S}"
    kind, words, style = _describe(event)
    console().print(
        Text.assemble(
            (f"{event.offset:>8} {moment} ", "dim"),
            (f"{kind:<10} ", "bold cyan"),
            (clean(f"{agent_of(event.account)}: {words}"), style),
        )
    )


def _describe(event: pb.Event) -> tuple[str, str, str]:
    """Return what kind of event it is, the event in words, and its colour."""
    match event.WhichOneof("payload"):
        case "entry":
            entry = event.entry
            if entry.HasField("fee"):
                money = money_text(entry.fee.micros, entry.fee.currency)
                return "fee", f"{money} to {entry.credit_account}", ""
            kind = gas_pb2.Entry.Kind.Name(entry.kind).removeprefix("KIND_").lower()
            sign = "" if entry.kind == gas_pb2.Entry.KIND_CHARGE else "-"
            return kind, f"{sign}{entry.gas} gas for {entry.item}", ""
        case "run_closed":
            closed = event.run_closed
            return "closed", f"{closed.run} cost {closed.total_gas} gas", ""
        case "bill":
            price = event.bill.price
            money = money_text(price.total_micros, price.currency)
            return "bill", f"{event.bill.run}: {money} to pay", ""
        case "budget_warning":
            warning = event.budget_warning
            words = f"{warning.percent} % of {warning.budget} are used"
            spent = f"{warning.gas_spent} of {warning.gas_limit} gas"
            return "warning", f"{words}: {spent}", "yellow"
        case _:
            return "event", event.id, ""
