"""The command that prices before anything runs: gas quote."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2
from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import prices_pb2
from chassis.canonical import Json
from chassis.fields import ACCOUNT_NAME

from ...client import Client, all_pages
from ...command import AsJson, Settings, ask
from ...errors import CommandError
from ...following import assemble
from ...manifest import Source, parse_settings
from ...meters import meter_words
from ...output import clean, console, print_json, spelled, table, to_json
from ...plan import Asked, Plan, read_plan, with_time
from ...quantities import cost_text, money_text
from ...views import choose_view
from ..runs import read_program
from .options import account_name, agent_of, parse_usage

# As many agents as can ask one another in a row.
DEPTH_MAX = 8

What = Annotated[
    str,
    typer.Argument(
        metavar="WHAT", help="A manifest, bundle, or agent that ran; with --usage an item."
    ),
]
Usages = Annotated[
    list[str] | None,
    typer.Option("--usage", metavar="METER=AMOUNT", help="Price one call; may be repeated."),
]

NUMBERS = ("least", "likely", "most")
MIDDLE = "the middle"

Range = tuple[int, int, int]


@dataclass(frozen=True)
class Quote:
    """The price of a run, and of the agents that it may ask, each so often."""

    plan: Plan
    own: prices_pb2.QuoteRunResponse
    asked: tuple[tuple[Asked, Quote], ...]

    @property
    def gas(self) -> Range:
        """Return gas at least, most likely and at most, with that of the agents it asks."""
        own = self.own.gas
        return self._add((own.gas_least, own.gas_likely, own.gas_most), lambda inner: inner.gas)

    @property
    def micros(self) -> Range:
        """Return the same in money, rounded up for each run."""
        own = self.own
        costs = (own.cost_least.micros, own.cost_likely.micros, own.cost_most.micros)
        return self._add(costs, lambda inner: inner.micros)

    def _add(self, own: Range, inner_of: Callable[[Quote], Range]) -> Range:
        least, likely, most = own
        for asked, quote in self.asked:
            inner = times(asked, inner_of(quote))
            least, likely, most = least + inner[0], likely + inner[1], most + inner[2]
        return least, likely, most


def times(asked: Asked, inner: Range) -> Range:
    """Return what all runs of an agent that is asked cost together."""
    least, likely, most = inner
    return asked.count_least * least, asked.count_likely * likely, asked.count_most * most


def quote(
    context: typer.Context,
    what: What,
    *,
    usages: Usages = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Price a run before it starts: at least, likely, at most, and what that assumes.

    A manifest is assembled first, so that its model and actions are known. With --usage one call
    of an item is priced: actionvm gas quote "model local/actionvm-tiny" --usage output_tokens=256

    Example: actionvm gas quote agent.yaml
    """
    if usages:
        _quote_call(context, what, usages, as_json=as_json)
        return
    program = account_name(what) if _is_agent(what) else read_program(what)
    parameters = parse_settings(settings or ())

    async def price(client: Client) -> Quote:
        if not isinstance(program, Source):
            return await _quote_run(client, await _payload(client, program))
        with choose_view(as_json=as_json) as view:
            assembly = await assemble(client, program, parameters, view)
        return await _quote_run(client, assembly.bundle.payload)

    found = ask(context, price)
    if as_json:
        print_json({"quote": _to_json(found)})
    else:
        console().print(_render(found))


def _quote_call(context: typer.Context, item: str, usages: Sequence[str], *, as_json: bool) -> None:
    request = pb.QuoteGasRequest(item=item, usages=map(parse_usage, usages))

    async def price(client: Client) -> pb.QuoteGasResponse:
        return await client.gas(lambda stub: stub.QuoteGas(request))

    found = ask(context, price)
    if as_json:
        print_json(to_json(found))
        return
    cost = f", {cost_text(found.cost)}" if found.cost.currency else ""
    console().print(f"{found.gas} gas at most{cost} (prices {found.price_version})")


def _is_agent(what: str) -> bool:
    return bool(ACCOUNT_NAME.fullmatch(account_name(what))) and not Path(what).exists()


async def _payload(client: Client, program: action_pb2.Bundle | str) -> bytes:
    """Return the bundle that a word of the command line stands for."""
    if isinstance(program, action_pb2.Bundle):
        return program.payload
    is_agent = program.startswith("agents/")
    return await _stored(client, await _newest_bundle(client, program) if is_agent else program)


async def _stored(client: Client, bundle: str) -> bytes:
    request = assembler_pb2.GetBundleRequest(name=bundle)
    return (await client.assembler(lambda stub: stub.GetBundle(request))).bundle.payload


