"""The commands that have a say in runs: pause, resume, signal, fork."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer
from rich.text import Text

from actionvm.runtime.v1 import runtime_pb2

from ..client import Client
from ..command import AsJson, ask
from ..manifest import parse_input
from ..output import console, print_json, to_json
from ..render import state_text
from .runs import FINAL_STATES, RunName, run_name

Signal = Annotated[
    str, typer.Argument(metavar="SIGNAL", help="The name that the run waits for, such as go.")
]
Payload = Annotated[
    str, typer.Option("--payload", help="JSON, plain text, or @file with either of them.")
]
After = Annotated[
    int,
    typer.Option(
        "--after",
        min=0,
        help="The last event to keep, as watch --json numbers them; 0: the last way out.",
    ),
]


def pause(context: typer.Context, name: RunName, *, as_json: AsJson = False) -> None:
    """Let nothing new begin in a run until it is resumed. Its time goes on.

    Example: actionvm pause runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    request = runtime_pb2.PauseRunRequest(name=run_name(name))

    async def tell(client: Client) -> runtime_pb2.Run:
        return (await client.runtime(lambda stub: stub.PauseRun(request))).run

    found = ask(context, tell)
    _show(found, f"{found.name} pauses; go on: actionvm resume {found.name}", as_json=as_json)


def resume(context: typer.Context, name: RunName, *, as_json: AsJson = False) -> None:
    """Let a paused run go on.

    Example: actionvm resume runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    request = runtime_pb2.ResumeRunRequest(name=run_name(name))

    async def tell(client: Client) -> runtime_pb2.Run:
        return (await client.runtime(lambda stub: stub.ResumeRun(request))).run

    found = ask(context, tell)
    _show(found, f"{found.name} goes on; see it: actionvm watch {found.name}", as_json=as_json)


def signal(
    context: typer.Context,
    name: RunName,
    signal: Signal,
    *,
    payload: Payload = "",
    as_json: AsJson = False,
) -> None:
    """Send a signal to a run: what it waits for with the action run.wait.

    Example: actionvm signal runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b go --payload '{"price": 3}'
    """
    request = runtime_pb2.SignalRunRequest(
        request_id=str(uuid.uuid4()),
        name=run_name(name),
        signal=signal,
        payload=parse_input(payload, field="--payload") if payload else "null",
    )

    async def tell(client: Client) -> None:
        await client.runtime(lambda stub: stub.SignalRun(request))

    ask(context, tell)
    if as_json:
        print_json({"run": request.name, "signal": signal})
    else:
        console().print(f"{request.name} has the signal {signal}", markup=False)


def fork(
    context: typer.Context, name: RunName, *, after: After = 0, as_json: AsJson = False
) -> None:
    """Start a run with the first events of another one: try again from a step, or another way.

    Example: actionvm fork runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b --after 4
    """
    request = runtime_pb2.ForkRunRequest(
        request_id=str(uuid.uuid4()), name=run_name(name), sequence=after
    )

    async def tell(client: Client) -> runtime_pb2.Run:
        return (await client.runtime(lambda stub: stub.ForkRun(request))).run

    found = ask(context, tell)
    _show(found, f"{found.name} has begun; see it: actionvm watch {found.name}", as_json=as_json)


def _show(run: runtime_pb2.Run, told: str, *, as_json: bool) -> None:
    if as_json:
        print_json(to_json(run))
    elif run.state in FINAL_STATES:
        console().print(Text.assemble(f"{run.name} has ended: ", state_text(run.state)))
    else:
        console().print(told)
