"""What a schedule is, and what a firing is: one time or event that starts at most one run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from chassis.canonical import sha256_hex

SCHEDULES_MAX = 10_000
# How many firings of a schedule wait for a run to end, whatever its policy will say of them.
WAITING_MAX = 100
MISSED_MAX = 100
MISSED_DEFAULT = 10
OVERLAP_MAX = 100
QUEUE_DEFAULT = 1
ALLOW_DEFAULT = 10
JITTER_SECONDS_MAX = 3_600
INTERVAL_SECONDS_MIN = 10
INTERVAL_SECONDS_MAX = 366 * 24 * 3_600
SENDERS_MAX = 16
EVENT_BYTES_MAX = 16 * 1024
# Later than this after it was due, a time was missed.
LATE = timedelta(minutes=1)
# An event is known by its firing, so that one that may come again is kept as long.
FIRINGS_KEPT = 1_000
FIRINGS_MAX = 100_000
EVENTS_KEPT = timedelta(minutes=15)
# An order to send a message can be repeated as long as its run may last: 7 days.
MESSAGES_KEPT = timedelta(days=8)


class MissedPolicy(StrEnum):
    """What becomes of times that nobody was there for."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


class OverlapPolicy(StrEnum):
    """What a firing does while runs of earlier ones are open."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"
    CANCEL = "cancel"


class State(StrEnum):
    """How far a firing is."""

    WAITING = "waiting"
    STARTING = "starting"
    STARTED = "started"
    SKIPPED = "skipped"
    FAILED = "failed"


FINAL = (State.SKIPPED, State.FAILED, State.STARTED)


@dataclass(frozen=True)
class Cron:
    """Times of a calendar, of an expression that was parsed before."""

    expression: str
    timezone: str
    kind: Literal["cron"] = "cron"


@dataclass(frozen=True)
class Interval:
    """Equal distances from an anchor on."""

    seconds: int
    anchor: datetime
    kind: Literal["interval"] = "interval"


@dataclass(frozen=True)
class At:
    """One time."""

    time: datetime
    kind: Literal["at"] = "at"


@dataclass(frozen=True)
class Webhook:
    """A signed request over HTTP."""

    kind: Literal["webhook"] = "webhook"


@dataclass(frozen=True)
class NewDocument:
    """A document that is added or replaced."""

    collection: str
    kind: Literal["document"] = "document"


@dataclass(frozen=True)
class Message:
    """A message from one of these agents; from any, if there are none."""

    senders: tuple[str, ...] = ()
    kind: Literal["message"] = "message"


Timed: TypeAlias = Cron | Interval | At
Trigger = Annotated[Timed | Webhook | NewDocument | Message, Field(discriminator="kind")]


@dataclass(frozen=True)
class Rules:
    """What bounds the firings of a schedule; the end is exclusive."""

    missed: MissedPolicy = MissedPolicy.ONCE
    missed_max: int = MISSED_DEFAULT
    overlap: OverlapPolicy = OverlapPolicy.SKIP
    overlap_max: int = QUEUE_DEFAULT
    jitter_seconds: int = 0
    start_time: datetime | None = None
    end_time: datetime | None = None

    def allow(self, time: datetime) -> bool:
        """Tell whether something may be due at a time."""
        is_after_start = self.start_time is None or time >= self.start_time
        return is_after_start and (self.end_time is None or time < self.end_time)


@dataclass(frozen=True)
class Schedule:
    """What waits, and what it starts.

    `input` is a template. `next_time` is when it is due next, None if never or for events. `cursor`
    is how far a collection was seen. `revision` grows with each change.
    """

    name: str
    bundle: str
    trigger: Timed | Webhook | NewDocument | Message
    rules: Rules
    input: str
    dry_run: bool
    create_time: datetime
    is_paused: bool = False
    next_time: datetime | None = None
    cursor: datetime | None = None
    problem: str = ""
    revision: int = 0

    @property
    def is_timed(self) -> bool:
        """Tell whether it waits for times, not for events."""
        return isinstance(self.trigger, Cron | Interval | At)

    @property
    def kept(self) -> timedelta:
        """Return how long an event may come again."""
        if self.is_timed:
            return timedelta()
        return MESSAGES_KEPT if isinstance(self.trigger, Message) else EVENTS_KEPT


@dataclass(frozen=True)
class Firing:
    """One time or event; `key` tells it from all others of its schedule.

    `event` is JSON text, empty for a time. `bundle` is that of its run, empty until it is to start
    one. `is_open` says that its run had not ended when it was last looked at.
    """

    schedule: str
    number: int
    key: str
    time: datetime
    event: str = ""
    state: State = State.WAITING
    bundle: str = ""
    run: str = ""
    is_open: bool = False
    reason: str = ""
    message: str = ""

    @property
    def name(self) -> str:
        """Return the name under which the contract knows it."""
        return f"{self.schedule}/firings/{self.number}"

    @property
    def place(self) -> tuple[str, int]:
        """Return where it stands among all firings."""
        return self.schedule, self.number

    @property
    def request_id(self) -> str:
        """Return the request id of its run: the same whoever starts it, and however often."""
        return f"{self.schedule}/{sha256_hex(self.key.encode())[:32]}"
