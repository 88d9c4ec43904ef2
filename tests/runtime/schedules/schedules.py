"""Schedules of tests, and a fake of what starts runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from chassis.clock import Clock
from chassis.errors import PeerUnavailable
from runtime.schedules.ports import Document, Start, WatchingFails
from runtime.schedules.schedule import At, Cron, Interval, Rules, Schedule, Webhook
from runtime.schedules.store import ScheduleStore
from runtime.schedules.timing import first_time
from tests.fakes.runtime_ports import Fake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "schedules/00000000-0000-4000-8000-000000000001"
BUNDLE = f"bundles/{64 * 'a'}"
DAILY = Cron("0 9 * * *", "UTC")
MINUTELY = Interval(60, NOW)


def a_schedule(
    trigger: Any = MINUTELY,  # noqa: ANN401  # any of the triggers
    *,
    now: datetime = NOW,
    name: str = NAME,
    **rules: Any,  # noqa: ANN401  # fields of `Rules`
) -> Schedule:
    """Return a schedule as it is when it has just been made."""
    made = Schedule(
        name=name,
        bundle=BUNDLE,
        trigger=trigger,
        rules=Rules(**rules),
        input='{"time":"{{time}}"}',
        dry_run=False,
        create_time=now,
    )
    is_timed = isinstance(trigger, Cron | Interval | At)
    return replace(
        made,
        next_time=first_time(made, now),
        input=made.input if is_timed else '{"event":"{{event}}"}',
        cursor=now,
    )


def kept(store: ScheduleStore, schedule: Schedule) -> Schedule:
    """Store a schedule."""
    return store.create(schedule, request_id=schedule.name, content_sha256="")


def a_webhook(**rules: Any) -> Schedule:  # noqa: ANN401  # as above
    """Return a schedule that waits for webhooks."""
    return a_schedule(Webhook(), **rules)


@dataclass
class FakeStarter(Fake):
    """Starts runs that are open until a test ends them; a request starts one."""

    clock: Clock
    runs: dict[str, Start] = field(default_factory=dict)
    times: list[datetime] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    cancelled: list[str] = field(default_factory=list)
    is_down: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    async def check(self, bundle: str) -> None:
        self.fail_if_told()

    async def start(self, start: Start) -> str:
        self.fail_if_told()
        for name, known in self.runs.items():
            if known.request_id == start.request_id:
                assert known == start, "a request is repeated as it was"
                return name
        name = f"runs/{len(self.runs) + 1}"
        self.runs[name] = start
        self.times.append(self.clock.now())
        return name

    async def is_open(self, run: str) -> bool:
        if self.is_down:
            raise PeerUnavailable("journal")
        return run not in self.ended

    async def cancel(self, run: str) -> None:
        self.cancelled.append(run)

    def end_all(self) -> None:
        """End every run."""
        self.ended |= self.runs.keys()


@dataclass
class FakeCollections(Fake):
    """Documents in a list."""

    documents: list[Document] = field(default_factory=list)
    problem: str = ""
    asked: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    async def changed(self, collection: str, since: datetime) -> list[Document]:
        self.fail_if_told()
        self.asked.append(since)
        if self.problem:
            raise WatchingFails(self.problem)
        return [one for one in self.documents if one.update_time >= since]

    def add(self, name: str, *, seconds: float, sha256: str = "") -> None:
        """Add a document so long after the start of the test."""
        time = NOW + timedelta(seconds=seconds)
        self.documents.append(Document(name, "", sha256, time))
