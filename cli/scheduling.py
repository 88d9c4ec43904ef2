"""What the commands of schedules share: names, and how a schedule is put in words."""

from __future__ import annotations

import re
from datetime import timedelta

from rich.text import Text

from actionvm.runtime.v1 import schedules_pb2 as pb
from chassis.fields import UUID

from .errors import CommandError
from .quantities import window_text
from .render import time_text

_NAME = re.compile(f"schedules/{UUID}")


def schedule_name(text: str) -> str:
    """Return the full name of a schedule, which may be given without `schedules/`."""
    name = text if text.startswith("schedules/") else f"schedules/{text}"
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"{text} is not the name of a schedule",
            reason="INVALID_FIELD",
            field="SCHEDULE",
            fix="list them: actionvm schedules list",
        )
    return name


def trigger_text(schedule: pb.Schedule) -> str:
    """Return what a schedule waits for."""
    match schedule.WhichOneof("trigger"):
        case "cron":
            return f"{schedule.cron.expression} {schedule.cron.timezone}"
        case "interval":
            return f"every {window_text(timedelta(seconds=schedule.interval.seconds))}"
        case "at":
            return f"at {time_text(schedule.at)}"
        case "webhook":
            return "webhook"
        case "document":
            return f"documents in {schedule.document.collection.removeprefix('collections/')}"
        case "message":
            senders = ", ".join(one.removeprefix("agents/") for one in schedule.message.senders)
            return f"messages of {senders or 'any agent'}"
        case _:
            return "something that this release does not know"


def next_text(schedule: pb.Schedule) -> Text:
    """Return when a schedule is due next, or why it is not."""
    if schedule.problem:
        return Text("has a problem", "bold red")
    if schedule.paused:
        return Text("paused", "yellow")
    if schedule.HasField("next_time"):
        return Text(time_text(schedule.next_time))
    is_timed = schedule.WhichOneof("trigger") in {"cron", "interval", "at"}
    return Text("over" if is_timed else "waits", "dim")


STYLES = {
    pb.Firing.STATE_WAITING: "yellow",
    pb.Firing.STATE_STARTING: "cyan",
    pb.Firing.STATE_STARTED: "green",
    pb.Firing.STATE_FAILED: "bold red",
}


def firing_text(state: pb.Firing.State.ValueType) -> Text:
    """Return how far a firing is, in colour."""
    name = pb.Firing.State.Name(state).removeprefix("STATE_").lower()
    return Text(name, STYLES.get(state, ""))


def policy_text(schedule: pb.Schedule) -> str:
    """Return the policies of a schedule."""
    missed = pb.MissedPolicy.Name(schedule.missed_policy).removeprefix("MISSED_POLICY_").lower()
    overlap = pb.OverlapPolicy.Name(schedule.overlap_policy)
    overlap = overlap.removeprefix("OVERLAP_POLICY_").lower()
    parts = [f"missed {missed}{f' ({schedule.missed_max})' if missed == 'all' else ''}"]
    parts += [f"overlap {overlap}{_bound(overlap, schedule.overlap_max)}"]
    if schedule.jitter_seconds:
        parts.append(f"jitter {window_text(timedelta(seconds=schedule.jitter_seconds))}")
    return ", ".join(parts)


def _bound(overlap: str, most: int) -> str:
    return f" ({most})" if overlap in {"queue", "allow"} else ""
