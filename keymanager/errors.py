"""Operating errors of the key manager; none of them repeats a value or a message."""

from __future__ import annotations

from dataclasses import dataclass, field

from chassis.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from chassis.problems import Problem, clip


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
    """A secret was asked for what its kind cannot do."""

    reason = "KIND_UNSUITABLE"
    message = "{name} is of a kind that cannot do this; docs/keys.md says which can"

    name: str


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
    message = "audit record {sequence}, or what vouches for it, was changed; see docs/audit.md"

    sequence: int


@dataclass(eq=False)
class BackupInvalid(InvalidArgument):
    """What should be a backup is none, is damaged, or was changed."""

    reason = "BACKUP_INVALID"
    message = "the backup {problem}"

    problem: str


@dataclass(eq=False)
class BackupTooLarge(ResourceExhausted):
    """A backup does not fit into one message."""

    reason = "BACKUP_TOO_LARGE"
    message = (
        "the backup would have {size} bytes, and at most {size_max} can be carried; shred what is "
        "not needed"
    )

    size: int
    size_max: int


@dataclass(eq=False)
class HoldersUnusable(FailedPrecondition):
    """The file of the holders of recovery shares cannot be read."""

    reason = "HOLDERS_UNUSABLE"
    message = "the file of the holders of recovery shares is malformed; restore or remove it"


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


# --- The vault -----------------------------------------------------------------------------------


@dataclass(eq=False)
class AuditUnavailable(Unavailable):
    """What was asked could not be recorded, so it was not done, or nobody is told that it was."""

    reason = "AUDIT_UNAVAILABLE"
    message = "the audit log cannot be written, so nothing is answered; free the disk, then repeat"


@dataclass(eq=False)
class ErasurePending(FailedPrecondition):
    """Something is destroyed for all who ask, but somebody still reads what the files held."""

    reason = "ERASURE_PENDING"
    message = "done, but the files hold the key until the process that reads keymanager.db ends"


@dataclass(eq=False)
class PlatformSilent(Unavailable):
    """The platform does not count or unseal, so nothing may change."""

    reason = "PLATFORM_UNAVAILABLE"
    message = "the platform does not answer; see 'actionvm status', then repeat"


@dataclass(eq=False)
class RolledBack(FailedPrecondition):
    """The disk is older than what the platform or a peer remembers."""

    reason = "ROLLED_BACK"
    message = (
        "{problem}; restore the latest state, or have an operator accept what is there: keys that "
        "were rotated or shredded since then may be back"
    )

    problem: str


@dataclass(eq=False)
class UseDenied(PermissionDenied):
    """The policy does not allow a use; whether the secret exists is not said.

    Nor is the rule, which may be one about kinds or tenants: it is on record.
    """

    reason = "USE_DENIED"
    message = (
        "{caller} may not use {secret} for {operation}; 'actionvm policy evaluate' and the audit "
        "log tell an operator which rule says so"
    )

    caller: str
    secret: str
    operation: str


@dataclass(eq=False)
class SecretDisabled(FailedPrecondition):
    """The secret, or this version of it, is not in use."""

    reason = "SECRET_DISABLED"
    message = "{name} is disabled; enable it first"

    name: str


@dataclass(eq=False)
class VersionNotFound(NotFound):
    """The secret has no such version, or has it no longer."""

    reason = "VERSION_NOT_FOUND"
    message = "{name} has no version {version}; it was shredded, or its grace time is over"

    name: str
    version: int


@dataclass(eq=False)
class VersionInUse(FailedPrecondition):
    """The present version cannot go alone."""

    reason = "VERSION_IN_USE"
    message = "version {version} is the one of {name} in use; rotate or shred the secret"

    name: str
    version: int


@dataclass(eq=False)
class TooManyVersions(ResourceExhausted):
    """So many values of a secret may still be used that it takes no more."""

    reason = "TOO_MANY_VERSIONS"
    message = "{name} has {limit} versions; shred those that nothing needs any more"

    name: str
    limit: int


