"""The tables of the journal; the same in SQLite and PostgreSQL.

A run is known to the other tables by its number, which makes their keys short.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    and_,
)

# 2 brought runs that call others; 3 runs that wait for people; 4 owners, notes and snapshots;
# 5 what policies count; 6 short keys.
VERSION = 6
# A fact that is longer is kept apart, once for all who have the same.
FACT_BYTES_MAX = 16 * 1024

TABLES = MetaData()

# INTEGER, because that is the key of the rows themselves in SQLite.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")
# Ordered by bytes, as in SQLite and Python: no locale decides what a page holds.
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, _TEXT, primary_key=key, nullable=False)


def _number(name: str, *, key: bool = False) -> Column[int]:
    kind = _NUMBER if key else BigInteger()
    return Column(name, kind, primary_key=key, nullable=False, autoincrement=False)


def _bytes(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


BUNDLE = Table("bundle", TABLES, _text("name", key=True), _bytes("payload"))
RUN = Table(
    "run",
    TABLES,
    _number("number", key=True),
    _text("name"),
    _text("request_id"),
    _text("content_sha256"),
    _text("bundle"),
    _text("account"),
    # Whether another run waits for it.
    Column("is_called", Boolean, nullable=False),
    _text("create_time"),
    Column("deadline", _TEXT),
    # What follows is folded from its events, in the transaction that appends them.
    _number("sequence"),
    _text("state"),
    _number("step_count"),
    _number("gas"),
    Column("end_time", _TEXT),
    Column("outcome", LargeBinary),
    # Who writes its events, and how often that has changed.
    _text("worker"),
    _number("epoch"),
    UniqueConstraint("name"),
    UniqueConstraint("request_id"),
)
EVENT = Table(
    "event",
    TABLES,
    _number("run", key=True),
    _number("sequence", key=True),
    _text("create_time"),
    _text("kind"),
    # Empty where it is kept apart.
    _bytes("fact"),
    Column("blob", _TEXT),
)
BLOB = Table("blob", TABLES, _text("sha256", key=True), _bytes("content"))
SNAPSHOT = Table("snapshot", TABLES, _number("run", key=True), _number("sequence"), _bytes("state"))
NOTE = Table(
    "note",
    TABLES,
    # Given by the database, in the order of arrival.
    Column("number", _NUMBER, primary_key=True),
    _number("run"),
    _text("request_id"),
    _text("sha256"),
    _text("kind"),
    # Empty once it was heard: then it is an event.
    _bytes("fact"),
    Column("is_heard", Boolean, nullable=False),
    UniqueConstraint("run", "request_id"),
)
WORKER = Table(
    "worker",
    TABLES,
    _text("name", key=True),
    # Until then nobody else takes its runs; in seconds since 1970.
    Column("until", Double, nullable=False),
)
# What was used of windows of policies; see `tally.py`.
TALLY = Table(
    "tally",
    TABLES,
    _text("account", key=True),
    _text("key", key=True),
    # Microseconds since 1970.
    _number("time", key=True),
    # Whole numbers of up to 96 digits: at this time, and in all up to it.
    _text("amount"),
    _text("total"),
    Index("tally_time", "time"),
)
# Calls that wait for a person, and the event that says so.
APPROVAL = Table(
    "approval",
    TABLES,
    _number("run", key=True),
    _text("call", key=True),
    _number("sequence"),
    _text("create_time"),
    # As people see it in the run.
    _text("name"),
    Index("approval_by_place", "create_time", "run", "sequence"),
)

# Those of `folding.Head`, in its order.
HEAD_COLUMNS = (
    "number, name, account, request_id, content_sha256, worker, epoch, sequence, state, step_count,"
    " gas, end_time"
)


def _partial(name: str, column: Column[int], where: object) -> None:
    Index(name, column, sqlite_where=where, postgresql_where=where)


_IS_OPEN = RUN.c.end_time.is_(None)
_partial("run_open", RUN.c.number, _IS_OPEN)
# Those that count against the limit.
_partial("run_outermost", RUN.c.number, and_(_IS_OPEN, RUN.c.is_called.is_(False)))
_partial("note_unheard", NOTE.c.run, NOTE.c.is_heard.is_(False))
