"""The tables of the journal, the same in SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

TABLES = MetaData()

# In SQLite only an INTEGER counts by itself.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

BUNDLE = Table(
    "bundle",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
)
RUN = Table(
    "run",
    TABLES,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("request_id", Text, nullable=False, unique=True),
    Column("content_sha256", Text, nullable=False),
    Column("bundle", Text, ForeignKey("bundle.name"), nullable=False),
    Column("account", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("create_time", Text, nullable=False),
    Column("callers", LargeBinary, nullable=False),
    Column("deadline", Text),
    Column("origin", Text, nullable=False, server_default=""),
    # Who has it, and how often it has changed hands.
    Column("worker", Text, nullable=False, server_default=""),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    # What follows is folded from the journal, in the transaction that appends to it.
    Column("sequence", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("failure_reason", Text, nullable=False),
    Column("failure_message", Text, nullable=False),
    Column("step_count", BigInteger, nullable=False),
    Column("gas", BigInteger, nullable=False),
    Column("end_time", Text),
    Column("approval", Text, nullable=False, server_default=""),
)
# Most runs have ended.
Index(
    "run_open",
    RUN.c.number,
    sqlite_where=text("end_time IS NULL"),
    postgresql_where=text("end_time IS NULL"),
)
RECORD = Table(
    "record",
    TABLES,
    Column("run", Text, ForeignKey("run.name"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("create_time", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # Empty where the fact is a blob.
    Column("fact", LargeBinary, nullable=False),
    Column("blob", Text, ForeignKey("blob.sha256")),
)
BLOB = Table(
    "blob",
    TABLES,
    Column("sha256", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
SNAPSHOT = Table(
    "snapshot",
    TABLES,
    Column("run", Text, ForeignKey("run.name"), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
APPROVAL = Table(
    "approval",
    TABLES,
    Column("run", Text, ForeignKey("run.name"), primary_key=True),
    Column("call", Text, primary_key=True),
    # Of the event that says so.
    Column("sequence", BigInteger, nullable=False),
    Column("approval", Text, nullable=False),
    Column("create_time", Text, nullable=False),
)
NOTE = Table(
    "note",
    TABLES,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("run", Text, ForeignKey("run.name"), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("fact", LargeBinary, nullable=False),
    Column("is_heard", Boolean, nullable=False),
    UniqueConstraint("run", "request_id"),
)
Index(
    "note_unheard",
    NOTE.c.run,
    sqlite_where=text("NOT is_heard"),
    postgresql_where=text("NOT is_heard"),
)
WORKER = Table(
    "worker",
    TABLES,
    Column("name", Text, primary_key=True),
    # Seconds since 1970: until then its runs are its own.
    Column("until", Double, nullable=False),
)
# What was used of windows of policies; see `tally.py`.
TALLY = Table(
    "tally",
    TABLES,
    Column("account", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # Microseconds since 1970.
    Column("time", BigInteger, primary_key=True),
    # Whole numbers of up to 96 digits: at this time, and in all up to it.
    Column("amount", Text, nullable=False),
    Column("total", Text, nullable=False),
)
Index("tally_time", TALLY.c.time)
