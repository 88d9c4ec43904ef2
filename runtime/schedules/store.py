"""Schedules and firings in a database: what a method returned for is durable.

Whoever decides about a schedule or its firings begins with its row, whose revision grows: so those
who decide wait for each other, also in several processes on PostgreSQL, and who decided on what has
changed since changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update

from chassis.database import reading
from chassis.errors import RequestIdReused

from ..errors import ScheduleNotFound, SchedulesExceeded
from .overlap import Verdict
from .schedule import (
    FINAL,
    FIRINGS_KEPT,
    FIRINGS_MAX,
    SCHEDULES_MAX,
    WAITING_MAX,
    Firing,
    Schedule,
    State,
)
from .tables import FIRING, SCHEDULE, firing_of, firing_values, schedule_of, schedule_values
from .tables import time_text as text_of
from .timing import Due, fire_time, first_time


class QueueFull(Exception):
    """Too many firings of a schedule wait, or too many events of it are kept."""


class SchedulePaused(Exception):
    """Events of a schedule that is paused, or has ended, are not taken."""


class ScheduleStore:
    """Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- Schedules ---

    def made_by(self, request_id: str, *, content_sha256: str) -> Schedule | None:
        """Return what a request has made before; raise `RequestIdReused` if it was another."""
        with reading(self._engine) as connection:
            return _made_by(connection, request_id, content_sha256)

    def create(self, schedule: Schedule, *, request_id: str, content_sha256: str) -> Schedule:
        """Keep a schedule; a request that was seen before returns what it made.

        Raise `RequestIdReused` if its content was another, and `SchedulesExceeded`.
        """
        with self._engine.begin() as connection:
            known = _made_by(connection, request_id, content_sha256)
            if known is not None:
                return known
            count = select(func.count()).select_from(SCHEDULE)
            if connection.execute(count).scalar_one() >= SCHEDULES_MAX:
                raise SchedulesExceeded(SCHEDULES_MAX)
            asked = {"request_id": request_id, "content_sha256": content_sha256}
            values = schedule_values(schedule) | _clockwork(schedule) | asked
            connection.execute(insert(SCHEDULE).values(**values, firing_count=0, revision=0))
        return schedule

    def get(self, name: str) -> Schedule:
        """Return a schedule; raise `ScheduleNotFound`."""
        with reading(self._engine) as connection:
            return schedule_of(_row(connection, name))

    def page(self, *, after: str, limit: int) -> list[Schedule]:
        """Return schedules by name, after a name."""
        query = select(SCHEDULE).where(SCHEDULE.c.name > after).order_by(SCHEDULE.c.name)
        with reading(self._engine) as connection:
            return [schedule_of(row) for row in connection.execute(query.limit(limit))]

    def update(self, name: str, now: datetime, *, is_paused: bool | None, bundle: str) -> Schedule:
        """Pause, resume, or give another bundle; what fell due during a pause never fires."""
        with self._engine.begin() as connection:
            schedule = schedule_of(_lock(connection, name))
            if bundle:
                schedule = replace(schedule, bundle=bundle)
            if is_paused is not None and is_paused != schedule.is_paused:
                next_time = None if is_paused else first_time(schedule, now)
                schedule = replace(schedule, is_paused=is_paused, next_time=next_time)
            changed = {"bundle": schedule.bundle, "is_paused": schedule.is_paused}
            _set(connection, name, **changed, **_clockwork(schedule))
        return schedule

    def delete(self, name: str) -> None:
        """Forget a schedule and its firings; raise `ScheduleNotFound`."""
        with self._engine.begin() as connection:
            _lock(connection, name)
            connection.execute(delete(FIRING).where(FIRING.c.schedule == name))
            connection.execute(delete(SCHEDULE).where(SCHEDULE.c.name == name))

    # --- Times and events ---

    def due(self, now: datetime, limit: int) -> list[Schedule]:
        """Return schedules of which a time fires now, longest due first."""
        query = select(SCHEDULE).where(SCHEDULE.c.fire_time <= text_of(now))
        query = query.order_by(SCHEDULE.c.fire_time, SCHEDULE.c.name).limit(limit)
        with reading(self._engine) as connection:
            return [schedule_of(row) for row in connection.execute(query)]

    def next_fire_time(self) -> datetime | None:
        """Return when the next time fires."""
        with reading(self._engine) as connection:
            found = connection.execute(select(func.min(SCHEDULE.c.fire_time))).scalar()
        return datetime.fromisoformat(found) if found else None

    def claim(self, schedule: Schedule, found: Due, now: datetime) -> bool:
        """Let due times wait for their runs, unless the schedule has changed since it was read."""
        with self._engine.begin() as connection:
            row = _lock_read(connection, schedule)
            if row is None:
                return False
            moved = replace(schedule, next_time=found.next_time)
            _set(connection, schedule.name, **_clockwork(moved))
            firings = [_timed(schedule, time) for time in found.times]
            if found.missed is not None:
                told = f"everything from here to {found.missed[1].isoformat()} was missed"
                missed = _timed(schedule, found.missed[0])
                missed = replace(missed, state=State.SKIPPED, reason="MISSED", message=told)
                firings.insert(0, missed)
            _add(connection, row, firings)
            _prune(connection, row, now)
        return True

    def offer(self, name: str, key: str, event: str, now: datetime) -> Firing:
        """Let an event wait for its run; one that was seen before returns its firing.

        Raise `ScheduleNotFound`, `SchedulePaused` and `QueueFull`.
        """
        with self._engine.begin() as connection:
            row = _lock(connection, name)
            schedule = schedule_of(row)
            known = _by_key(connection, name, key)
            if known is not None:
                return known
            if schedule.is_paused or not schedule.rules.allow(now):
                raise SchedulePaused
            _prune(connection, row, now)
            if _is_full(connection, row):
                raise QueueFull
            _add(connection, row, [Firing(name, 0, key, now, event=event)])
            added = _by_key(connection, name, key)
            assert added is not None, "it was added"
            return added

    def find(self, name: str, key: str) -> Firing | None:
        """Return the firing of an event, if it is known."""
        with reading(self._engine) as connection:
            return _by_key(connection, name, key)

    def watching(self, *, after: str, limit: int) -> list[Schedule]:
        """Return schedules that wait for documents, by name, after a name."""
        query = select(SCHEDULE).where(
            SCHEDULE.c.kind == "document",
            SCHEDULE.c.is_paused.is_(False),
            SCHEDULE.c.name > after,
        )
        with reading(self._engine) as connection:
            found = connection.execute(query.order_by(SCHEDULE.c.name).limit(limit))
            return [schedule_of(row) for row in found]

    def note_seen(self, name: str, *, cursor: datetime | None, problem: str) -> None:
        """Remember how far a collection was seen, if it was, and why not further."""
        seen = {"cursor": text_of(cursor)} if cursor else {}
        with self._engine.begin() as connection:
            _lock(connection, name)
            _set(connection, name, problem=problem, **seen)

    # --- Firings ---

    def firings(self, name: str, *, before: int | None, limit: int) -> list[Firing]:
        """Return firings of a schedule, newest first; raise `ScheduleNotFound`."""
        query = select(FIRING).where(FIRING.c.schedule == name).order_by(FIRING.c.number.desc())
        if before is not None:
            query = query.where(FIRING.c.number < before)
        with reading(self._engine) as connection:
            _row(connection, name)
            return [firing_of(row) for row in connection.execute(query.limit(limit))]

    def with_waiting(self, *, after: str, limit: int) -> list[str]:
        """Return schedules that are not paused and have firings that wait, by name."""
        query = (
            select(FIRING.c.schedule)
            .join(SCHEDULE, SCHEDULE.c.name == FIRING.c.schedule)
            .where(FIRING.c.state == State.WAITING.value, SCHEDULE.c.is_paused.is_(False))
            .where(FIRING.c.schedule > after)
            .distinct()
            .order_by(FIRING.c.schedule)
        )
        with reading(self._engine) as connection:
            return [*connection.execute(query.limit(limit)).scalars()]

    def standing(self, name: str) -> tuple[Schedule, list[Firing], list[Firing]]:
        """Return a schedule, its firings whose runs may be open, and those that wait, in order."""
        query = select(FIRING).where(FIRING.c.schedule == name).order_by(FIRING.c.number)
        is_waiting = FIRING.c.state == State.WAITING.value
        is_open = FIRING.c.is_open.is_(True)
        with reading(self._engine) as connection:
            schedule = schedule_of(_row(connection, name))
            opened = connection.execute(query.where(is_open).limit(WAITING_MAX))
            waiting = connection.execute(query.where(is_waiting).limit(2 * WAITING_MAX))
            return schedule, [*map(firing_of, opened)], [*map(firing_of, waiting)]

    def carry_out(self, schedule: Schedule, verdict: Verdict) -> bool:
        """Let firings start or be skipped, unless the schedule has changed since it was read."""
        with self._engine.begin() as connection:
            if _lock_read(connection, schedule) is None:
                return False
            for firing in verdict.starts:
                # The same whenever it is tried again, also if the schedule gets another.
                started = {"state": State.STARTING.value, "bundle": schedule.bundle}
                _change(connection, firing, {**started, "is_open": True})
            for firing, reason, told in verdict.skips:
                skipped = {"state": State.SKIPPED.value, "reason": reason, "message": told}
                _change(connection, firing, skipped)
        return True

    def starting(self, *, after: tuple[str, int], limit: int) -> list[tuple[Schedule, Firing]]:
        """Return firings whose runs are to be started, after that of a schedule and number."""
        query = select(FIRING).where(FIRING.c.state == State.STARTING.value)
        place = (FIRING.c.schedule > after[0]) | (
            (FIRING.c.schedule == after[0]) & (FIRING.c.number > after[1])
        )
        query = query.where(place).order_by(FIRING.c.schedule, FIRING.c.number).limit(limit)
        with reading(self._engine) as connection:
            firings = [firing_of(row) for row in connection.execute(query)]
            return [(schedule_of(_row(connection, one.schedule)), one) for one in firings]

    def note_started(self, firing: Firing, run: str) -> None:
        """Remember which run a firing started; one whose schedule is gone is forgotten."""
        with self._engine.begin() as connection:
            _change(connection, firing, {"state": State.STARTED.value, "run": run})

    def note_failed(self, firing: Firing, *, reason: str, message: str) -> None:
        """Remember why a firing starts no run."""
        failed = {
            "state": State.FAILED.value,
            "reason": reason,
            "message": message,
            "is_open": False,
        }
        with self._engine.begin() as connection:
            # Another process may have started it in the meantime.
            _change(connection, firing, failed, if_state=State.STARTING)

    def note_ended(self, firings: Sequence[Firing]) -> None:
        """Remember that the runs of firings are not open any more."""
        with self._engine.begin() as connection:
            for firing in firings:
                _change(connection, firing, {"is_open": False})


