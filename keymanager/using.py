"""Uses of keys: each decided by the policy, performed here, counted and recorded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import ClassVar, cast

from .approvals import require_approval, use_approval
from .audit.several import facts_of_all, rules_of_all
from .batch import Batch
from .errors import KindUnsuitable, SealBroken, SecretNotFound, UseDenied
from .journal import Asker, Entry
from .keyring import open_version
from .lifecycle import existing, usable, versions_of
from .loaded import LoadedSecret
from .policy.decision import Evaluation, decide, evaluate
from .policy.rule import CountKey, Decision, Question, Verdict
from .rows import SecretRow, VersionRow
from .sealing import to_microseconds
from .secret import Kind, State
from .uses.keys import PUBLIC_KINDS, DataKey, LoadedKey, PublicKey, load_key, public_key_of
from .uses.operation import Operation

_SEVERITY = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.DENY: 2}


@dataclass(frozen=True)
class Use:
    """Perform operations with one secret, all or none; version 0 is the present one.

    They are of one kind and have one record. Each is decided by the policy as if those before it
    were done.
    """

    by: Asker
    method: str
    name: str
    operations: Sequence[Operation[object]]
    version: int = 0

    def __post_init__(self) -> None:
        """Check that one record can name the kind of all operations."""
        assert len({operation.name for operation in self.operations}) == 1, "they are of one kind"

    def decide(self, batch: Batch, entry: Entry) -> list[object]:
        entry.digest = digest_of(batch, self.by, self.name, self.version, *self.operations)
        row = _find(batch, self.name)
        counts = _Counts(batch)
        decisions = self._judge(batch, entry, row, counts)
        if not isinstance(row, SecretRow):
            raise row or SecretNotFound(self.name)
        if any(row.kind not in operation.kinds for operation in self.operations):
            raise KindUnsuitable(self.name)
        entry.version, key = _key(batch, row, self.version)
        # Nobody is asked about what could not be done.
        approvals = [
            self._approve(batch, operation, decision.rule)
            for operation, decision in zip(self.operations, decisions, strict=True)
            if decision.verdict is Verdict.ASK
        ]
        results = [
            operation.perform(key, now=batch.now, random_bytes=batch.random_bytes)
            for operation in self.operations
        ]
        counts.write()
        for approval in approvals:
            use_approval(batch, approval)
        return results

    def judge(self, batch: Batch, entry: Entry) -> Verdict:
        """Say what would become of one operation if it had no limits, or raise `UseDenied`."""
        row = _find(batch, self.name)
        (decision,) = self._judge(batch, entry, row, _Counts(batch, is_limited=False))
        return decision.verdict

    def _judge(
        self, batch: Batch, entry: Entry, row: SecretRow | SealBroken | None, counts: _Counts
    ) -> list[Decision]:
        """Return what becomes of each operation, or raise why the first one is denied."""
        entry.secret, entry.version = self.name, self.version
        entry.operation = self.operations[0].name
        questions = [
            question_of(batch, self.by, self.name, operation, row) for operation in self.operations
        ]
        entry.facts = facts_of_all([question.facts for question in questions])
        decisions = list[Decision]()
        for question in questions:
            decision = decide(batch.policy, question, counts)
            decisions.append(decision)
            if decision.verdict is Verdict.DENY:
                break
            counts.add(decision.counts)
        worst = max(decisions, key=lambda one: _SEVERITY[one.verdict])
        entry.verdict, entry.rule = worst.verdict.value, worst.rule
        if len(questions) > 1:
            entry.facts = {**entry.facts, **rules_of_all([one.rule for one in decisions])}
        if worst.verdict is Verdict.DENY:
            raise UseDenied(self.by.caller, self.name, entry.operation)
        return decisions

    def _approve(self, batch: Batch, operation: Operation[object], rule: str) -> str:
        digest = digest_of(batch, self.by, self.name, self.version, operation)
        return require_approval(batch, self.by, self.name, operation, digest=digest, rule=rule)


@dataclass(frozen=True)
class Evaluate:
    """Say what would become of a use, and why; it is not recorded, because nothing happens."""

    method: ClassVar[str] = ""

    by: Asker
    name: str
    operation: Operation[object]

    def decide(self, batch: Batch, _entry: Entry) -> Evaluation:
        row = _find(batch, self.name)
        question = question_of(batch, self.by, self.name, self.operation, row)
        return evaluate(batch.policy, question, _Counts(batch))


@dataclass(frozen=True)
class ReadPublicKey:
    """Return the public half of a key to who may know that there is the key; not recorded."""

    method: ClassVar[str] = ""

    by: Asker
    name: str

    def decide(self, batch: Batch, _entry: Entry) -> PublicKey:
        row = existing(batch, self.name)
        if row.kind not in PUBLIC_KINDS:
            raise KindUnsuitable(self.name)
        return public_key_of(_key(batch, row, 0)[1])


def question_of(
    batch: Batch,
    by: Asker,
    name: str,
    operation: Operation[object],
    row: SecretRow | SealBroken | None,
) -> Question:
    """Return what the policy is asked; of a secret that is not there, it learns only the name."""
    known = row if isinstance(row, SecretRow) else None
    return Question(
        caller=by.caller,
        agent=by.agent,
        secret=name,
        tenant=known.tenant if known else "",
        kind=kind_text(Kind(known.kind)) if known else "",
        operation=operation.name,
        purpose=by.purpose,
        facts=operation.facts(),
        time=batch.now,
    )


def kind_text(kind: Kind) -> str:
    """Return a kind as policies and records spell it, such as `api-key`."""
    return kind.name.lower().replace("_", "-")


def digest_of(
    batch: Batch, by: Asker, name: str, version: int, *operations: Operation[object]
) -> bytes:
    """Return a keyed SHA-256 of a request: nothing in it can change without changing this.

    Without the key, who reads the log could try which short text was encrypted.
    """
    known = (by.caller, by.agent, by.purpose, name, version)
    # No two of these have the same text; bytes, texts and numbers look different.
    return batch.digest(repr((*known, *map(_plain, operations))).encode())


def _plain(value: object) -> object:
    """Return tuples of texts, numbers and bytes that nothing else has, of parts of a request."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Enum):
        return "enum", value.name
    if isinstance(value, datetime):
        return "time", value.isoformat()
    if isinstance(value, Mapping):
        return "mapping", *sorted((name, _plain(part)) for name, part in value.items())
    if isinstance(value, Sequence):
        return "sequence", *map(_plain, value)
    return kind.__name__, *[
        _plain(getattr(value, name)) for name in _fields(cast("Hashable", kind))
    ]


