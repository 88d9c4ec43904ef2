"""The commands of what gas costs: gas prices show, list, update."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Group, RenderableType
from rich.text import Text

from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import prices_pb2

from ...client import Client, all_pages, problem_from_proto
from ...command import AsJson, Command, Yes, ask, confirm, group
from ...errors import CommandError
from ...meters import meter_words
from ...output import clean, console, print_json, spelled, table, to_json
from ...price_changes import Changes, compare, render_changes
from ...price_file import find_price_files, write_price_file
from ...quantities import PERMILLE, money_text, parse_moment, parse_zone
from ...render import time_text
from .options import Zone

# More are shown by the beginning of their items.
PRICES_SHOWN_MAX = 100
_GROUP = re.compile(r"(?<=/)|(?<=\.)")

app = group("See and change what gas costs: gas per 1,000 units of a meter.")

Wanted = Annotated[
    str, typer.Argument(metavar="WORDS", help="Only items with these letters, such as openai.")
]
Version = Annotated[str, typer.Option("--version", help="A table of the list; else that of now.")]
At = Annotated[str, typer.Option("--at", metavar="TIME", help="The table in force at this time.")]
AsYaml = Annotated[
    bool, typer.Option("--yaml", help="Print the whole table as a file that update takes.")
]
File = Annotated[
    Path, typer.Argument(metavar="FILE", help="YAML, or a folder of YAML files that are one table.")
]
Effective = Annotated[
    str,
    typer.Option(
        "--effective", metavar="TIME", help="When it comes into force, in --zone; else now."
    ),
]


@app.command("show", cls=Command)
def show(
    context: typer.Context,
    wanted: Wanted = "",
    *,
    version: Version = "",
    at: At = "",
    zone: Zone = "",
    as_yaml: AsYaml = False,
    as_json: AsJson = False,
) -> None:
    """Show a price table: the one in force, of a version, or of a time.

    Example: actionvm gas prices show openai
    """
    moment = parse_moment(at, parse_zone(zone, "--zone"), "--at") if at else None
    request = pb.GetPriceTableRequest(version=version, time=moment)
    found = ask(context, lambda client: client.gas(lambda stub: stub.GetPriceTable(request)))
    if as_yaml:
        sys.stdout.write(write_price_file(found))
        return
    prices = [price for price in found.prices if wanted.lower() in price.item.lower()]
    weights = [weight for weight in found.weights if wanted.lower() in weight.item.lower()]
    if as_json:
        del found.prices[:], found.weights[:]
        found.prices.extend(prices)
        found.weights.extend(weights)
        print_json(to_json(found))
        return
    if len(prices) > PRICES_SHOWN_MAX and not wanted:
        console().print(_render_groups(found, prices))
    elif not prices:
        advice = f"no item has '{clean(wanted)}' in it; see all: actionvm gas prices show"
        console().print(Text(spelled(advice)))
    else:
        console().print(_render_table(found, prices, weights))


@app.command("list", cls=Command)
def list_tables(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the price tables that were, are and will be in force.

    Example: actionvm gas prices list
    """

    async def read(client: Client) -> list[prices_pb2.ScheduledPriceTable]:
        def fetch(token: str) -> Awaitable[prices_pb2.ListPriceTablesResponse]:
            request = prices_pb2.ListPriceTablesRequest(page_token=token)
            return client.gas(lambda stub: stub.ListPriceTables(request))

        return await all_pages(fetch, lambda page: page.tables)

    found = ask(context, read)
    if as_json:
        print_json({"tables": [to_json(one) for one in found]})
        return
    rows = [
        (
            one.version,
            _since(one.effective_time),
            time_text(one.create_time),
            str(one.price_count),
            "its start" if one.from_file else "an operator",
            Text("in force" if one.in_force else "", "green"),
        )
        for one in found
    ]
    columns = ("version", "from", "scheduled", "prices", "by", "")
    made = table(*columns, rows=rows, right=("prices",))
    console().print(made if rows else "there are no price tables yet")


