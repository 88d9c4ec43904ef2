"""The commands that execute and look: run, runs, show, watch, cancel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2
from chassis.canonical import Json
from chassis.fields import RUN_NAME

from ..client import Client
from ..command import AsJson, Settings, ask
from ..errors import CommandError, ExitCode
from ..following import assemble, check_receipt, read_receipts, start_run
from ..following import watch as watch_run
from ..manifest import Source, parse_input, parse_settings, read_source
from ..output import console, print_json, table, to_json
from ..receipt import Checked
from ..render import age_text, render_receipt, state_text, time_text
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
    str,
    typer.Argument(metavar="PROGRAM", help="A manifest, a bundle file, or the digest of a bundle."),
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
    """Execute an agent and show it live. Ctrl-C stops looking, not the run.

    Example: actionvm run agent.yaml --input '{"topic": "ether"}'
    """
    order = read_order(program, input_text=input_text, settings=settings or (), dry_run=dry_run)
    execute(context, order, as_json=as_json)


def read_order(
    program: str, *, input_text: str, settings: Sequence[str], dry_run: bool = False
) -> Order:
    """Read everything that a run needs from files and options."""
    return Order(
        program=read_program(program),
        parameters=parse_settings(settings),
        input_json=parse_input(input_text),
        dry_run=dry_run,
    )


def execute(context: typer.Context, order: Order, *, as_json: bool, cancels: bool = False) -> None:
    """Run to the end; a run that fails exits with 1.

    Ctrl-C leaves the run alone, or cancels it where nobody could bring it to its end.
    """
    with choose_view(as_json=as_json) as view:
        look = _Look(view)
        try:
            finished = ask(context, lambda client: look.execute(client, order))
        except KeyboardInterrupt as interrupt:
            if cancels and look.run:
                ask(context, look.cancel)
                raise typer.Exit(ExitCode.INTERRUPTED) from interrupt
            raise look.detach() from interrupt
    _exit_with(finished)


def watch(context: typer.Context, name: RunName, *, as_json: AsJson = False) -> None:
    """Show a run from its first event on, live until it ends. Ctrl-C stops looking.

    Example: actionvm watch runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    with choose_view(as_json=as_json) as view:
        look = _Look(view, run_name(name))
        try:
            finished = ask(context, look.watch)
        except KeyboardInterrupt as interrupt:
            raise look.detach() from interrupt
    _exit_with(finished)