_PLAIN = frozenset({str, int, bytes, bool, type(None)})


@cache
def _fields(kind: Hashable) -> tuple[str, ...]:
    assert isinstance(kind, type), "it is the type of a value"
    assert dataclasses.is_dataclass(kind), f"{kind} is no part of a request"
    return tuple(one.name for one in dataclasses.fields(kind) if one.init)


def _find(batch: Batch, name: str) -> SecretRow | SealBroken | None:
    """Return a secret; why it cannot be read is not for whom the policy denies."""
    if name not in batch.touched:
        loaded = batch.memory.loaded.find(name, batch.microseconds)
        if loaded is not None:
            return loaded.row
    try:
        return batch.find(SecretRow, name, name=name)
    except SealBroken as error:
        return error


def _key(batch: Batch, row: SecretRow, number: int) -> tuple[int, LoadedKey]:
    """Return the key of a version with its number; 0 is the present one."""
    wanted = number or row.version
    loaded = (
        None
        if row.name in batch.touched
        else batch.memory.loaded.find(row.name, batch.microseconds)
    )
    if loaded is not None and wanted in loaded.versions:
        key, end = loaded.versions[wanted]
        if not end or batch.microseconds < end:
            return wanted, key
    version = usable(batch, row, number)
    opened = _load(batch, row, version)
    if Kind(row.kind) is Kind.DATA:
        opened, end = _join(batch, row, opened)
    else:
        end = version.expire_microseconds
    if row.name not in batch.touched:
        versions = dict(loaded.versions) if loaded is not None else {}
        versions[wanted] = (opened, end)
        batch.memory.loaded.keep(LoadedSecret(row, versions, batch.microseconds))
    return wanted, opened


def _load(batch: Batch, row: SecretRow, version: VersionRow) -> LoadedKey:
    value = open_version(batch, row, version)
    return load_key(Kind(row.kind), value, version=version.number)


def _join(batch: Batch, row: SecretRow, key: LoadedKey) -> tuple[LoadedKey, int]:
    """Return a key that opens what any usable version made, and when the first of them ends."""
    assert isinstance(key, DataKey), "only these work together"
    ends = []
    for version in versions_of(batch, row):
        end = version.expire_microseconds
        if version.state == State.ENABLED and version.number not in key.versions:
            if end and end <= batch.microseconds:
                continue
            other = _load(batch, row, version)
            assert isinstance(other, DataKey), "all versions are of one kind"
            key = key.joined(other)
            ends += [end] if end else []
    return key, min(ends, default=0)


class _Counts:
    """What was used so far, with what this use has already added."""

    def __init__(self, batch: Batch, *, is_limited: bool = True) -> None:
        self._batch = batch
        self._is_limited = is_limited
        self._added: dict[CountKey, int] = {}

    def used(self, key: CountKey, since: datetime) -> int:
        """Return the sum of all amounts that were added after a time."""
        if not self._is_limited:
            return 0
        return self._added.get(key, 0) + self._batch.used(_text(key), to_microseconds(since))

    def add(self, keys: Sequence[CountKey]) -> None:
        """Take into account what is not done yet."""
        for key in keys:
            self._added[key] = self._added.get(key, 0) + key.amount

    def write(self) -> None:
        """Count what succeeded."""
        for key, amount in self._added.items():
            self._batch.count(_text(key), amount)


def rule_of(counter: str) -> str:
    """Return the rule whose uses a counter counts."""
    rule: str = json.loads(counter)[0]
    return rule


def _text(key: CountKey) -> str:
    return json.dumps([key.rule, key.fact, key.each, key.name])
