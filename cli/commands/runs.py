"""The commands that execute and look: run, runs, show, watch, cancel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2
from chassis.canonical import Json
from chassis.fields import RUN_NAME

from ..client import Client, connect_system
from ..command import AsJson, Settings, home_of, perform
from ..errors import CommandError, ExitCode
from ..following import assemble, check_receipt, start_run
from ..following import watch as watch_run
from ..home import Home
from ..manifest import Source, parse_input, parse_settings, read_source
from ..output import console, print_json, table, to_json
from ..render import render_receipt, state_text
from ..views import View, choose_view
from .agents import is_bundle, read_bundle

FINAL_STATES = frozenset(
    {
        runtime_pb2.Run.STATE_SUCCEEDED,
        runtime_pb2.Run.STATE_FAILED,
        runtime_pb2.Run.STATE_CANCELLED,
    }
)
SHA256 = re.compile(r"[0-9a-f]{64}")

Program = Annotated[
    str, typer.Argument(help="A manifest, a bundle file, or the digest of a bundle.")
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Such as runs/3f0c…; see: runs")]
Input = Annotated[
    str, typer.Option("--input", help="JSON, plain text, or @file with either of them.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Describe what would change outside; change nothing.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Most runs to show.")]


@dataclass(frozen=True)
class Order:
    """What somebody wants to be executed."""

    program: Source | action_pb2.Bundle | str
    parameters: str
    input_json: str
    dry_run: bool


def run(
    context: typer.Context,
    program: Program,
    *,
    input_text: Input = "",
    settings: Settings = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Execute an agent and show it live; Ctrl-C stops looking, not the run.

    Example: actionvm run agent.yaml --input '{"topic": "ether"}'
    """
    order = read_order(program, input_text=input_text, settings=settings or (), dry_run=dry_run)
    execute(home_of(context), order, as_json=as_json)


def read_order(
    program: str, *, input_text: str, settings: Sequence[str], dry_run: bool = False
) -> Order:
    """Read everything that a run needs from files and options."""
    return Order(
        program=_read_program(program),
        parameters=parse_settings(settings),
        input_json=parse_input(input_text),
        dry_run=dry_run,
    )


def execute(home: Home, order: Order, *, as_json: bool) -> str:
    """Run to the end and return the name of the run; a run that fails exits with 1."""
    with choose_view(as_json=as_json) as view:
        look = _Look(view)
        try:
            finished = perform(look.execute(home, order))
        except KeyboardInterrupt as interrupt:
            raise look.detach() from interrupt
    _exit_with(finished)
    return look.run


def watch(context: typer.Context, name: RunName, *, as_json: AsJson = False) -> None:
    """Show a run from its first event on, live until it ends; Ctrl-C stops looking.

    Example: actionvm watch runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    with choose_view(as_json=as_json) as view:
        look = _Look(view, run_name(name))
        try:
            finished = perform(look.watch(home_of(context)))
        except KeyboardInterrupt as interrupt:
            raise look.detach() from interrupt
    _exit_with(finished)


def list_runs(context: typer.Context, *, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List runs, newest first.

    Example: actionvm runs --limit 5
    """

    async def read() -> runtime_pb2.ListRunsResponse:
        request = runtime_pb2.ListRunsRequest(page_size=limit)
        async with connect_system(home_of(context)) as client:
            return await client.runtime(lambda stub: stub.ListRuns(request))

    found = perform(read()).runs
    if as_json:
        print_json({"runs": [to_json(one) for one in found]})
        return
    rows = [
        (
            one.name,
            state_text(one.state),
            one.account,
            str(one.step_count),
            str(one.gas),
            one.create_time.ToJsonString(),
        )
        for one in found
    ]
    columns = ("run", "state", "account", "steps", "gas", "started")
    console().print(
        table(*columns, rows=rows, right=("steps", "gas")) if rows else "there are no runs yet"
    )


