"""Schedules and firings as the contract has them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.runtime.v1 import schedules_pb2 as pb
from chassis import fields
from chassis.clock import is_time_zone
from chassis.errors import InvalidField

from .cron import parse_cron
from .schedule import (
    ALLOW_DEFAULT,
    INTERVAL_SECONDS_MAX,
    INTERVAL_SECONDS_MIN,
    JITTER_SECONDS_MAX,
    MISSED_DEFAULT,
    MISSED_MAX,
    OVERLAP_MAX,
    QUEUE_DEFAULT,
    SENDERS_MAX,
    At,
    Cron,
    Firing,
    Interval,
    Message,
    MissedPolicy,
    NewDocument,
    OverlapPolicy,
    Rules,
    Schedule,
    State,
    Timed,
    Webhook,
)
from .template import read_template

NAME = re.compile(f"schedules/{fields.UUID}")
_NAME_EXAMPLE = "schedules/01234567-89ab-4def-8123-456789abcdef"
_BUNDLE_EXAMPLE = f"bundles/{64 * '0'}"
_AHEAD_MAX = timedelta(days=100 * 366)

_MISSED = {
    pb.MISSED_POLICY_UNSPECIFIED: MissedPolicy.ONCE,
    pb.MISSED_POLICY_SKIP: MissedPolicy.SKIP,
    pb.MISSED_POLICY_ONCE: MissedPolicy.ONCE,
    pb.MISSED_POLICY_ALL: MissedPolicy.ALL,
}
_OVERLAP = {
    pb.OVERLAP_POLICY_UNSPECIFIED: OverlapPolicy.SKIP,
    pb.OVERLAP_POLICY_SKIP: OverlapPolicy.SKIP,
    pb.OVERLAP_POLICY_QUEUE: OverlapPolicy.QUEUE,
    pb.OVERLAP_POLICY_ALLOW: OverlapPolicy.ALLOW,
    pb.OVERLAP_POLICY_CANCEL: OverlapPolicy.CANCEL,
}
# The last one wins, which is not the unspecified one.
_MISSED_TO_PROTO = {policy: number for number, policy in _MISSED.items()}
_OVERLAP_TO_PROTO = {policy: number for number, policy in _OVERLAP.items()}
_STATES = {
    State.WAITING: pb.Firing.STATE_WAITING,
    State.STARTING: pb.Firing.STATE_STARTING,
    State.STARTED: pb.Firing.STATE_STARTED,
    State.SKIPPED: pb.Firing.STATE_SKIPPED,
    State.FAILED: pb.Firing.STATE_FAILED,
}


# --- From the contract ---------------------------------------------------------------------------


def schedule_name(field: str, value: str) -> str:
    """Return a well-formed name of a schedule."""
    return fields.require_match(field, value, NAME, example=_NAME_EXAMPLE)


def bundle_name(field: str, value: str) -> str:
    """Return a well-formed name of a bundle."""
    return fields.require_match(field, value, fields.BUNDLE_NAME, example=_BUNDLE_EXAMPLE)


def schedule_from_proto(asked: pb.Schedule, *, name: str, now: datetime) -> Schedule:
    """Return what is asked for, not yet due; raise `InvalidField` for what is wrong with it."""
    rules = _rules(asked, now)
    trigger = _trigger(asked, anchor=rules.start_time or now, now=now)
    has_events = not isinstance(trigger, Cron | Interval | At)
    try:
        template = read_template(asked.input, has_events=has_events)
    except ValueError as error:
        raise InvalidField("schedule.input", f"{error}; it is JSON text") from error
    is_watching = isinstance(trigger, NewDocument)
    return Schedule(
        name=name,
        bundle=bundle_name("schedule.bundle", asked.bundle),
        trigger=trigger,
        rules=rules,
        input=template,
        dry_run=asked.dry_run,
        create_time=now,
        is_paused=asked.paused,
        cursor=max(now, rules.start_time or now) if is_watching else None,
    )


def _trigger(
    asked: pb.Schedule, *, anchor: datetime, now: datetime
) -> Timed | Webhook | NewDocument | Message:
    match asked.WhichOneof("trigger"):
        case "cron":
            return _cron(asked.cron)
        case "interval":
            fields.require_range(
                "schedule.interval.seconds",
                asked.interval.seconds,
                least=INTERVAL_SECONDS_MIN,
                most=INTERVAL_SECONDS_MAX,
            )
            return Interval(asked.interval.seconds, anchor)
        case "at":
            time = _ahead("schedule.at", asked.at, now)
            return At(time)
        case "webhook":
            return Webhook()
        case "document":
            return NewDocument(
                fields.require_match(
                    "schedule.document.collection",
                    asked.document.collection,
                    fields.COLLECTION_NAME,
                    example="collections/news",
                )
            )
        case "message":
            senders = asked.message.senders
            field = "schedule.message.senders"
            fields.require_size(field, senders, size_min=0, size_max=SENDERS_MAX)
            for number, sender in enumerate(senders):
                fields.require_match(
                    f"{field}[{number}]", sender, fields.ACCOUNT_NAME, example="agents/clerk"
                )
            return Message(tuple(senders))
        case _:
            raise InvalidField(
                "schedule.trigger", "is required: cron, interval, at, webhook, document or message"
            )


def _cron(asked: pb.CronTrigger) -> Cron:
    if not asked.expression:
        raise InvalidField("schedule.cron.expression", "is required, such as '0 9 * * MON-FRI'")
    try:
        parse_cron(asked.expression)
    except ValueError as error:
        raise InvalidField("schedule.cron.expression", str(error)) from error
    timezone = asked.timezone or "UTC"
    if not is_time_zone(timezone):
        raise InvalidField("schedule.cron.timezone", "is no IANA time zone; one is 'Europe/Lisbon'")
    return Cron(asked.expression, timezone)


def _rules(asked: pb.Schedule, now: datetime) -> Rules:
    if asked.missed_policy not in _MISSED:
        raise InvalidField("schedule.missed_policy", "is none of the policies of this release")
    if asked.overlap_policy not in _OVERLAP:
        raise InvalidField("schedule.overlap_policy", "is none of the policies of this release")
    overlap = _OVERLAP[asked.overlap_policy]
    overlap_default = ALLOW_DEFAULT if overlap is OverlapPolicy.ALLOW else QUEUE_DEFAULT
    for field, value, most in (
        ("missed_max", asked.missed_max, MISSED_MAX),
        ("overlap_max", asked.overlap_max, OVERLAP_MAX),
        ("jitter_seconds", asked.jitter_seconds, JITTER_SECONDS_MAX),
    ):
        fields.require_range(f"schedule.{field}", value, least=0, most=most)
    start = (
        _time("schedule.start_time", asked.start_time, now)
        if asked.HasField("start_time")
        else None
    )
    end = _ahead("schedule.end_time", asked.end_time, now) if asked.HasField("end_time") else None
    if start and end and start >= end:
        raise InvalidField("schedule.end_time", "must be after schedule.start_time")
    return Rules(
        missed=_MISSED[asked.missed_policy],
        missed_max=asked.missed_max or MISSED_DEFAULT,
        overlap=overlap,
        overlap_max=asked.overlap_max or overlap_default,
        jitter_seconds=asked.jitter_seconds,
        start_time=start,
        end_time=end,
    )


def _ahead(field: str, asked: Timestamp, now: datetime) -> datetime:
    time = _time(field, asked, now)
    if time <= now:
        raise InvalidField(field, f"is {time.isoformat()}, which is over; it must lie ahead")
    return time


def _time(field: str, asked: Timestamp, now: datetime) -> datetime:
    try:
        time = asked.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(field, "is no time") from error
    if time > now + _AHEAD_MAX:
        raise InvalidField(field, "is more than 100 years ahead")
    return time


# --- To the contract -----------------------------------------------------------------------------


def schedule_to_proto(schedule: Schedule, *, webhook_base: str) -> pb.Schedule:
    """Return a schedule; its webhook is below `webhook_base`."""
    rules, trigger = schedule.rules, schedule.trigger
    message = pb.Schedule(
        name=schedule.name,
        bundle=schedule.bundle,
        input=schedule.input,
        dry_run=schedule.dry_run,
        missed_policy=_MISSED_TO_PROTO[rules.missed],
        missed_max=rules.missed_max,
        overlap_policy=_OVERLAP_TO_PROTO[rules.overlap],
        overlap_max=rules.overlap_max,
        jitter_seconds=rules.jitter_seconds,
        start_time=_timestamp(rules.start_time),
        end_time=_timestamp(rules.end_time),
        paused=schedule.is_paused,
        next_time=_timestamp(schedule.next_time),
        create_time=_timestamp(schedule.create_time),
        problem=schedule.problem,
    )
    match trigger:
        case Cron(expression, timezone):
            message.cron.CopyFrom(pb.CronTrigger(expression=expression, timezone=timezone))
        case Interval(seconds):
            message.interval.seconds = seconds
        case At(time):
            message.at.FromDatetime(time)
        case Webhook():
            message.webhook.SetInParent()
            if webhook_base:
                identifier = schedule.name.removeprefix("schedules/")
                message.webhook_url = f"{webhook_base.rstrip('/')}/hooks/{identifier}"
        case NewDocument(collection):
            message.document.collection = collection
        case Message(senders):
            message.message.CopyFrom(pb.MessageTrigger(senders=senders))
    return message


def firing_to_proto(firing: Firing) -> pb.Firing:
    """Return a firing."""
    return pb.Firing(
        name=firing.name,
        time=_timestamp(firing.time),
        state=_STATES[firing.state],
        run=firing.run,
        reason=firing.reason,
        message=firing.message,
        event_id=firing.key,
    )


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
