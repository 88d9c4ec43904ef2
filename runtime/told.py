"""Which receiver was told of which question, in a file beside the journal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Boolean, Column, Engine, Integer, MetaData, Table, Text, delete, select
from sqlalchemy.dialects.sqlite import insert

from chassis.database import open_database, reading

_TABLES = MetaData()
_TELLING = Table(
    "telling",
    _TABLES,
    Column("receiver", Text, primary_key=True),
    Column("question", Text, primary_key=True),
    Column("attempt_count", Integer, nullable=False),
    Column("next_attempt_time", Text, nullable=False),
    Column("is_over", Boolean, nullable=False),
)


@dataclass(frozen=True)
class Telling:
    """How far one receiver is with one question; it is over once it was told, or given up."""

    receiver: str
    question: str
    attempt_count: int
    next_attempt_time: datetime
    is_over: bool


def open_told(path: Path) -> Engine:
    """Open the file, or make it."""
    return open_database(path, _TABLES)


class Told:
    """See above."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, receiver: str) -> Sequence[Telling]:
        """Return how far a receiver is with all questions."""
        query = select(_TELLING).where(_TELLING.c.receiver == receiver)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [
            Telling(
                receiver=row.receiver,
                question=row.question,
                attempt_count=row.attempt_count,
                next_attempt_time=datetime.fromisoformat(row.next_attempt_time).astimezone(UTC),
                is_over=row.is_over,
            )
            for row in rows
        ]

    def keep(self, telling: Telling) -> None:
        """Keep how far it is."""
        values = {
            "attempt_count": telling.attempt_count,
            "next_attempt_time": telling.next_attempt_time.isoformat(),
            "is_over": telling.is_over,
        }
        key = {"receiver": telling.receiver, "question": telling.question}
        added = insert(_TELLING).values(**key, **values)
        with self._engine.begin() as connection:
            connection.execute(added.on_conflict_do_update(index_elements=list(key), set_=values))

    def forget(self, receiver: str, questions: Collection[str]) -> None:
        """Forget questions that nobody asks any more."""
        with self._engine.begin() as connection:
            for question in questions:
                connection.execute(
                    delete(_TELLING).where(
                        _TELLING.c.receiver == receiver, _TELLING.c.question == question
                    )
                )
