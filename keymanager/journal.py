"""The audit log within one batch: every operation leaves one record, whatever became of it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Protocol

from chassis.errors import ServiceError

from .audit.record import Facts, Record, content_of
from .batch import Batch
from .sealing import encode

# What a record may hold of texts that a caller chose.
_TEXT_CHARACTERS_MAX = 300

OK = "OK"
# Of a bug, as the caller is told.
INTERNAL = "INTERNAL"
ALLOW = "allow"


@dataclass(frozen=True)
class Asker:
    """Who asks for something, for which agent and to what end; both may be empty."""

    caller: str
    agent: str = ""
    purpose: str = ""


@dataclass
class Entry:
    """What an operation says of itself while it decides.

    `by` is who asked where the request alone does not tell for which agent and to what end.
    """

    by: Asker | None = None
    secret: str = ""
    version: int = 0
    operation: str = ""
    verdict: str = ALLOW
    rule: str = ""
    facts: Facts = field(default_factory=dict)
    digest: bytes = b""


class Operation(Protocol):
    """Something that the writer does; one without the name of a method leaves no record."""

    @property
    def method(self) -> str: ...

    @property
    def by(self) -> Asker: ...

    def decide(self, batch: Batch, entry: Entry) -> object:
        """Decide first and write then: what is written before an error stays."""
        ...


def decide(batch: Batch, operation: Operation) -> object:
    """Return what an operation gave, or with what it was refused; either leaves a record.

    A bug is for its own caller alone, unless something of it is written: nothing takes that back
    but the end of the transaction.
    """
    entry, writes = Entry(), batch.writes
    try:
        outcome = operation.decide(batch, entry)
    except ServiceError as error:
        outcome = error
    except sqlite3.Error:
        raise
    except Exception as error:
        if batch.writes != writes:
            raise
        outcome = error
    if operation.method:
        _record(batch, operation.method, entry.by or operation.by, entry, outcome)
    return outcome


def _record(batch: Batch, method: str, by: Asker, entry: Entry, outcome: object) -> None:
    made = Record(
        sequence=batch.log.size + 1,
        time=batch.now,
        caller=_clip(by.caller),
        agent=_clip(by.agent),
        method=method,
        secret=entry.secret,
        version=entry.version,
        operation=entry.operation,
        purpose=_clip(by.purpose),
        verdict=entry.verdict,
        rule=entry.rule,
        outcome=_reason(outcome),
        request_sha256=entry.digest
        or batch.digest(encode(method, by.caller, entry.secret, entry.version, entry.operation)),
        facts=entry.facts,
    )
    content = content_of(made)
    batch.log, nodes = batch.log.append(content)
    batch.records.append((made.sequence, content, batch.log.head))
    batch.nodes += [(node.level, node.index, node.hash) for node in nodes]


def _reason(outcome: object) -> str:
    if isinstance(outcome, ServiceError):
        return outcome.reason
    return INTERNAL if isinstance(outcome, Exception) else OK


def _clip(text: str) -> str:
    return text if len(text) <= _TEXT_CHARACTERS_MAX else text[: _TEXT_CHARACTERS_MAX - 1] + "…"
