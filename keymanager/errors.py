"""Operating errors of the key manager; none of them repeats a value or a message."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
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
