"""Operating errors of the key manager; none of them repeats a value or a message."""

from __future__ import annotations

from dataclasses import dataclass, field

from chassis.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
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