@app.command("update", cls=Command)
def update(
    context: typer.Context,
    file: File,
    *,
    effective: Effective = "",
    zone: Zone = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Replace the price table, now or later, after showing what changes.

    The file is the whole table; get that of now with: actionvm gas prices show --yaml

    Holds keep the prices at which they were made.

    Example: actionvm gas prices update prices.yaml --effective 2026-12-01
    """
    moment = (
        parse_moment(effective, parse_zone(zone, "--zone"), "--effective") if effective else None
    )
    files = find_price_files(file)
    wanted, before = ask(context, lambda client: _read(client, files, moment))
    changes = compare(before, wanted)
    if not as_json:
        console().print(render_changes(changes, before.version))
    if changes.is_empty and moment is None:
        _tell_unchanged(before, as_json=as_json)
        return
    if not yes:
        confirm("Put these prices into force?", refusal="the prices stay as they are")
    found = ask(context, lambda client: client.gas(lambda stub: stub.UpdatePriceTable(wanted)))
    if as_json:
        print_json(to_json(found) | {"changes": changes.to_json()})
    else:
        console().print(
            f"prices {found.version} are in force from {time_text(found.effective_time)}"
        )


async def _read(
    client: Client, files: list[prices_pb2.PriceFile], moment: Timestamp | None
) -> tuple[pb.UpdatePriceTableRequest, pb.GetPriceTableResponse]:
    """Return what files ask for, which is shown and then sent, and the table of that time."""
    reading = prices_pb2.ReadPriceFilesRequest(files=files)
    found = await client.gas(lambda stub: stub.ReadPriceFiles(reading))
    if found.problems:
        count = len(found.problems)
        raise CommandError(
            f"the price table has {count} problem{'s' if count > 1 else ''}; nothing was changed",
            reason="PRICE_FILE_INVALID",
            field="FILE",
            fix="a table that works: actionvm gas prices show --yaml",
            problems=[*map(problem_from_proto, found.problems)],
        )
    wanted = pb.UpdatePriceTableRequest(request_id=str(uuid.uuid4()), effective_time=moment)
    wanted.MergeFrom(found.update)
    request = pb.GetPriceTableRequest(time=moment)
    return wanted, await client.gas(lambda stub: stub.GetPriceTable(request))


def _tell_unchanged(before: pb.GetPriceTableResponse, *, as_json: bool) -> None:
    if as_json:
        document = {"version": before.version, "effective_time": ""}
        print_json({**document, "changes": Changes().to_json()})
    else:
        console().print("nothing was sent")


def _render_table(
    found: pb.GetPriceTableResponse,
    prices: list[pb.Price],
    weights: list[prices_pb2.Weight],
) -> RenderableType:
    rate = found.rate
    numbers = ("gas per 1,000", "money per 1,000,000")
    rows = [
        (
            price.item,
            f"{meter_words(price.meter)}{_tier(price)}",
            str(price.gas_per_thousand),
            _money(price, rate),
            price.source_date or "our own",
        )
        for price in prices
    ]
    parts: list[RenderableType] = [
        table("item", "meter", *numbers, "read", rows=rows, right=numbers)
    ]
    if weights:
        parts += [Text(), _render_weights(weights)]
    return Group(*parts, Text(), _render_origin(found))


def _render_groups(found: pb.GetPriceTableResponse, prices: list[pb.Price]) -> RenderableType:
    """Return how many prices there are of each provider or connector."""
    items: dict[str, set[str]] = {}
    for price in prices:
        items.setdefault(_GROUP.split(price.item, maxsplit=1)[0], set()).add(price.item)
    rows = [(name, str(len(items[name]))) for name in sorted(items)]
    advice = Text(spelled("see the prices of some: actionvm gas prices show anthropic"))
    made = table("items that begin with", "count", rows=rows, right=("count",))
    return Group(made, Text(), _render_origin(found), advice)


def _render_origin(found: pb.GetPriceTableResponse) -> Text:
    """Return which table it is, since when, and what gas is worth in it."""
    text = f"prices {found.version} from {_since(found.effective_time)}"
    if found.rate.currency:
        worth = money_text(found.rate.micros_per_thousand_gas, found.rate.currency)
        text += f"; 1,000 gas are {worth}"
    return Text(text)


def _since(moment: Timestamp) -> str:
    # The first table counts for all times before the second.
    return time_text(moment) if moment.seconds else "the beginning"


def _tier(price: pb.Price) -> str:
    above = price.input_tokens_above
    return f", above {above} read" if above else ""


def _money(price: pb.Price, rate: prices_pb2.Rate) -> str:
    """Return what a million units cost, in which providers count."""
    if not rate.currency:
        return ""
    # A million units cost a thousand times the gas of a thousand.
    micros = price.gas_per_thousand * rate.micros_per_thousand_gas
    return money_text(micros, rate.currency)


def _render_weights(weights: list[prices_pb2.Weight]) -> RenderableType:
    rows = [
        (
            weight.item,
            f"{weight.complexity_permille / PERMILLE:g}",
            f"{weight.inference_time_permille / PERMILLE:g}",
            ", ".join(
                f"{one.weight_permille / PERMILLE:g} from {one.calls_min} calls an hour"
                for one in weight.frequencies
            ),
        )
        for weight in weights
    ]
    return table("weights of", "complexity", "time", "frequency", rows=rows)