def show(context: typer.Context, name: RunName, *, as_json: AsJson = False) -> None:
    """Show one run: its state, answer, and receipt.

    Example: actionvm show runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    perform(_show(home_of(context), run_name(name), as_json=as_json))


def cancel(context: typer.Context, name: RunName, *, as_json: AsJson = False) -> None:
    """Ask a run to stop. An effect that is under way is brought to its end first.

    Example: actionvm cancel runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    request = runtime_pb2.CancelRunRequest(name=run_name(name))

    async def ask() -> runtime_pb2.Run:
        async with connect_system(home_of(context)) as client:
            return (await client.runtime(lambda stub: stub.CancelRun(request))).run

    found = perform(ask())
    if as_json:
        print_json(to_json(found))
    elif found.state in FINAL_STATES:
        console().print(Text.assemble(f"{found.name} has ended: ", state_text(found.state)))
    else:
        console().print(f"{found.name} will stop; see it: actionvm watch {found.name}")


def run_name(text: str) -> str:
    """Return the full name of a run, which may be given without `runs/`."""
    name = text if text.startswith("runs/") else f"runs/{text}"
    if not RUN_NAME.fullmatch(name):
        raise CommandError(
            f"{text} is not the name of a run",
            reason="INVALID_FIELD",
            field="RUN",
            fix="list them: actionvm runs",
        )
    return name


@dataclass
class _Look:
    """One look at a run; its name is empty until the runtime has accepted it."""

    view: View
    run: str = ""

    async def execute(self, home: Home, order: Order) -> runtime_pb2.RunFinished:
        """Assemble if need be, start, and watch to the end."""
        async with connect_system(home) as client:
            program = order.program
            if isinstance(program, Source):
                assembly = await assemble(client, program, order.parameters, self.view)
                program = assembly.bundle
            started = await start_run(
                client, program, input_json=order.input_json, dry_run=order.dry_run
            )
            self.run = started.name
            self.view.run(started)
            return await self._follow(client)

    async def watch(self, home: Home) -> runtime_pb2.RunFinished:
        """Watch to the end."""
        async with connect_system(home) as client:
            return await self._follow(client)

    async def _follow(self, client: Client) -> runtime_pb2.RunFinished:
        finished = await watch_run(client, self.run, self.view.event)
        flaw = await check_receipt(client, finished.receipt)
        self.view.end(self.run, finished, flaw)
        return finished

    def detach(self) -> typer.Exit:
        """Say that the run goes on without us, and return what ends the command."""
        if not self.run:
            self.view.note("stopped before the run was accepted; if it was, see: actionvm runs")
        else:
            self.view.detached(self.run)
        return typer.Exit(ExitCode.DETACHED)


def _read_program(program: str) -> Source | action_pb2.Bundle | str:
    """Return what a word names: the digest of a bundle, a bundle file, or a manifest."""
    digest = program.removeprefix("bundles/")
    if SHA256.fullmatch(digest):
        return f"bundles/{digest}"
    path = Path(program)
    return read_bundle(path) if is_bundle(path) else read_source(path)


def _exit_with(finished: runtime_pb2.RunFinished) -> None:
    if finished.state != runtime_pb2.Run.STATE_SUCCEEDED:
        raise typer.Exit(ExitCode.RUN_FAILED)


async def _show(home: Home, name: str, *, as_json: bool) -> None:
    async with connect_system(home) as client:
        request = runtime_pb2.GetRunRequest(name=name)
        found = (await client.runtime(lambda stub: stub.GetRun(request))).run
        receipt, flaw = None, ""
        if found.state in FINAL_STATES:
            wanted = runtime_pb2.GetReceiptRequest(run=name)
            receipt = (await client.runtime(lambda stub: stub.GetReceipt(wanted))).receipt
            flaw = await check_receipt(client, receipt)
    if as_json:
        document: dict[str, Json] = {"run": to_json(found)}
        if receipt:
            document |= {"receipt": to_json(receipt), "receipt_verified": not flaw}
        print_json(document)
        return
    target = console()
    rows: list[tuple[str, str | Text]] = [
        ("run", found.name),
        ("state", state_text(found.state)),
        ("account", found.account),
        ("bundle", found.bundle),
        ("input", found.input),
        ("steps", str(found.step_count)),
        ("gas", str(found.gas)),
        ("started", found.create_time.ToJsonString()),
    ]
    if found.HasField("end_time"):
        rows.append(("ended", found.end_time.ToJsonString()))
    if found.HasField("failure"):
        rows.append(("failure", f"{found.failure.reason}: {found.failure.message}"))
    if found.answer:
        rows.append(("answer", found.answer))
    target.print(table("", "", rows=rows))
    if receipt:
        target.print(render_receipt(receipt, flaw))
