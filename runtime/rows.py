"""The tables of the runtime."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from .facts import State, encode_callers

NO_CALLERS = encode_callers(())


class _Row(SQLModel, registry=registry()):
    """What the tables of the runtime have in common: their own namespace."""


class RunRow(_Row, table=True):
    __tablename__ = "run"

    number: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    request_id: str = Field(unique=True)
    content_sha256: str
    bundle: str = Field(foreign_key="bundle.name")
    account: str
    input: str
    dry_run: bool
    create_time: str
    callers: bytes = NO_CALLERS
    deadline: str | None = None
    # What follows is folded from the journal, in the transaction that appends to it.
    sequence: int = 0
    state: str = State.PENDING
    answer: str = ""
    failure_reason: str = ""
    failure_message: str = ""
    step_count: int = 0
    gas: int = 0
    end_time: str | None = Field(default=None, index=True)
    is_cancel_requested: bool = False
    approval: str = ""
    # Of the event that says so; 0 if it waits for no person.
    approval_sequence: int = 0
    # What `decide` keeps.
    outcome: bytes | None = None


class BundleRow(_Row, table=True):
    __tablename__ = "bundle"

    name: str = Field(primary_key=True)
    payload: bytes


class RecordRow(_Row, table=True):
    __tablename__ = "record"

    run: str = Field(primary_key=True, foreign_key="run.name")
    sequence: int = Field(primary_key=True)
    create_time: str
    kind: str
    fact: bytes


TABLES: MetaData = _Row.metadata
