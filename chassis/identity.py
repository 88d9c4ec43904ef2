"""Who is calling: a service by its certificate, a person by a token that is known by its hash.

Certificates exist where TLS is on. Where it is off, in tests of one process, services have tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from .certificates import CertificateReader, Revoked
from .clock import Clock, SystemClock
from .errors import (
    CertificateExpired,
    CertificateRevoked,
    MethodDenied,
    TokenInvalid,
)
from .log import log

# The roles of people: who runs the system, who checks what it did, who looks at it.
OPERATOR = "operator"
AUDITOR = "auditor"
VIEWER = "viewer"
PEOPLE = frozenset({OPERATOR, AUDITOR, VIEWER})
AUDITORS = frozenset({OPERATOR, AUDITOR})
# In an authorisation table: also who shows nothing at all.
ANYONE = "anyone"

# How long a change of the identities file goes unnoticed at most.
NOTICE_SECONDS = 0.5
TOKENS_MAX = 1_000


@dataclass(frozen=True)
class Caller:
    """Who makes a call: the tables know roles, people have names; of a service both are one."""

    name: str
    role: str


@dataclass(frozen=True)
class Token:
    """What is known about a token without knowing it."""

    name: str
    role: str
    expire_time: datetime | None = None


@dataclass(frozen=True)
class Shown:
    """What a call shows: the value of its `authorization`, the certificate of its connection."""

    authorization: str = ""
    certificate: bytes = b""


class Tokens(Protocol):
    """SHA-256 of a token, in hexadecimal -> what is known about it."""

    def get(self, key: str, /) -> Token | None:
        """Return what is known about a token."""


_caller: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> str:
    """Return the role of whoever made the call that is being answered, such as `runtime`."""
    return _caller.get().role


def current_name() -> str:
    """Return the name of whoever made the call that is being answered, such as `alice`."""
    return _caller.get().name


def hash_token(token: str) -> str:
    """Return what an identities file knows of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_identities(path: Path) -> dict[str, Token]:
    """Return SHA-256 of a token -> what is known about it; raise ValueError if it is malformed."""
    return parse_identities(path.read_bytes())


def parse_identities(content: bytes) -> dict[str, Token]:
    """Read an identities file; raise ValueError if it is malformed."""
    found = json.loads(content)
    if not isinstance(found, dict) or len(found) > TOKENS_MAX:
        raise ValueError(f"identities must be an object of at most {TOKENS_MAX} tokens")
    return {key: _token(value) for key, value in found.items()}


def format_identities(tokens: Mapping[str, Token]) -> bytes:
    """Return the content of an identities file."""
    content = {
        key: {"name": token.name, "role": token.role}
        | ({"expire_time": token.expire_time.isoformat()} if token.expire_time else {})
        for key, token in tokens.items()
    }
    return json.dumps(content, indent=1, sort_keys=True).encode()


def _token(value: object) -> Token:
    match value:
        case {"name": str(name), "role": str(role), "expire_time": str(expire_time)}:
            time = datetime.fromisoformat(expire_time)
            if time.tzinfo is None:
                raise ValueError(f"the expire_time of {name} has no time zone")
            return Token(name, role, time)
        case {"name": str(name), "role": str(role), **rest} if not rest:
            return Token(name, role)
    raise ValueError("an identity has a name, a role, and an expire_time or none")


class IdentitiesFile:
    """The tokens of a file that may change at any time; a broken change changes nothing."""

    def __init__(
        self, path: Path, *, roles: frozenset[str] | None, monotonic: Callable[[], float]
    ) -> None:
        """`roles` are those that a token may give; None means all."""
        self._path = path
        self._roles = roles
        self._monotonic = monotonic
        self._stamp = self._look()
        self._tokens = self._read()
        self._due = monotonic() + NOTICE_SECONDS

    def get(self, key: str, /) -> Token | None:
        """Return what is known about a token, now or half a second ago."""
        if (now := self._monotonic()) >= self._due:
            self._due = now + NOTICE_SECONDS
            try:
                if (stamp := self._look()) != self._stamp:
                    self._tokens, self._stamp = self._read(), stamp
                    log.info("identities.changed", tokens=len(self._tokens))
            except (OSError, ValueError) as error:
                log.error("identities.unreadable", problem=type(error).__name__)
        return self._tokens.get(key)

    def _look(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[str, Token]:
        tokens = read_identities(self._path)
        if self._roles is None:
            return tokens
        return {key: token for key, token in tokens.items() if token.role in self._roles}


class Authorizer:
    """Decides by one table, method -> roles; what is not in it is denied.

    A certificate outlives neither its end nor its revocation, however long its connection is open.
    """

    def __init__(
        self,
        tokens: Tokens,
        callers: Mapping[str, frozenset[str]],
        *,
        clock: Clock | None = None,
        revoked: Callable[[], Revoked] = Revoked,
    ) -> None:
        self._tokens = tokens
        self._callers = callers
        self._clock = clock or SystemClock()
        self._revoked = revoked
        self._read = CertificateReader()

    def authorize(self, method: str, shown: Shown) -> Caller:
        """Return the caller and bind it to this call, or raise; `method` is the bare name."""
        allowed = self._callers.get(method, frozenset())
        caller = Caller("", ANYONE) if ANYONE in allowed else self._identify(shown)
        if caller.role not in allowed:
            raise MethodDenied(caller.role, method)
        _caller.set(caller)
        return caller

    def check_again(self, method: str, shown: Shown) -> None:
        """Raise if who opened a stream is out by now: a token is gone, a certificate revoked.

        A certificate that ends does not end a stream: its owner has a new one for the next call.
        """
        if ANYONE in self._callers.get(method, frozenset()):
            return
        if not shown.certificate:
            self._known(shown.authorization)
        elif self._revoked().covers(self._read(shown.certificate)):
            raise CertificateRevoked

    def _identify(self, shown: Shown) -> Caller:
        if shown.certificate:
            certificate = self._read(shown.certificate)
            if certificate.not_after <= self._clock.now():
                raise CertificateExpired
            if self._revoked().covers(certificate):
                raise CertificateRevoked
            return Caller(certificate.role, certificate.role)
        token = self._known(shown.authorization)
        return Caller(token.name, token.role)

    def _known(self, authorization: str) -> Token:
        scheme, _, value = authorization.partition(" ")
        token = self._tokens.get(hash_token(value)) if scheme.lower() == "bearer" else None
        if token is None or (token.expire_time and token.expire_time <= self._clock.now()):
            raise TokenInvalid
        return token
