"""The tokens of a home folder by the names of their owners; only hashes are kept of them."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chassis.identity import (
    TOKENS_MAX,
    Token,
    format_identities,
    hash_token,
    parse_identities,
)

from .errors import CommandError
from .files import write_private

# 256 bits: nobody guesses them, so a plain hash keeps the secret.
TOKEN_BYTES = 32


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class Identities:
    """The file that services read; several commands may change it at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, Token]:
        """Return SHA-256 of a token -> what is known about it; nothing where there is no file."""
        if not self._file.exists():
            return {}
        content = self._file.read_bytes()
        if _has_no_roles(content):
            return {}
        try:
            return parse_identities(content)
        except (ValueError, TypeError) as error:
            raise CommandError(
                f"{self._file} is malformed: {error}",
                reason="IDENTITIES_MALFORMED",
                fix="restore it, or remove it and run: actionvm up",
            ) from error

    def add(self, token: Token) -> str:
        """Return the value of a new token, which is nowhere else."""
        value = new_token()
        with self._changing() as known:
            if any(other.name == token.name for other in known.values()):
                raise CommandError(
                    f"there is a token {token.name} already",
                    reason="TOKEN_EXISTS",
                    field="NAME",
                    fix=f"take another name, or: actionvm tokens remove {token.name}",
                )
            if len(known) >= TOKENS_MAX:
                raise CommandError(
                    f"there are {TOKENS_MAX} tokens", reason="TOO_MANY_TOKENS", fix="remove some"
                )
            known[hash_token(value)] = token
        return value

    def remove(self, name: str) -> None:
        """Forget a token; services notice it within a second."""
        with self._changing() as known:
            found = [key for key, token in known.items() if token.name == name]
            if not found:
                raise CommandError(
                    f"there is no token {name}",
                    reason="TOKEN_NOT_FOUND",
                    field="NAME",
                    fix="actionvm tokens list shows them",
                )
            for key in found:
                del known[key]

    def keep(self, values: dict[str, Token], *, without: Sequence[str]) -> None:
        """Let exactly these values stand for their owners, nothing for those in `without`.

        Other owners are left alone.
        """
        names = {*without, *(token.name for token in values.values())}
        with self._changing() as known:
            for key in [key for key, token in known.items() if token.name in names]:
                del known[key]
            known |= {hash_token(value): token for value, token in values.items()}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        beside = self._file.with_name(f"{self._file.name}.lock")
        lock = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self.read()
            yield known
            content = format_identities(known)
            if not self._file.exists() or self._file.read_bytes() != content:
                write_private(self._file, content)
        finally:
            os.close(lock)


def _has_no_roles(content: bytes) -> bool:
    """Tell a file of the release before roles: its tokens were the home's own, which `up` keeps."""
    try:
        found = json.loads(content)
    except ValueError:
        return False
    return isinstance(found, dict) and all(isinstance(owner, str) for owner in found.values())