@dataclass(eq=False)
class TenantNotFound(NotFound):
    """The tenant has no secret."""

    reason = "TENANT_NOT_FOUND"
    message = "{tenant} has no secrets"

    tenant: str


@dataclass(eq=False)
class ApprovalRequired(FailedPrecondition):
    """A person has to approve exactly this request; repeat it then."""

    reason = "APPROVAL_REQUIRED"
    message = "rule {rule} asks a person: decide about {approval}, then repeat the request"

    approval: str
    rule: str


@dataclass(eq=False)
class ApprovalsExceeded(ResourceExhausted):
    """So many uses of somebody wait for a person that no more are taken."""

    reason = "APPROVALS_EXCEEDED"
    message = (
        "rule {rule} asks a person, but {open_max} uses of {whose} wait for one already; "
        "decide about them ('actionvm approvals list'), or wait until they expire after a day"
    )

    rule: str
    whose: str
    open_max: int


@dataclass(eq=False)
class ApprovalDenied(PermissionDenied):
    """A person denied exactly this request."""

    reason = "APPROVAL_DENIED"
    message = "{approval} was denied"

    approval: str


@dataclass(eq=False)
class ApprovalNotFound(NotFound):
    """No approval has this name, or its time is over."""

    reason = "APPROVAL_NOT_FOUND"
    message = "there is no {approval}, or its time is over; repeat the request that asked for it"

    approval: str


@dataclass(eq=False)
class ApprovalDecided(FailedPrecondition):
    """It was decided otherwise before, or was used."""

    reason = "APPROVAL_DECIDED"
    message = "{approval} was decided before; repeat the request to be asked again"

    approval: str


@dataclass(eq=False)
class LeaseNotFound(NotFound):
    """No lease of this holder has this name."""

    reason = "LEASE_NOT_FOUND"
    message = "there is no {lease}; ask for a release"

    lease: str


@dataclass(eq=False)
class LeaseExpired(FailedPrecondition):
    """The lease is over or was revoked; what was released must be forgotten."""

    reason = "LEASE_EXPIRED"
    message = "{lease} is over; forget the value and ask for a release"

    lease: str


@dataclass(eq=False)
class VaultNotEmpty(FailedPrecondition):
    """A backup would overwrite secrets."""

    reason = "VAULT_NOT_EMPTY"
    message = "there are secrets already; restore into a new key manager"


@dataclass(eq=False)
class PolicyInvalid(InvalidArgument):
    """A policy has problems; `problems` are all that was found, in the order of the text."""

    reason = "POLICY_INVALID"
    message = "the policy has problems: {problem_count}; the first: {first}"

    problems: tuple[Problem, ...] = field(metadata={"travels": False})
    problem_count: int = field(init=False)
    first: str = field(init=False)

    def __post_init__(self) -> None:
        """Take the message from the problems."""
        self.problem_count = len(self.problems)
        self.first = clip(str(self.problems[0]), length_max=300)


# --- Identity ------------------------------------------------------------------------------------


@dataclass(eq=False)
class NonceInvalid(FailedPrecondition):
    """An enrolment came with a nonce that is not good, or not any more."""

    reason = "NONCE_INVALID"
    message = "the nonce {problem}; begin the enrolment anew"

    problem: str


@dataclass(eq=False)
class EvidenceRefused(PermissionDenied):
    """The evidence does not prove what the process would have to be."""

    reason = "EVIDENCE_REFUSED"
    message = "the evidence is refused: {problem}"

    problem: str


@dataclass(eq=False)
class IdentityRevoked(PermissionDenied):
    """An operator has revoked the identity."""

    reason = "IDENTITY_REVOKED"
    message = "{identity} is revoked; an operator lets it in again with ReinstateIdentity"

    identity: str


@dataclass(eq=False)
class TooManyRevocations(ResourceExhausted):
    """So many certificates are revoked that no more can be remembered."""

    reason = "TOO_MANY_REVOCATIONS"
    message = "{limit} certificates are revoked already; revoke the identity instead"

    limit: int
