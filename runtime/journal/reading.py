"""What is read of the journal, the same in SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from chassis.database import reading

from ..errors import ApprovalNotFound, JournalUnavailable, RunNotFound, RunUnfinished
from ..facts import ApprovalAwaited, Note, Receipt, RunFinished, decode
from .folding import RUN_COLUMNS, read_record, read_run, read_time
from .port import EVENTS_MAX, KeptNote, Record, Run, Snapshot, Waiting

_RUNS = f"SELECT {RUN_COLUMNS} FROM run "  # noqa: S608  # constants
_RECORDS = (
    "SELECT record.sequence, record.create_time, kind, fact, content FROM record "
    "LEFT JOIN blob ON blob.sha256 = record.blob "
)
_WAITING = (
    "SELECT record.sequence, record.create_time, kind, fact, content, "  # noqa: S608  # constants
    f"{', '.join(f'run.{column}' for column in RUN_COLUMNS.split(', '))} "
    "FROM approval JOIN run ON run.name = approval.run "
    "JOIN record ON record.run = approval.run AND record.sequence = approval.sequence "
    "LEFT JOIN blob ON blob.sha256 = record.blob "
    "WHERE (approval.create_time, run.number, approval.sequence) > (:time, :number, :sequence) "
    "ORDER BY approval.create_time, run.number, approval.sequence LIMIT :limit"
)


class JournalReader:
    """The part of `Journal` that changes nothing; see there."""

    def __init__(self, engine: Engine, *, worker: str) -> None:
        self._engine = engine
        self._worker = worker

    async def notes(self, run: str) -> list[KeptNote]:
        """Return what a run has not taken notice of; see `Journal`."""
        rows = await self._read(
            "SELECT number, kind, fact FROM note WHERE run = :run AND NOT is_heard ORDER BY number",
            run=run,
        )
        return [KeptNote(number, cast("Note", decode(kind, fact))) for number, kind, fact in rows]

    async def noted(self) -> list[str]:
        """Return the runs of this worker that have notes; see `Journal`."""
        rows = await self._read(
            "SELECT DISTINCT run FROM note JOIN run ON run.name = note.run "
            "WHERE NOT is_heard AND end_time IS NULL AND worker = :worker",
            worker=self._worker,
        )
        return [run for (run,) in rows]

    async def get(self, run: str) -> Run:
        """Return a run; see `Journal`."""
        return read_run(await self._one_of(run, f"{_RUNS} WHERE name = :run"))

    async def newest(self, limit: int, *, before: int | None = None) -> list[Run]:
        """Return runs, newest first; see `Journal`."""
        rows = await self._read(
            f"{_RUNS} WHERE number < :before ORDER BY number DESC LIMIT :limit",
            before=2**62 if before is None else before,
            limit=limit,
        )
        return [read_run(row) for row in rows]

    async def events(self, run: str, *, after: int = 0, limit: int = EVENTS_MAX) -> list[Record]:
        """Return the events of a run after a sequence; see `Journal`."""
        rows = await self._read(
            f"{_RECORDS} WHERE run = :run AND sequence > :after ORDER BY sequence LIMIT :limit",
            run=run,
            after=after,
            limit=limit,
        )
        if not rows:
            await self.get(run)
        return [read_record(row) for row in rows]

    async def snapshot(self, run: str) -> Snapshot | None:
        """Return the last state of a run that was kept; see `Journal`."""
        rows = await self._read("SELECT sequence, state FROM snapshot WHERE run = :run", run=run)
        return Snapshot(*rows[0]) if rows else None

    async def payload(self, run: str) -> bytes:
        """Return the payload of the bundle of a run; see `Journal`."""
        sql = "SELECT payload FROM bundle JOIN run ON run.bundle = bundle.name "
        (payload,) = await self._one_of(run, f"{sql} WHERE run.name = :run")
        return cast("bytes", payload)

    async def waiting(
        self, limit: int, *, after: tuple[str, int, int] = ("", 0, 0)
    ) -> list[Waiting]:
        """Return the calls that wait for people; see `Journal`."""
        time, number, sequence = after
        rows = await self._read(_WAITING, time=time, number=number, sequence=sequence, limit=limit)
        return [
            Waiting(read_run(row[5:]), _awaited(row[:5]), row[0], read_time(row[1])) for row in rows
        ]

    async def awaited(self, run: str, call: str) -> ApprovalAwaited:
        """Return what a call waits for; see `Journal`."""
        rows = await self._read(
            f"{_RECORDS} JOIN approval ON approval.run = record.run AND "
            "approval.sequence = record.sequence WHERE approval.run = :run AND call = :call",
            run=run,
            call=call,
        )
        if not rows:
            raise ApprovalNotFound(f"{run}/approvals/{call}")
        return _awaited(rows[0])

    async def receipt(self, run: str) -> Receipt:
        """Return the signed receipt of a run; see `Journal`."""
        sql = f"{_RECORDS} WHERE run = :run ORDER BY sequence DESC LIMIT 1"
        event = read_record(await self._one_of(run, sql)).event
        if not isinstance(event, RunFinished):
            raise RunUnfinished(run)
        return event.receipt

    async def _one_of(self, run: str, sql: str) -> Any:  # noqa: ANN401  # a row
        rows = await self._read(sql, run=run)
        if not rows:
            raise RunNotFound(run)
        return rows[0]

    async def _read(self, sql: str, **values: object) -> list[Any]:
        return await asyncio.to_thread(self._rows, sql, values)

    def _rows(self, sql: str, values: dict[str, object]) -> list[Any]:
        try:
            with reading(self._engine) as connection:
                return [tuple(row) for row in connection.execute(text(sql), values)]
        except OperationalError as error:
            raise JournalUnavailable from error


def _awaited(row: Any) -> ApprovalAwaited:  # noqa: ANN401  # as `read_record`
    event = read_record(row).event
    assert isinstance(event, ApprovalAwaited), "its row says so"
    return event
