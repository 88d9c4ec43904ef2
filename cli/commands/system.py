"""The commands that start and stop a system and look at it: up, down, status."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from chassis.canonical import Json

from .. import lifecycle
from ..command import AsJson, home_of
from ..errors import CommandError, ExitCode
from ..health import Condition, examine, failure, wait_until_serving
from ..home import Home
from ..output import console, error_console, print_error, print_json, spelled, table
from ..services import PLATFORM, PORT_BASE, SERVICE_NAMES
from ..state import State, read_alive

WATCH_SECONDS = 0.5

Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return when all services serve.")]
PortBase = Annotated[
    int,
    typer.Option(
        "--port-base",
        help="First of six ports in a row, on this machine only; six more are 10 above.",
    ),
]


def up(
    context: typer.Context,
    *,
    detach: Detach = False,
    port_base: PortBase = PORT_BASE,
    as_json: AsJson = False,
) -> None:
    """Start the six services and keep them running. Each is a process of its own.

    Without --detach the command stays and Ctrl-C stops everything.

    Example: actionvm up --detach
    """
    home = home_of(context)
    if detach:
        started = bring_up_detached(home, port_base)
        _tell_up(home, started, as_json=as_json)
        return
    try:
        asyncio.run(_up_attached(home, port_base, as_json=as_json))
    except KeyboardInterrupt:
        # Ctrl-C is how this command ends.
        error_console().print("stopping")
    asyncio.run(lifecycle.stop(home))


def down(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Stop the services and wait until the last of them has ended.

    Example: actionvm down
    """
    stopped = asyncio.run(lifecycle.stop(home_of(context)))
    if as_json:
        print_json({"stopped": stopped})
    else:
        console().print("stopped" if stopped else "nothing runs")


def status(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show the platform and each service: where it listens, its health and its memory.

    Example: actionvm status --json
    """
    home = home_of(context)
    state = read_alive(home)
    if state is None:
        raise CommandError(
            f"nothing runs in {home.folder}",
            reason="NOT_RUNNING",
            fix="start it: actionvm up --detach",
            exit_code=ExitCode.UNREACHABLE,
        )
    conditions = asyncio.run(examine(home, state))
    if as_json:
        print_json(_status_json(home, state, conditions))
    else:
        _print_status(conditions)
        for one in conditions:
            if one.health == "failed":
                print_error(failure(home, one.service, one.child), as_json=False)
    if any(one.health != "serving" for one in conditions):
        raise typer.Exit(ExitCode.UNREACHABLE)


def bring_up_detached(home: Home, port_base: int) -> lifecycle.Started:
    """Start a system that outlives this command unless it runs, and wait until it serves."""
    try:
        return asyncio.run(_bring_up(home, port_base, attached=False))
    except KeyboardInterrupt:
        told = (
            "interrupted; what was started goes on: actionvm status shows it, actionvm down ends it"
        )
        error_console().print(spelled(told))
        raise typer.Exit(ExitCode.INTERRUPTED) from None


async def _bring_up(home: Home, port_base: int, *, attached: bool) -> lifecycle.Started:
    """Start a system unless it runs, and wait until it serves."""
    started = await lifecycle.start(home, port_base, attached=attached)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.completed}/{task.total} services serve"),
        TextColumn("{task.fields[last]}"),
        console=error_console(),
        transient=True,
    ) as progress:
        task = progress.add_task("starting", total=len(SERVICE_NAMES), last="")
        await wait_until_serving(
            home, started.state, lambda service: progress.update(task, advance=1, last=service)
        )
    return started


async def _up_attached(home: Home, port_base: int, *, as_json: bool) -> None:
    """Start a system, tell of restarts, and return when the supervisor has ended."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    started = await _bring_up(home, port_base, attached=True)
    _tell_up(home, started, as_json=as_json)
    if not started.is_new:
        # It belongs to whoever started it.
        raise typer.Exit(ExitCode.DONE)
    error_console().print("Ctrl-C stops them")
    restarts = dict.fromkeys((PLATFORM.name, *SERVICE_NAMES), 0)
    while not ended.is_set():
        state = read_alive(home)
        if state is None:
            return
        for name, child in state.children.items():
            if child.restarts != restarts[name]:
                restarts[name] = child.restarts
                error_console().print(f"{name} {child.last_exit}; started again")
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), WATCH_SECONDS)


def _tell_up(home: Home, started: lifecycle.Started, *, as_json: bool) -> None:
    state = read_alive(home) or started.state
    if as_json:
        services = {name: asdict(child) for name, child in state.services.items()}
        print_json({"started": started.is_new, "home": str(home.folder), "services": services})
        return
    first, last = state.addresses[SERVICE_NAMES[0]], state.addresses[SERVICE_NAMES[-1]]
    verb = "six services serve" if started.is_new else "already running: six services serve"
    console().print(f"{verb} on {first} to {last.rpartition(':')[2]}")
    hint = f"home {home.folder}; actionvm status shows them, actionvm down stops them"
    console().print(Text(spelled(hint), "dim"))


def _print_status(conditions: list[Condition]) -> None:
    styles = {"serving": "green", "failed": "bold red"}
    rows = [
        (
            one.service,
            one.child.address if one.service != PLATFORM.name else "-",
            str(one.child.pid or "-"),
            Text(one.health, styles.get(one.health, "yellow")),
            f"{one.memory_bytes / 1e6:.0f} MB" if one.memory_bytes else "-",
            _duration(one.uptime_seconds),
            str(one.child.restarts),
        )
        for one in conditions
    ]
    columns = ("service", "address", "pid", "health", "memory", "up", "restarts")
    console().print(table(*columns, rows=rows, right=("pid", "memory", "up", "restarts")))


def _status_json(home: Home, state: State, conditions: list[Condition]) -> dict[str, Json]:
    platform, *services = [
        {
            "service": one.service,
            **asdict(one.child),
            "health": one.health,
            "memory_pss_bytes": one.memory_bytes,
            "uptime_seconds": round(one.uptime_seconds, 1),
            "log_tail": home.tail(one.service) if one.health == "failed" else [],
        }
        for one in conditions
    ]
    return {
        "home": str(home.folder),
        "supervisor_pid": state.pid,
        "platform": platform,
        "services": [*services],
    }


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
