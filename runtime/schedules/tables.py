"""The tables of schedules, and how their rows become values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, Boolean, Column, Index, MetaData, Row, String, Table, Text

from .schedule import Firing, Rules, Schedule, State, Trigger

VERSION = 1
TABLES = MetaData()

SCHEDULE = Table(
    "schedule",
    TABLES,
    Column("name", String, primary_key=True),
    Column("request_id", String, nullable=False, unique=True),
    Column("content_sha256", String, nullable=False),
    Column("bundle", String, nullable=False),
    Column("kind", String, nullable=False, index=True),
    Column("trigger", Text, nullable=False),
    Column("rules", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("create_time", String, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("next_time", String),
    # When that fires: later by its jitter. None while it is paused, so that nobody looks.
    Column("fire_time", String, index=True),
    Column("cursor", String),
    Column("problem", Text, nullable=False),
    Column("firing_count", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
FIRING = Table(
    "firing",
    TABLES,
    Column("schedule", String, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("key", String, nullable=False),
    Column("time", String, nullable=False),
    Column("event", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("bundle", String, nullable=False),
    Column("run", String, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("reason", String, nullable=False),
    Column("message", Text, nullable=False),
    Index("firing_by_key", "schedule", "key", unique=True),
    Index("firing_by_state", "state", "schedule"),
)

_TRIGGER: TypeAdapter[Any] = TypeAdapter(Trigger)
_RULES = TypeAdapter(Rules)


def schedule_values(schedule: Schedule) -> dict[str, object]:
    """Return the columns of a schedule that say what it is."""
    return {
        "name": schedule.name,
        "bundle": schedule.bundle,
        "kind": schedule.trigger.kind,
        "trigger": _TRIGGER.dump_json(schedule.trigger).decode(),
        "rules": _RULES.dump_json(schedule.rules).decode(),
        "input": schedule.input,
        "dry_run": schedule.dry_run,
        "create_time": time_text(schedule.create_time),
        "is_paused": schedule.is_paused,
        "cursor": schedule.cursor and time_text(schedule.cursor),
        "problem": schedule.problem,
    }


def schedule_of(row: Row[Any]) -> Schedule:
    """Return the schedule of a row."""
    return Schedule(
        name=row.name,
        bundle=row.bundle,
        trigger=_TRIGGER.validate_json(row.trigger),
        rules=_RULES.validate_json(row.rules),
        input=row.input,
        dry_run=row.dry_run,
        create_time=_time(row.create_time),
        is_paused=row.is_paused,
        next_time=row.next_time and _time(row.next_time),
        cursor=row.cursor and _time(row.cursor),
        problem=row.problem,
        revision=row.revision,
    )


def firing_values(firing: Firing) -> dict[str, object]:
    """Return the columns of a firing."""
    return {
        "schedule": firing.schedule,
        "number": firing.number,
        "key": firing.key,
        "time": time_text(firing.time),
        "event": firing.event,
        "state": firing.state.value,
        "bundle": firing.bundle,
        "run": firing.run,
        "is_open": firing.is_open,
        "reason": firing.reason,
        "message": firing.message,
    }


def firing_of(row: Row[Any]) -> Firing:
    """Return the firing of a row."""
    return Firing(
        schedule=row.schedule,
        number=row.number,
        key=row.key,
        time=_time(row.time),
        event=row.event,
        state=State(row.state),
        bundle=row.bundle,
        run=row.run,
        is_open=row.is_open,
        reason=row.reason,
        message=row.message,
    )


def time_text(time: datetime) -> str:
    """Return a time as text that sorts as times do."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
