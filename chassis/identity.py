"""Who is calling: bearer tokens, known to a service only by their hash.

A later release replaces the tokens between services by certificates that keymanager issues.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path

from .errors import MethodDenied, TokenInvalid

# The names that a token may stand for: the six services, and the person at the command line.
OPERATOR = "operator"

_caller: ContextVar[str] = ContextVar("caller")


def current_caller() -> str:
    """Return the name of whoever made the call that is being answered."""
    return _caller.get()


def read_identities(path: Path) -> dict[str, str]:
    """Return SHA-256 of a token -> name of its owner."""
    identities = json.loads(path.read_text())
    assert isinstance(identities, dict), f"{path} must hold an object"
    return identities


def hash_token(token: str) -> str:
    """Return what an identities file knows of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Authorizer:
    """Decides by one table, method -> callers; what is not in it is denied."""

    def __init__(
        self, identities: Mapping[str, str], callers: Mapping[str, frozenset[str]]
    ) -> None:
        self._identities = identities
        self._callers = callers

    def authorize(self, method: str, authorization: str) -> str:
        """Return the caller's name and bind it to this call, or raise.

        `method` is the bare name, `authorization` the value of the metadata key of that name.
        """
        scheme, _, token = authorization.partition(" ")
        caller = self._identities.get(hash_token(token)) if scheme.lower() == "bearer" else None
        if caller is None:
            raise TokenInvalid
        if caller not in self._callers.get(method, frozenset()):
            raise MethodDenied(caller, method)
        _caller.set(caller)
        return caller
