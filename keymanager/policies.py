"""The policy that operators put; until there is one, the packaged one holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from chassis.log import log

from .batch import Batch
from .errors import PolicyInvalid
from .journal import Asker, Entry
from .policy.document import default_policy, parse
from .policy.rule import Policy
from .rows import PolicyRow
from .sealing import encode, from_microseconds


@dataclass(frozen=True)
class PolicyDocument:
    """A policy as it was written; version 0 is the packaged one."""

    version: int
    text: str
    author: str
    create_time: datetime | None = None


@dataclass(frozen=True)
class PutPolicy:
    """Put a policy into force; one with problems changes nothing."""

    method: ClassVar[str] = "PutPolicy"

    by: Asker
    text: str

    def decide(self, batch: Batch, entry: Entry) -> PolicyDocument:
        entry.digest = batch.digest(encode("policy", self.text))
        policy = parse(self.text)
        version = latest(batch).version + 1
        row = PolicyRow(version, self.text, self.by.caller, batch.microseconds)
        batch.write(row)
        batch.policy = policy
        entry.version = version
        return _document_of(row)


@dataclass(frozen=True)
class ReadPolicy:
    """Return the policy in force; not recorded."""

    method: ClassVar[str] = ""

    by: Asker

    def decide(self, batch: Batch, _entry: Entry) -> PolicyDocument:
        return latest(batch)


def latest(batch: Batch) -> PolicyDocument:
    """Return the policy in force as it was written."""
    rows = batch.select(PolicyRow, "ORDER BY version DESC LIMIT 1", (), name="policy")
    return _document_of(rows[0]) if rows else PolicyDocument(0, "", "")


def in_force(batch: Batch) -> Policy:
    """Return the policy in force."""
    text = latest(batch).text
    if not text:
        return default_policy()
    try:
        return parse(text)
    except PolicyInvalid as error:
        # Put into force by an earlier release, which checked less.
        log.warning("policy.invalid", problems=error.problem_count, first=error.first)
        return parse(text, is_stored=True)


def _document_of(row: PolicyRow) -> PolicyDocument:
    time = from_microseconds(row.create_microseconds)
    return PolicyDocument(row.version, row.text, row.author, time)
