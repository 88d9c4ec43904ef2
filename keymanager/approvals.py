"""Questions to people: a use that needs one waits until somebody decided about exactly it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import ClassVar, TypeAlias

from .batch import Batch
from .errors import (
    ApprovalDecided,
    ApprovalDenied,
    ApprovalNotFound,
    ApprovalRequired,
    ApprovalsExceeded,
)
from .journal import Asker, Entry
from .rows import ApprovalRow
from .sealing import from_microseconds, to_microseconds
from .uses.operation import Fact, Operation
from .uses.preview import preview_of

# How long a person has for a decision, and the caller then for the repeat.
LIFE = timedelta(hours=24)
# Questions that wait for a person: nobody reads more, and one agent leaves room for the others.
OPEN_OF_AGENT_MAX = 50
OPEN_OF_CALLER_MAX = 500


# Where an approval stands among all, oldest first: when it was asked in microseconds, and its name.
Place: TypeAlias = tuple[int, str]
FIRST: Place = (0, "")


class ApprovalState(IntEnum):
    """Where an approval is; a used one is good for nothing more."""

    PENDING = 1
    APPROVED = 2
    DENIED = 3
    USED = 4


@dataclass(frozen=True)
class Approval:
    """A question as a person sees it.

    `facts` is a JSON object: those of the use, and as `preview` the beginning of what is signed.
    """

    name: str
    state: ApprovalState
    secret: str
    operation: str
    caller: str
    agent: str
    purpose: str
    facts: str
    rule: str
    decider: str
    create_time: datetime
    expire_time: datetime

    @property
    def place(self) -> Place:
        """Return where it stands among all."""
        return to_microseconds(self.create_time), self.name


@dataclass(frozen=True)
class Approve:
    """Decide about a question, once; the same decision again changes nothing."""

    method: ClassVar[str] = "DecideApproval"

    by: Asker
    name: str
    approves: bool

    def decide(self, batch: Batch, entry: Entry) -> Approval:
        entry.operation = self.name
        row = batch.find(ApprovalRow, self.name, name=self.name)
        if row is None or row.expire_microseconds <= batch.microseconds:
            raise ApprovalNotFound(self.name)
        entry.secret = row.secret
        wanted = ApprovalState.APPROVED if self.approves else ApprovalState.DENIED
        if row.state == ApprovalState.PENDING:
            row = row._replace(state=int(wanted), decider=self.by.caller)
            batch.write(row)
        elif row.state != wanted:
            raise ApprovalDecided(self.name)
        return approval_of(row)


def require_approval(
    batch: Batch, by: Asker, secret: str, operation: Operation[object], *, digest: bytes, rule: str
) -> str:
    """Return the approval of exactly this request, or raise what is missing.

    The first time, a question is written; it stays although the request is refused. Raise
    `ApprovalsExceeded` where too many wait.
    """
    where = "WHERE digest = ? AND expire_microseconds > ? AND state != ?"
    wanted = (digest, batch.microseconds, int(ApprovalState.USED))
    for row in batch.select(ApprovalRow, where, wanted, name=secret):
        if row.state == ApprovalState.APPROVED:
            return row.name
        if row.state == ApprovalState.DENIED:
            raise ApprovalDenied(row.name)
        raise ApprovalRequired(approval=row.name, rule=rule)
    _require_room(batch, by, rule)
    name = f"approvals/{uuid.UUID(bytes=batch.random_bytes(16), version=4)}"
    batch.write(
        ApprovalRow(
            name=name,
            digest=digest,
            secret=secret,
            operation=operation.name,
            caller=by.caller,
            agent=by.agent,
            purpose=by.purpose,
            facts=json.dumps(_shown(operation), sort_keys=True),
            rule=rule,
            state=ApprovalState.PENDING,
            decider="",
            create_microseconds=batch.microseconds,
            expire_microseconds=batch.microseconds + LIFE // timedelta(microseconds=1),
        )
    )
    raise ApprovalRequired(approval=name, rule=rule)


def _require_room(batch: Batch, by: Asker, rule: str) -> None:
    where = "FROM approval WHERE caller = ? AND state = ? AND expire_microseconds > ?"
    wanted = (by.agent, by.caller, int(ApprovalState.PENDING), batch.microseconds)
    batch.cursor.execute(f"SELECT COUNT(*), COALESCE(SUM(agent = ?), 0) {where}", wanted)
    of_caller, of_agent = map(int, batch.cursor.fetchone() or (0, 0))
    if of_agent >= OPEN_OF_AGENT_MAX:
        raise ApprovalsExceeded(rule, by.agent or by.caller, OPEN_OF_AGENT_MAX)
    if of_caller >= OPEN_OF_CALLER_MAX:
        raise ApprovalsExceeded(rule, by.caller, OPEN_OF_CALLER_MAX)


def _shown(operation: Operation[object]) -> dict[str, Fact]:
    preview = preview_of(operation)
    return dict(operation.facts()) | ({"preview": preview} if preview else {})


def use_approval(batch: Batch, name: str) -> None:
    """Spend an approval: the same request needs another one next time."""
    row = batch.get(ApprovalRow, name, name=name)
    batch.write(row._replace(state=int(ApprovalState.USED)))


def approval_of(row: ApprovalRow) -> Approval:
    """Return an approval as people see it."""
    return Approval(
        name=row.name,
        state=ApprovalState(row.state),
        secret=row.secret,
        operation=row.operation,
        caller=row.caller,
        agent=row.agent,
        purpose=row.purpose,
        facts=row.facts,
        rule=row.rule,
        decider=row.decider,
        create_time=from_microseconds(row.create_microseconds),
        expire_time=from_microseconds(row.expire_microseconds),
    )
