"""Operating errors as data: a code, a reason and typed fields.

    ServiceError
        InvalidArgument      the request is wrong, whatever the state; fix it
            InvalidField     one field of it
        NotFound             unknown name
        AlreadyExists        the name or the request id is taken
            RequestIdReused
        FailedPrecondition   change the state first, then retry
        ResourceExhausted    pay or wait
        Unauthenticated      who are you
            TokenInvalid
            CertificateInvalid, CertificateExpired, CertificateRevoked
        PermissionDenied     not you
            MethodDenied
            EnrolmentRefused
        Unavailable          down or restarting; retry
            PeerUnavailable
        Unimplemented        in the contract, not yet in the code
            NotImplementedYet

A subclass is a frozen picture of one situation: `reason` names it, `message` is a format string
over its fields, and the fields travel as metadata, so that every variable part of a message is
also data (AIP-193). Anything else that is raised is a bug and becomes `INTERNAL`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

# An error travels as HTTP/2 metadata, of which clients take 8 KiB: each part is in it four times,
# in Base64 and in percent encoding.
PART_BYTES_MAX = 500


@dataclass(eq=False)
class ServiceError(Exception):
    """An error that the caller can act on."""

    code: ClassVar[str]
    reason: ClassVar[str]
    message: ClassVar[str]

    @property
    def metadata(self) -> dict[str, str]:
        """Return the variable parts of the message by name, of a length that can travel."""
        return {
            field.name: _clip(str(getattr(self, field.name)))
            for field in dataclasses.fields(self)
            if field.metadata.get("travels", True)
        }

    def __str__(self) -> str:
        """Return the message with its fields filled in."""
        return self.message.format(**self.metadata)


class InvalidArgument(ServiceError):
    """The request is malformed, whatever the state of the system."""

    code = "INVALID_ARGUMENT"


class NotFound(ServiceError):
    """A name that nobody has."""

    code = "NOT_FOUND"


class AlreadyExists(ServiceError):
    """A name that somebody has."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(ServiceError):
    """The state must change before this can succeed."""

    code = "FAILED_PRECONDITION"


class ResourceExhausted(ServiceError):
    """A quota, a queue or gas is used up."""

    code = "RESOURCE_EXHAUSTED"


class Unauthenticated(ServiceError):
    """The caller did not prove who it is."""

    code = "UNAUTHENTICATED"


class PermissionDenied(ServiceError):
    """The caller is known and may not do this."""

    code = "PERMISSION_DENIED"


class Unavailable(ServiceError):
    """Something that is needed is down or restarting."""

    code = "UNAVAILABLE"


class Unimplemented(ServiceError):
    """The contract has it, the code does not."""

    code = "UNIMPLEMENTED"


@dataclass(eq=False)
class InvalidField(InvalidArgument):
    """One field of a request is wrong; `problem` says what, and what would be right."""

    reason = "INVALID_FIELD"
    message = "{field}: {problem}"

    field: str
    problem: str


@dataclass(eq=False)
class RequestIdReused(AlreadyExists):
    """A request id came a second time with other content."""

    reason = "REQUEST_ID_REUSED"
    message = "request_id {request_id} was used before with other content; use a new one"

    request_id: str


@dataclass(eq=False)
class TokenInvalid(Unauthenticated):
    """A call came without a token, or with one that nobody has."""

    reason = "TOKEN_INVALID"
    message = "the call carries no valid token; send 'authorization: Bearer <token>'"


class CertificateInvalid(Unauthenticated):
    """A certificate of our authority names no service."""

    reason = "CERTIFICATE_INVALID"
    message = "the certificate names no service; enrol with the key manager"


class CertificateExpired(Unauthenticated):
    """A connection outlived the certificate that it was opened with."""

    reason = "CERTIFICATE_EXPIRED"
    message = "the certificate has expired; enrol again and connect anew"


class CertificateRevoked(Unauthenticated):
    """The certificate, or its owner, was revoked."""

    reason = "CERTIFICATE_REVOKED"
    message = "the certificate was revoked; an operator must let its owner in again"


class RevocationsUnknown(Unavailable):
    """A process has just started, and has not heard yet who is revoked."""

    reason = "REVOCATIONS_UNKNOWN"
    message = "the key manager has not said yet which certificates are revoked; retry"


@dataclass(eq=False)
class MethodDenied(PermissionDenied):
    """The authorisation table does not list this caller for this method."""

    reason = "METHOD_DENIED"
    message = "{caller} may not call {method}"

    caller: str
    method: str


@dataclass(eq=False)
class EnrolmentRefused(PermissionDenied):
    """Whoever gives certificates gives this process none."""

    reason = "ENROLMENT_REFUSED"
    message = "there is no certificate for this process: {problem}"

    problem: str


@dataclass(eq=False)
class PeerUnavailable(Unavailable):
    """Another service does not answer."""

    reason = "PEER_UNAVAILABLE"
    message = "{peer} does not answer; retry, and see 'actionvm status'"

    peer: str


@dataclass(eq=False)
class NotImplementedYet(Unimplemented):
    """A method or a value of the contract that a later release implements."""

    reason = "NOT_IMPLEMENTED"
    message = "{what} is in the contract, but not implemented yet"

    what: str


def _clip(text: str) -> str:
    content = text.encode("utf-8", "replace")
    if len(content) <= PART_BYTES_MAX:
        return text
    return f"{content[: PART_BYTES_MAX - 3].decode('utf-8', 'ignore')}…"


class AddressTaken(Exception):
    """A process cannot start: somebody else serves on its address, or it is not ours."""
