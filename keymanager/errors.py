"""Operating errors of the key manager; none of them repeats a value or a message."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)


@dataclass(eq=False)
class SecretNotFound(NotFound):
    """No secret has this name."""

    reason = "SECRET_NOT_FOUND"
    message = "there is no {name}; put it with 'actionvm secrets put'"

    name: str


@dataclass(eq=False)
class SecretExists(AlreadyExists):
    """The name is taken, and overwriting it silently would lose a key."""

    reason = "SECRET_EXISTS"
    message = "{name} exists; rotate it instead"

    name: str


@dataclass(eq=False)
class KindUnsuitable(FailedPrecondition):
    """A secret that cannot sign was asked to."""

    reason = "KIND_UNSUITABLE"
    message = "{name} is no signing key; name a secret of kind ed25519"

    name: str


@dataclass(eq=False)
class PurposeDenied(PermissionDenied):
    """The purpose belongs to another caller or to another key."""

    reason = "PURPOSE_DENIED"
    message = "{caller} may not sign with {key} for the purpose {purpose}"

    caller: str
    key: str
    purpose: str


@dataclass(eq=False)
class SealBroken(FailedPrecondition):
    """A stored row is not what was sealed."""

    reason = "SEAL_BROKEN"
    message = "what is stored as {name} was changed; restore a backup, or shred it and put it again"

    name: str


@dataclass(eq=False)
class AuditBroken(FailedPrecondition):
    """A stored record of the audit log is not what was recorded."""

    reason = "AUDIT_BROKEN"
    message = (
        "audit record {sequence}, or the one before it, was changed on the disk; keep the disk as "
        "evidence, and compare the last export with 'actionvm audit verify'"
    )

    sequence: int


@dataclass(eq=False)
class BackupInvalid(InvalidArgument):
    """What should be a backup is none, is damaged, or was changed."""

    reason = "BACKUP_INVALID"
    message = "the backup {problem}"

    problem: str


@dataclass(eq=False)
class ShareDamaged(InvalidArgument):
    """A recovery share is not as it was written down; its words are never repeated."""

    reason = "SHARE_DAMAGED"
    message = "share {number} is damaged: {problem}; compare it with what was written down"

    number: int
    problem: str


@dataclass(eq=False)
class ShareForeign(InvalidArgument):
    """A recovery share is one of another backup; `words` begin every share of this one."""

    reason = "SHARE_FOREIGN"
    message = "share {number} is of another backup; the shares of this one begin with '{words}'"

    number: int
    words: str


@dataclass(eq=False)
class SharesMissing(FailedPrecondition):
    """Fewer recovery shares came than are needed."""

    reason = "SHARES_MISSING"
    message = "{given} different shares are here, and {needed} are needed; ask more holders"

    given: int
    needed: int


@dataclass(eq=False)
class SharesDisagree(InvalidArgument):
    """Each recovery share is well-formed, but together they do not give the key of the backup."""

    reason = "SHARES_DISAGREE"
    message = (
        "the shares do not give the key of this backup, so one of them is false; try those of "
        "other holders, which also begin with '{words}'"
    )

    words: str