async def _newest_bundle(client: Client, account: str) -> str:
    def fetch(token: str) -> Awaitable[assembler_pb2.ListBundlesResponse]:
        request = assembler_pb2.ListBundlesRequest(page_token=token)
        return client.assembler(lambda stub: stub.ListBundles(request))

    bundles = await all_pages(fetch, lambda page: page.bundles)
    newest = next((bundle.name for bundle in bundles if bundle.account == account), "")
    if not newest:
        raise CommandError(
            f"{account} was never assembled here, and there is no such file",
            reason="AGENT_NOT_FOUND",
            field="WHAT",
            fix="name its manifest: actionvm gas quote agent.yaml",
        )
    return newest


async def _quote_run(client: Client, payload: bytes, depth: int = 1) -> Quote:
    """Price a run; each agent that it may ask is a run, too."""
    plan = read_plan(payload)
    if await _has_priced_time(client, plan.model.item):
        plan = with_time(plan)
    request = prices_pb2.QuoteRunRequest(account=plan.account, calls=plan.calls)
    own = await client.gas(lambda stub: stub.QuoteRun(request))
    asked: list[tuple[Asked, Quote]] = []
    for one in plan.asked if depth < DEPTH_MAX else ():
        inner = await _quote_run(client, await _stored(client, one.bundle), depth + 1)
        asked.append((one, inner))
    return Quote(plan, own, tuple(asked))


async def _has_priced_time(client: Client, item: str) -> bool:
    usage = action_pb2.Usage(meter=action_pb2.Usage.METER_INFERENCE_MILLISECONDS, amount=10**6)
    request = pb.QuoteGasRequest(item=item, usages=[usage])
    return (await client.gas(lambda stub: stub.QuoteGas(request))).gas > 0


def _to_json(quote: Quote) -> Json:
    least, likely, most = quote.gas
    return {
        "account": quote.plan.account,
        "gas": {"gas_least": least, "gas_likely": likely, "gas_most": most},
        "own": to_json(quote.own),
        "asked": [{**asdict(asked), "quote": _to_json(inner)} for asked, inner in quote.asked],
    }


def _render(quote: Quote) -> RenderableType:
    """Return the range by item, its sum, and what was taken for true."""
    own = quote.own
    ranges = {line.item: _range(line.gas) for line in own.lines}
    for asked, inner in quote.asked:
        ranges[f"agent {asked.name}"] = times(asked, inner.gas)
    ranges["gas of a run"] = quote.gas
    rows = [(name, *map(str, gas)) for name, gas in ranges.items()]
    currency = own.cost_most.currency
    if currency:
        rows.append(("in money", *(money_text(micros, currency) for micros in quote.micros)))
    return Group(
        Text(clean(f"a run of {agent_of(quote.plan.account)}, prices {own.price_version}"), "bold"),
        table("", *NUMBERS, rows=rows, right=NUMBERS),
        Text(),
        table("assuming", "", *NUMBERS, "likely is", rows=_assumptions(quote), right=NUMBERS),
        *_hints(quote),
    )


def _range(gas: prices_pb2.GasRange) -> Range:
    return gas.gas_least, gas.gas_likely, gas.gas_most


def _assumptions(quote: Quote, agent: str = "") -> Iterator[Sequence[str]]:
    """Yield what a run, and the runs of those that it asks, take for true; not what is certain."""
    for one in quote.own.assumptions:
        what = f"{meter_words(one.meter)} a call" if one.meter else "calls"
        if one.least < one.most:
            amounts = map(str, (one.least, one.likely, one.most))
            yield f"{agent}{one.item}", what, *amounts, _basis(one)
    for asked, inner in quote.asked:
        if asked.count_least < asked.count_most:
            counts = map(str, (asked.count_least, asked.count_likely, asked.count_most))
            yield f"{agent}agent {asked.name}", "calls", *counts, MIDDLE
        yield from _assumptions(inner, f"{agent}{asked.name}: ")


def _basis(assumption: prices_pb2.Assumption) -> str:
    match assumption.basis:
        case prices_pb2.Assumption.BASIS_MEASURED:
            return f"the mean of {assumption.charge_count}"
        case prices_pb2.Assumption.BASIS_MIDDLE:
            return MIDDLE
        case _:
            return "stated"


def _hints(quote: Quote) -> list[Text]:
    """Return what somebody should know before they start such a run."""
    plan, most = quote.plan, quote.gas[2]
    hints = []
    if plan.run_gas < min(most, plan.budget_gas):
        hints.append(f"its manifest allows {plan.run_gas} gas a run; one that needs more fails")
    if plan.budget_gas < most:
        agent = agent_of(plan.account)
        allowed = f"its manifest allows {plan.budget_gas} gas ({plan.budget_period})"
        hints.append(spelled(f"{allowed}; what is left: actionvm gas budget list {agent}"))
    return [Text(clean(hint), "yellow") for hint in hints]
