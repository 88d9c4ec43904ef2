"""Revocations of an earlier release, which lay in a file of their own that nobody guarded."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ..journal import Operation
from ..store import VaultStore
from ..upkeep import ITSELF
from .members import Bar, RevokeCertificate


class RevocationsUnusable(Exception):
    """The service must not start: who was revoked would be let in."""


def adopt_revocations(folder: Path, store: VaultStore) -> None:
    """Take over what is in `identity.db`, if there is one, and remove it.

    Raise `RevocationsUnusable` if it cannot be read.
    """
    path = folder / "identity.db"
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as connection:
            barred = connection.execute("SELECT identity FROM barred ORDER BY identity").fetchall()
            serials = connection.execute("SELECT serial FROM serials ORDER BY serial").fetchall()
        operations: list[Operation] = [Bar(ITSELF, str(identity)) for (identity,) in barred]
        operations += [RevokeCertificate(ITSELF, int(serial, 16)) for (serial,) in serials]
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise RevocationsUnusable(
            f"{path} cannot be read, which says who is revoked; restore it, or move it away and "
            "revoke again"
        ) from error
    for outcome in store.apply(operations):
        if isinstance(outcome, Exception):
            raise outcome
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