def list_runs(context: typer.Context, *, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List runs, newest first.

    Example: actionvm runs --limit 5
    """
    request = runtime_pb2.ListRunsRequest(page_size=limit)

    async def read(client: Client) -> runtime_pb2.ListRunsResponse:
        return await client.runtime(lambda stub: stub.ListRuns(request))

    found = ask(context, read).runs
    if as_json:
        print_json({"runs": [to_json(one) for one in found]})
        return
    rows = [
        (
            # Short, so that a line fits into 80 columns; every command takes a run like this.
            one.name.removeprefix("runs/"),
            _state_text(one),
            _agent_text(one),
            str(one.step_count),
            str(one.gas),
            age_text(one.create_time),
        )
        for one in found
    ]
    columns = ("run", "state", "agent", "steps", "gas", "age")
    made = table(*columns, rows=rows, right=("steps", "gas", "age"))
    console().print(made if rows else "there are no runs yet")


def show(context: typer.Context, name: RunName, *, as_json: AsJson = False) -> None:
    """Show one run: its state, answer, and receipt, with those of the runs that it called.

    Example: actionvm show runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    request = runtime_pb2.GetRunRequest(name=run_name(name))

    async def read(client: Client) -> tuple[runtime_pb2.Run, list[Checked]]:
        found = (await client.runtime(lambda stub: stub.GetRun(request))).run
        is_final = found.state in FINAL_STATES
        return found, await read_receipts(client, found.name) if is_final else []

    found, receipts = ask(context, read)
    if as_json:
        bills: list[dict[str, Json]] = [
            {"receipt": to_json(one.receipt), "receipt_verified": not one.flaw} for one in receipts
        ]
        document: dict[str, Json] = {"run": to_json(found)}
        if bills:
            document |= bills[0] | {"called": bills[1:]}
        print_json(document)
        return
    console().print(_render_run(found))
    for one in receipts:
        console().print(render_receipt(one.receipt, one.flaw, one.depth))


def cancel(context: typer.Context, name: RunName, *, as_json: AsJson = False) -> None:
    """Ask a run to stop. An effect that is under way is brought to its end first.

    Example: actionvm cancel runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    request = runtime_pb2.CancelRunRequest(name=run_name(name))

    async def stop(client: Client) -> runtime_pb2.Run:
        return (await client.runtime(lambda stub: stub.CancelRun(request))).run

    found = ask(context, stop)
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

    async def execute(self, client: Client, order: Order) -> runtime_pb2.RunFinished:
        """Assemble if need be, start, and watch to the end."""
        program = order.program
        if isinstance(program, Source):
            assembly = await assemble(client, program, order.parameters, self.view)
            program = assembly.bundle
        started = await start_run(
            client, program, input_json=order.input_json, dry_run=order.dry_run
        )
        self.run = started.name
        self.view.run(started)
        return await self.watch(client)

    async def watch(self, client: Client) -> runtime_pb2.RunFinished:
        """Watch to the end."""
        finished = await watch_run(client, self.run, self.view.event)
        flaw = await check_receipt(client, finished.receipt)
        self.view.end(self.run, finished, flaw)
        return finished

    async def cancel(self, client: Client) -> None:
        """Cancel, and show the end, which comes after the effect that is under way."""
        self.view.note("cancelling the run; Ctrl-C again leaves it as it is")
        request = runtime_pb2.CancelRunRequest(name=self.run)
        await client.runtime(lambda stub: stub.CancelRun(request))
        # What happened until now was shown.
        finished = await watch_run(client, self.run, lambda _: None)
        self.view.end(self.run, finished, await check_receipt(client, finished.receipt))

    def detach(self) -> typer.Exit:
        """Say that the run goes on without us, and return what ends the command."""
        if not self.run:
            self.view.note("stopped before the run was accepted; if it was, see: actionvm runs")
        else:
            self.view.detached(self.run)
        return typer.Exit(ExitCode.INTERRUPTED)


def read_program(program: str) -> Source | action_pb2.Bundle | str:
    """Return what a word names: the digest of a bundle, a bundle file, or a manifest."""
    digest = program.removeprefix("bundles/")
    if SHA256.fullmatch(digest):
        return f"bundles/{digest}"
    path = Path(program)
    return read_bundle(path) if is_bundle(path) else read_source(path)


def _state_text(run: runtime_pb2.Run) -> Text:
    """Return the state of a run; one that waits for a person does so in this one."""
    return Text("waiting", "yellow") if run.approval else state_text(run.state)


def _agent_text(run: runtime_pb2.Run) -> str:
    """Return the agent of a run, and the beginning of the run that it answers to."""
    agent = run.account.removeprefix("agents/")
    return f"{agent} for {run.parent.removeprefix('runs/')[:8]}" if run.parent else agent


def _exit_with(finished: runtime_pb2.RunFinished) -> None:
    if finished.state != runtime_pb2.Run.STATE_SUCCEEDED:
        raise typer.Exit(ExitCode.RUN_FAILED)


def _render_run(found: runtime_pb2.Run) -> Table:
    rows: list[tuple[str, str | Text]] = [
        ("run", found.name),
        ("state", _state_text(found)),
        *([("waits for", found.approval)] if found.approval else ()),
        ("account", found.account),
        *([("asked by", found.parent)] if found.parent else ()),
        ("bundle", found.bundle),
        ("input", found.input),
        *([("forked from", found.origin)] if found.origin else ()),
        ("steps", str(found.step_count)),
        ("gas", str(found.gas)),
        ("started", time_text(found.create_time)),
    ]
    if found.HasField("end_time"):
        rows.append(("ended", time_text(found.end_time)))
    if found.HasField("failure"):
        rows.append(("failure", f"{found.failure.reason}: {found.failure.message}"))
    if found.answer:
        rows.append(("answer", found.answer))
    return table("", "", rows=rows)
