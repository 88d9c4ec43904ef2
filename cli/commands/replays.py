"""The commands that look at what runs did, once more: replay, diff."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.message import Message
from grpc import aio
from rich.console import Group, RenderableType
from rich.text import Text

from actionvm.runtime.v1 import runtime_pb2
from chassis.canonical import Json

from ..client import Client, command_error
from ..command import AsJson, ask
from ..errors import ExitCode
from ..output import clean, console, print_json, to_json
from ..render import describe_event
from .runs import RunName, run_name

Other = Annotated[str, typer.Argument(metavar="OTHER", help="The run to compare it with.")]
SECONDS_MAX = 300.0


def replay(context: typer.Context, name: RunName, *, as_json: AsJson = False) -> None:
    """Execute a run again from its journal, without network and models, and compare.

    Answers are those that were journaled; decisions, prompts, the order of things and the end are
    made anew by the runtime of today. The first event that differs is shown, and exits with 1.

    Example: actionvm replay runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    request = runtime_pb2.ReplayRunRequest(name=run_name(name))

    async def read(client: Client) -> list[runtime_pb2.ReplayRunResponse]:
        try:
            stream = client.runtime.stub.ReplayRun(request, timeout=SECONDS_MAX)
            return [event async for event in stream]
        except aio.AioRpcError as error:
            raise command_error(error, client.runtime.name, client.runtime.address) from error

    events = ask(context, read)
    different = next((event for event in events if not event.same), None)
    if as_json:
        found: dict[str, Json] = {"run": request.name, "events": len(events)}
        print_json({**found, "same": not different, **_difference_to_json(different)})
    elif different is None:
        console().print(f"✓ {request.name} is the same, all {len(events)} events of it")
    else:
        console().print(_render_difference(different))
    if different:
        raise typer.Exit(ExitCode.RUN_FAILED)


def diff(context: typer.Context, name: RunName, other: Other, *, as_json: AsJson = False) -> None:
    """Show the first event in which two runs differ, such as a run and its fork.

    Names, times and bills are no difference. Runs that differ exit with 1.

    Example: actionvm diff 3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b 0c6a528d-0e4b-4f5e-8d0e-3f0c6a528d0e
    """
    request = runtime_pb2.DiffRunsRequest(left=run_name(name), right=run_name(other))

    async def read(client: Client) -> runtime_pb2.DiffRunsResponse:
        return await client.runtime(lambda stub: stub.DiffRuns(request))

    found = ask(context, read)
    if as_json:
        print_json({"same": not found.sequence, **to_json(found)})
    elif not found.sequence:
        console().print("✓ both went the same way")
    else:
        lines = [_line_of_diff(line) for line in found.difference.splitlines()]
        title = Text(f"event {found.sequence} is the first that differs", "bold yellow")
        console().print(Group(title, *lines))
    if found.sequence:
        raise typer.Exit(ExitCode.RUN_FAILED)


def _difference_to_json(different: runtime_pb2.ReplayRunResponse | None) -> dict[str, Json]:
    return {"difference": to_json(different)} if different else {}


def _render_difference(different: runtime_pb2.ReplayRunResponse) -> RenderableType:
    title = f"✗ event {different.sequence} differs: {different.difference}"
    lines = [
        Text.assemble((f"{name:<9} ", "bold"), _describe(event))
        for name, event in (("journaled", different.journaled), ("replayed", different.event))
        if event.WhichOneof("event")
    ]
    return Group(Text(clean(title), "bold red"), *lines)


def _describe(event: runtime_pb2.WatchRunResponse) -> Text:
    kind = event.WhichOneof("event")
    assert kind is not None, "the caller has looked"
    told: Message = getattr(event, kind)
    return describe_event(event) or Text(clean(f"{kind} {' '.join(str(told).split())}"))


def _line_of_diff(line: str) -> Text:
    style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
    return Text(clean(line), style)
