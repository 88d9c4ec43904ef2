"""The commands that start agents without a person: schedules create, list, show, and so on."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import schedules_pb2 as pb

from ..client import Client, all_pages
from ..command import AsJson, Command, Settings, ask, group
from ..errors import CommandError
from ..following import assemble
from ..manifest import Source, parse_input, parse_settings
from ..output import console, print_json, spelled, table, to_json
from ..quantities import parse_moment, parse_window, parse_zone
from ..render import time_text
from ..scheduling import firing_text, next_text, policy_text, schedule_name, trigger_text
from ..views import View, choose_view
from .gas.options import account_name, resource_name
from .runs import DryRun, Program, read_program

app = group("Start agents at times, for webhooks, documents and messages (docs/schedules.md).")


class Missed(StrEnum):
    """What becomes of times that nobody was there for."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


class Overlap(StrEnum):
    """What a firing does while runs of earlier ones are open."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"
    CANCEL = "cancel"


MISSED = {
    Missed.SKIP: pb.MISSED_POLICY_SKIP,
    Missed.ONCE: pb.MISSED_POLICY_ONCE,
    Missed.ALL: pb.MISSED_POLICY_ALL,
}
OVERLAP = {
    Overlap.SKIP: pb.OVERLAP_POLICY_SKIP,
    Overlap.QUEUE: pb.OVERLAP_POLICY_QUEUE,
    Overlap.ALLOW: pb.OVERLAP_POLICY_ALLOW,
    Overlap.CANCEL: pb.OVERLAP_POLICY_CANCEL,
}

Name = Annotated[str, typer.Argument(metavar="SCHEDULE", help="As in: schedules list")]
Cron = Annotated[
    str, typer.Option("--cron", metavar="EXPRESSION", help="Times, such as '0 9 * * MON-FRI'.")
]
Zone = Annotated[
    str, typer.Option("--zone", metavar="ZONE", help="Of --cron, --at, --start and --end.")
]
Every = Annotated[
    str, typer.Option("--every", metavar="TIME", help="A distance, such as 15m, 6h or 1d.")
]
At = Annotated[
    str, typer.Option("--at", metavar="MOMENT", help="One time, such as 2026-12-24T18:00.")
]
Webhook = Annotated[bool, typer.Option("--webhook", help="A signed POST; shows URL and secret.")]
Document = Annotated[
    str, typer.Option("--collection", metavar="NAME", help="A new document in this collection.")
]
Messages = Annotated[bool, typer.Option("--messages", help="Messages of agents: agent.send.")]
Sender = Annotated[
    list[str] | None, typer.Option("--from", metavar="AGENT", help="Whose messages; default all.")
]
Template = Annotated[
    str,
    typer.Option("--input", help="JSON, text or @file, with {{time}} and {{event}} to fill in."),
]
MissedOption = Annotated[
    Missed, typer.Option("--missed", help="Times of which nobody was there: fire them or not.")
]
MissedMax = Annotated[int, typer.Option("--missed-max", min=1, max=100, help="For --missed all.")]
OverlapOption = Annotated[
    Overlap, typer.Option("--overlap", help="While an earlier run is open: what to do.")
]
OverlapMax = Annotated[
    int,
    typer.Option("--overlap-max", min=0, max=100, help="Who waits, or runs at once; 0: 1, or 10."),
]
Jitter = Annotated[
    str, typer.Option("--jitter", metavar="TIME", help="Fire up to so much later, such as 5m.")
]
Start = Annotated[str, typer.Option("--start", metavar="MOMENT", help="Nothing is due before.")]
End = Annotated[str, typer.Option("--end", metavar="MOMENT", help="Nothing is due from then on.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Most firings to show.")]
Paused = Annotated[bool, typer.Option("--paused", help="Make it, but let it fire nothing yet.")]


@app.command("create", cls=Command)
def create(
    context: typer.Context,
    program: Program,
    *,
    cron: Cron = "",
    zone: Zone = "",
    every: Every = "",
    at: At = "",
    webhook: Webhook = False,
    collection: Document = "",
    messages: Messages = False,
    senders: Sender = None,
    template: Template = "",
    settings: Settings = None,
    dry_run: DryRun = False,
    missed: MissedOption = Missed.ONCE,
    missed_max: MissedMax = 10,
    overlap: OverlapOption = Overlap.SKIP,
    overlap_max: OverlapMax = 0,
    jitter: Jitter = "",
    start: Start = "",
    end: End = "",
    paused: Paused = False,
    as_json: AsJson = False,
) -> None:
    """Start an agent whenever something happens; exactly one of the triggers is needed.

    Example: actionvm schedules create agent.yaml --cron '0 9 * * MON-FRI' --zone Europe/Berlin
    """
    place = parse_zone(zone, "--zone")
    schedule = pb.Schedule(
        input=parse_input(template) if template else "",
        dry_run=dry_run,
        missed_policy=MISSED[missed],
        missed_max=missed_max,
        overlap_policy=OVERLAP[overlap],
        overlap_max=overlap_max,
        jitter_seconds=_seconds(jitter, "--jitter") if jitter else 0,
        paused=paused,
    )
    if start:
        schedule.start_time.CopyFrom(parse_moment(start, place, "--start"))
    if end:
        schedule.end_time.CopyFrom(parse_moment(end, place, "--end"))
    trigger = _only(
        {
            "--cron": cron and pb.Schedule(cron=pb.CronTrigger(expression=cron, timezone=zone)),
            "--every": every and _interval(every),
            "--at": at and pb.Schedule(at=parse_moment(at, place, "--at")),
            "--webhook": webhook and pb.Schedule(webhook=pb.WebhookTrigger()),
            "--collection": collection and _document(collection),
            "--messages": (messages or senders) and _message(senders or ()),
        }
    )
    schedule.MergeFrom(trigger)
    _create(context, schedule, program, settings or (), as_json=as_json)


@app.command("list", cls=Command)
def list_schedules(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the schedules, what they wait for, and when they are due next.

    Example: actionvm schedules list
    """

    async def read(client: Client) -> list[pb.Schedule]:
        def fetch(token: str) -> Awaitable[pb.ListSchedulesResponse]:
            request = pb.ListSchedulesRequest(page_token=token)
            return client.schedules(lambda stub: stub.ListSchedules(request))

        return await all_pages(fetch, lambda page: page.schedules)

    found = ask(context, read)
    if as_json:
        print_json({"schedules": [to_json(one) for one in found]})
        return
    rows = [
        (
            one.name.removeprefix("schedules/"),
            trigger_text(one),
            one.bundle.removeprefix("bundles/")[:12],
            next_text(one),
        )
        for one in found
    ]
    none = Text(spelled("there are no schedules yet: actionvm schedules create --help"))
    console().print(table("schedule", "waits for", "bundle", "next", rows=rows) if rows else none)


