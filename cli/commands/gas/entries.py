"""The commands that read and mend the ledger: gas entries, refund, drift."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections import deque
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format
from rich.text import Text

from actionvm.gas.v1 import budgets_pb2
from actionvm.gas.v1 import gas_pb2 as pb

from ...client import Client, all_pages
from ...command import AsJson, ask
from ...errors import CommandError, ExitCode
from ...ledger import Anchor, Chain, verify
from ...manifest import read_limited
from ...meters import meter_words
from ...output import console, print_json, spelled, table, to_json
from ...quantities import money_text, parse_whole
from ...render import time_text
from .options import AnyAgent, account_name, agent_of, resource_name

FILE_BYTES_MAX = 1024**3
PAGE_SIZE = 1_000
WIDTH_WITH_HOLDS = 120
KEPT = re.compile(r"([1-9][0-9]{0,15}):([0-9a-f]{64})")

Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Show the last so many.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Read all entries, and recompute their chain of hashes.")
]
Kept = Annotated[
    str,
    typer.Option(
        "--kept", metavar="SEQUENCE:HASH", help="What --verify once said: nothing before changed."
    ),
]
File = Annotated[
    Path | None, typer.Option("--file", help="Read what --json wrote, without any service.")
]
HoldName = Annotated[str, typer.Argument(metavar="HOLD", help="As in: gas entries")]
Gas = Annotated[str, typer.Argument(metavar="GAS", help="Gas to return, from 1.")]
Cause = Annotated[str, typer.Option("--cause", metavar="TEXT", help="Why, for the ledger.")]
Item = Annotated[
    str, typer.Argument(metavar="ITEM", help="Such as 'model openai/gpt-4o'; default all.")
]


def entries(
    context: typer.Context,
    agent: AnyAgent = "",
    *,
    limit: Limit = 20,
    verify_all: Verify = False,
    kept: Kept = "",
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Show the last entries of the ledger, or verify all of it; with --json all are printed.

    --verify says the last hash. Keep it: with --kept you can tell later whether anything up to it
    was changed, dropped or moved, also if the whole ledger was written anew.

    Example: actionvm gas entries --verify
    """
    if agent and (verify_all or kept):
        raise CommandError(
            "the entries of one agent are no chain; only all of them can be verified",
            reason="INVALID_FIELD",
            field="AGENT",
            fix="actionvm gas entries --verify",
        )
    anchor = _parse_kept(kept) if kept else None
    last = 0 if verify_all or anchor or as_json else limit + 1
    found = (
        _read_file(file) if file else ask(context, lambda client: _read(client, agent, last=last))
    )
    if verify_all or anchor:
        _tell_chain(verify(found, anchor), as_json=as_json)
    elif as_json:
        print_json({"entries": [to_json(entry) for entry in found]})
    else:
        _print_entries(found, limit)


def refund(
    context: typer.Context,
    hold: HoldName,
    gas: Gas,
    *,
    cause: Cause,
    as_json: AsJson = False,
) -> None:
    """Return gas of a charge, by an entry in the other direction. Receipts stay as they are.

    Example: actionvm gas refund holds/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b 100 --cause "was down"
    """
    request = pb.RefundGasRequest(
        request_id=str(uuid.uuid4()),
        hold=resource_name(hold, "holds"),
        gas=parse_whole(gas, "GAS"),
        cause=cause,
    )

    async def give_back(client: Client) -> pb.Hold:
        return (await client.gas(lambda stub: stub.RefundGas(request))).hold

    found = ask(context, give_back)
    if as_json:
        print_json(to_json(found))
        return
    left = found.charged_gas - found.refunded_gas
    console().print(f"{found.account} got {request.gas} gas back; {left} of the charge are left")


def drift(context: typer.Context, item: Item = "", *, as_json: AsJson = False) -> None:
    """Compare what providers count as tokens with what is counted here.

    Where we counted less than the provider, what was held could be too little.

    Example: actionvm gas drift "model openai/gpt-4o"
    """

    async def read(client: Client) -> list[budgets_pb2.TokenDrift]:
        def fetch(token: str) -> Awaitable[budgets_pb2.ListTokenDriftResponse]:
            request = budgets_pb2.ListTokenDriftRequest(item=item, page_token=token)
            return client.gas(lambda stub: stub.ListTokenDrift(request))

        return await all_pages(fetch, lambda page: page.drifts)

    found = ask(context, read)
    if as_json:
        print_json({"drifts": [to_json(one) for one in found]})
        return
    numbers = ("charges", "provider", "counted", "drift", "at most", "below")
    made = table("item", "meter", "counter", *numbers, rows=map(_drift, found), right=numbers)
    console().print(made if found else "nothing to compare: no provider has counted tokens yet")