def _made_by(connection: Connection, request_id: str, content_sha256: str) -> Schedule | None:
    query = select(SCHEDULE).where(SCHEDULE.c.request_id == request_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    if row.content_sha256 != content_sha256:
        raise RequestIdReused(request_id)
    return schedule_of(row)


def _row(connection: Connection, name: str) -> Row[Any]:
    row = connection.execute(select(SCHEDULE).where(SCHEDULE.c.name == name)).first()
    if row is None:
        raise ScheduleNotFound(name)
    return row


def _lock(connection: Connection, name: str) -> Row[Any]:
    """Return the row of a schedule, which is ours until the end of the transaction."""
    grown = update(SCHEDULE).where(SCHEDULE.c.name == name)
    grown = grown.values(revision=SCHEDULE.c.revision + 1)
    row = connection.execute(grown.returning(*SCHEDULE.c)).first()
    if row is None:
        raise ScheduleNotFound(name)
    return row


def _lock_read(connection: Connection, schedule: Schedule) -> Row[Any] | None:
    """Return the row of a schedule if it is still what was read."""
    is_same = SCHEDULE.c.name == schedule.name, SCHEDULE.c.revision == schedule.revision
    grown = update(SCHEDULE).where(*is_same).values(revision=SCHEDULE.c.revision + 1)
    return connection.execute(grown.returning(*SCHEDULE.c)).first()


def _set(connection: Connection, name: str, **values: object) -> None:
    connection.execute(update(SCHEDULE).where(SCHEDULE.c.name == name).values(values))


def _clockwork(schedule: Schedule) -> dict[str, object]:
    """Return what says when a schedule is looked at next."""
    time = schedule.next_time
    if time is None:
        return {"next_time": None, "fire_time": None}
    return {"next_time": text_of(time), "fire_time": text_of(fire_time(schedule, time))}


def _timed(schedule: Schedule, time: datetime) -> Firing:
    return Firing(schedule.name, 0, time.isoformat(), time)


def _by_key(connection: Connection, name: str, key: str) -> Firing | None:
    query = select(FIRING).where(FIRING.c.schedule == name, FIRING.c.key == key)
    row = connection.execute(query).first()
    return firing_of(row) if row is not None else None


def _add(connection: Connection, row: Row[Any], firings: Iterable[Firing]) -> None:
    """Add firings to a schedule that is locked, but none that it has: a clock may be set back."""
    number = row.firing_count
    for firing in firings:
        if _by_key(connection, row.name, firing.key) is None:
            number += 1
            values = firing_values(replace(firing, number=number))
            connection.execute(insert(FIRING).values(values))
    _set(connection, row.name, firing_count=number)


def _is_full(connection: Connection, row: Row[Any]) -> bool:
    of_schedule = FIRING.c.schedule == row.name
    waiting = select(func.count()).where(of_schedule, FIRING.c.state == State.WAITING.value)
    oldest = connection.execute(select(func.min(FIRING.c.number)).where(of_schedule)).scalar()
    kept = row.firing_count - (oldest or row.firing_count)
    return connection.execute(waiting).scalar_one() >= WAITING_MAX or kept >= FIRINGS_MAX


def _prune(connection: Connection, row: Row[Any], now: datetime) -> None:
    """Forget old firings that nothing waits for, and that cannot come again."""
    schedule = schedule_of(row)
    connection.execute(
        delete(FIRING).where(
            FIRING.c.schedule == row.name,
            FIRING.c.number <= row.firing_count - FIRINGS_KEPT,
            FIRING.c.state.in_([state.value for state in FINAL]),
            FIRING.c.is_open.is_(False),
            FIRING.c.time < text_of(now - schedule.kept),
        )
    )


def _change(
    connection: Connection,
    firing: Firing,
    values: Mapping[str, object],
    *,
    if_state: State | None = None,
) -> None:
    is_it = [FIRING.c.schedule == firing.schedule, FIRING.c.number == firing.number]
    if if_state is not None:
        is_it.append(FIRING.c.state == if_state.value)
    connection.execute(update(FIRING).where(*is_it).values(values))