@app.command("show", cls=Command)
def show(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Show one schedule whole.

    Example: actionvm schedules show 3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    request = pb.GetScheduleRequest(name=schedule_name(name))

    async def read(client: Client) -> pb.Schedule:
        return (await client.schedules(lambda stub: stub.GetSchedule(request))).schedule

    _show(ask(context, read), as_json=as_json)


@app.command("firings", cls=Command)
def firings(
    context: typer.Context, name: Name, *, limit: Limit = 20, as_json: AsJson = False
) -> None:
    """List what a schedule has started, newest first, and why it has not.

    Example: actionvm schedules firings 3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b --limit 5
    """
    request = pb.ListFiringsRequest(schedule=schedule_name(name), page_size=limit)

    async def read(client: Client) -> pb.ListFiringsResponse:
        return await client.schedules(lambda stub: stub.ListFirings(request))

    found = ask(context, read).firings
    if as_json:
        print_json({"firings": [to_json(one) for one in found]})
        return
    rows = [
        (
            time_text(one.time),
            firing_text(one.state),
            one.run.removeprefix("runs/"),
            f"{one.reason}: {one.message}" if one.reason else "",
        )
        for one in found
    ]
    made = table("time", "state", "run", "why not", rows=rows)
    console().print(made if rows else "it has not fired yet")


@app.command("pause", cls=Command)
def pause(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Let a schedule fire nothing until it is resumed. What falls due in the meantime is over.

    Example: actionvm schedules pause 3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    _pause(context, name, is_paused=True, as_json=as_json)


@app.command("resume", cls=Command)
def resume(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Let a paused schedule fire again, from now on.

    Example: actionvm schedules resume 3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    _pause(context, name, is_paused=False, as_json=as_json)


@app.command("update", cls=Command)
def update(
    context: typer.Context,
    name: Name,
    program: Program,
    *,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Let a schedule start another version of its agent from now on; its URL and secret stay.

    Example: actionvm schedules update 3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b agent.yaml
    """
    full_name = schedule_name(name)
    source, parameters = read_program(program), parse_settings(settings or ())
    view = choose_view(as_json=as_json)

    async def change(client: Client) -> pb.Schedule:
        bundle = await _bundle(client, source, parameters, view)
        request = pb.UpdateScheduleRequest(name=full_name, bundle=bundle)
        return (await client.schedules(lambda stub: stub.UpdateSchedule(request))).schedule

    _show(ask(context, change), as_json=as_json)


@app.command("delete", cls=Command)
def delete(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """End a schedule, and forget its firings. Runs that it has started go on.

    Example: actionvm schedules delete 3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b
    """
    request = pb.DeleteScheduleRequest(name=schedule_name(name))
    ask(context, lambda client: client.schedules(lambda stub: stub.DeleteSchedule(request)))
    if as_json:
        print_json({"deleted": request.name})
    else:
        console().print(f"{request.name} is gone")


def _create(
    context: typer.Context,
    schedule: pb.Schedule,
    program: str,
    settings: Sequence[str],
    *,
    as_json: bool,
) -> None:
    source, parameters = read_program(program), parse_settings(settings)
    view = choose_view(as_json=as_json)

    async def make(client: Client) -> pb.CreateScheduleResponse:
        schedule.bundle = await _bundle(client, source, parameters, view)
        request = pb.CreateScheduleRequest(request_id=str(uuid.uuid4()), schedule=schedule)
        return await client.schedules(lambda stub: stub.CreateSchedule(request))

    found = ask(context, make)
    if as_json:
        print_json(to_json(found))
    else:
        _show_created(found)


def _pause(context: typer.Context, name: str, *, is_paused: bool, as_json: bool) -> None:
    request = pb.UpdateScheduleRequest(name=schedule_name(name), paused=is_paused)

    async def change(client: Client) -> pb.Schedule:
        return (await client.schedules(lambda stub: stub.UpdateSchedule(request))).schedule

    _show(ask(context, change), as_json=as_json)


async def _bundle(
    client: Client, program: Source | action_pb2.Bundle | str, parameters: str, view: View
) -> str:
    """Return the name of the bundle of a program, which the assembler has."""
    if isinstance(program, str):
        return program
    if isinstance(program, action_pb2.Bundle):
        return program.name
    with view:
        return (await assemble(client, program, parameters, view)).bundle.name


def _only(triggers: dict[str, pb.Schedule | object]) -> pb.Schedule:
    """Return the one trigger that was given."""
    given = [one for one in triggers.values() if isinstance(one, pb.Schedule)]
    if len(given) != 1:
        raise CommandError(
            "a schedule has one trigger" if given else "a schedule needs a trigger",
            reason="USAGE_INVALID",
            fix=f"pass one of {', '.join(triggers)}",
        )
    return given[0]


def _interval(text: str) -> pb.Schedule:
    return pb.Schedule(interval=pb.IntervalTrigger(seconds=_seconds(text, "--every")))


def _document(collection: str) -> pb.Schedule:
    name = resource_name(collection, "collections")
    return pb.Schedule(document=pb.DocumentTrigger(collection=name))


def _message(senders: Sequence[str]) -> pb.Schedule:
    return pb.Schedule(message=pb.MessageTrigger(senders=map(account_name, senders)))


def _seconds(text: str, field: str) -> int:
    return round(parse_window(text, field).total_seconds())


def _show_created(found: pb.CreateScheduleResponse) -> None:
    _show(found.schedule, as_json=False)
    if found.webhook_secret:
        console().print(f"\nsecret: {found.webhook_secret}")
        console().print("It is shown only now; callers sign with it, as docs/schedules.md says.")


def _show(schedule: pb.Schedule, *, as_json: bool) -> None:
    if as_json:
        print_json(to_json(schedule))
        return
    rows: list[tuple[str, str | Text]] = [
        ("schedule", schedule.name),
        ("waits for", trigger_text(schedule)),
        ("next", next_text(schedule)),
        ("starts", schedule.bundle),
        ("input", schedule.input),
        ("policies", policy_text(schedule)),
    ]
    if schedule.webhook_url:
        rows.append(("url", schedule.webhook_url))
    if schedule.HasField("start_time"):
        rows.append(("from", time_text(schedule.start_time)))
    if schedule.HasField("end_time"):
        rows.append(("until", time_text(schedule.end_time)))
    if schedule.dry_run:
        rows.append(("dry run", "yes"))
    if schedule.problem:
        rows.append(("problem", schedule.problem))
    console().print(table("", "", rows=rows))