def _drift(one: budgets_pb2.TokenDrift) -> tuple[str, ...]:
    counter = budgets_pb2.TokenCount.Counter.Name(one.counter).removeprefix("COUNTER_")
    difference = one.counted_amount - one.provider_amount
    share = f"{difference / one.provider_amount:+.1%}" if one.provider_amount else ""
    return (
        one.item,
        meter_words(one.meter),
        counter.lower().replace("_", " "),
        str(one.charge_count),
        str(one.provider_amount),
        str(one.counted_amount),
        share,
        f"{one.drift_permille_max / 1_000:.1%}",
        str(one.below_count),
    )


async def _read(client: Client, agent: str, *, last: int) -> list[pb.Entry]:
    """Return the last entries in order, so many if there are and at most a page more; 0 is all."""

    def fetch(token: str) -> Awaitable[pb.ListEntriesResponse]:
        request = pb.ListEntriesRequest(
            account=account_name(agent),
            page_size=min(last or PAGE_SIZE, PAGE_SIZE),
            page_token=token,
            newest_first=last > 0,
        )
        return client.gas(lambda stub: stub.ListEntries(request))

    found = await all_pages(fetch, lambda page: page.entries, count_min=last or math.inf)
    return found[::-1] if last else found


def _read_file(file: Path) -> list[pb.Entry]:
    content = read_limited(file, FILE_BYTES_MAX, what=str(file), field="--file")
    try:
        document = json.loads(content)
        # Of an empty list protobuf makes an empty message.
        page = json_format.ParseDict({"entries": document["entries"]}, pb.ListEntriesResponse())
    except (json_format.ParseError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CommandError(
            f"{file} holds no entries: {type(error).__name__}: {error}",
            reason="FILE_INVALID",
            field="--file",
            fix="write it with: actionvm gas entries --json",
        ) from error
    return [*page.entries]


def _parse_kept(text: str) -> Anchor:
    found = KEPT.fullmatch(text)
    if not found:
        raise CommandError(
            f"--kept {text} is not of the form SEQUENCE:HASH",
            reason="INVALID_FIELD",
            field="--kept",
            fix="as actionvm gas entries --verify prints it",
        )
    return Anchor(parse_whole(found[1], "--kept"), bytes.fromhex(found[2]))


def _tell_chain(chain: Chain, *, as_json: bool) -> None:
    """Say whether the ledger is whole; one that is not exits with 1."""
    head = f"{chain.count}:{chain.head.hex()}"
    if as_json:
        print_json(
            {"verified": not chain.flaw, "flaw": chain.flaw, "count": chain.count, "head": head}
        )
    elif chain.flaw:
        console().print(Text(f"✗ not verified: {chain.flaw}", "bold red"))
    elif not chain.count:
        console().print("the ledger is empty")
    else:
        console().print(
            Text(f"✓ {chain.count} entries, each with the hash that it must have", "green")
        )
        console().print(spelled(f"keep this: actionvm gas entries --verify --kept {head}"))
    if chain.flaw:
        raise typer.Exit(ExitCode.RUN_FAILED)


def _print_entries(found: list[pb.Entry], limit: int) -> None:
    if not found:
        console().print(Text(spelled("the ledger is empty; see: actionvm runs")))
        return
    columns = ("entry", "time (UTC)", "kind", "agent", "item", "gas", "hold")
    is_wide = console().width >= WIDTH_WITH_HOLDS
    shown = columns if is_wide else columns[:-1]
    rows = [_row(entry)[: len(shown)] for entry in deque(found, maxlen=limit)]
    console().print(table(*shown, rows=rows, right=("entry", "gas")))
    if len(rows) < len(found):
        console().print(f"the last {limit}; --limit shows more")
    if not is_wide:
        console().print(
            f"a terminal of {WIDTH_WITH_HOLDS} columns shows holds, too; so does --json"
        )


def _row(entry: pb.Entry) -> tuple[str, ...]:
    is_paid = entry.kind in {pb.Entry.KIND_CHARGE, pb.Entry.KIND_FEE}
    gas = str(entry.gas if is_paid else -entry.gas)
    return (
        str(entry.sequence),
        time_text(entry.create_time).removesuffix(" UTC"),
        pb.Entry.Kind.Name(entry.kind).removeprefix("KIND_").lower(),
        agent_of(entry.debit_account if is_paid else entry.credit_account),
        entry.item,
        money_text(entry.fee.micros, entry.fee.currency) if entry.HasField("fee") else gas,
        entry.hold.removeprefix("holds/"),
    )
