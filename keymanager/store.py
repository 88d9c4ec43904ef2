"""Sealed secrets in SQLite; what was deleted is gone from the files, too."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from threading import Lock

from sqlalchemy import BigInteger, Engine, text
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, col, select, update

from chassis.database import transaction
from chassis.errors import RequestIdReused
from chassis.log import log

from .errors import SealBroken, SecretExists, SecretNotFound
from .sealing import SealedSecret, from_microseconds, to_microseconds
from .secret import Kind, Secret


@dataclass(frozen=True)
class Request:
    """A mutation that may be repeated: its idempotency key, and a keyed hash of its content."""

    id: str
    tag: bytes


class _Row(SQLModel, registry=registry()):
    """Tables of this service only."""


class _SecretRow(_Row, table=True):
    __tablename__ = "secrets"

    name: str = Field(primary_key=True)
    kind: int
    version: int
    create_microseconds: int = Field(sa_type=BigInteger)
    rotate_microseconds: int = Field(sa_type=BigInteger)
    wrapped_key: bytes
    ciphertext: bytes


class _RequestRow(_Row, table=True):
    __tablename__ = "requests"

    request_id: str = Field(primary_key=True)
    # Empty after the secret was shredded: then no repeat fits, and none brings it back.
    tag: bytes
    secret: str = Field(index=True)
    version: int
    rotate_microseconds: int = Field(sa_type=BigInteger)


TABLES = _Row.metadata


class SecretStore:
    """All secrets; one row for each, which a rotation replaces."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Erasing fails where another connection is in the middle of something. Transactions wait
        # for each other anyway.
        self._alone = Lock()
        # A kill between a commit and the erasure that belongs to it.
        self._erase_deleted()

    def is_empty(self) -> bool:
        """Tell whether nothing is sealed yet."""
        with self._transaction() as session:
            return session.exec(select(_SecretRow.name).limit(1)).first() is None

    def ensure(self, sealed: SealedSecret) -> None:
        """Store a secret unless its name is taken."""
        with self._transaction() as session:
            if session.get(_SecretRow, sealed.secret.name) is None:
                session.add(_row_of(sealed))

    def put(self, request: Request, sealed: SealedSecret) -> Secret:
        """Store a new secret; a repeat gives the first answer."""
        with self._transaction() as session:
            if (answer := _first_answer(session, request)) is not None:
                return answer
            if session.get(_SecretRow, sealed.secret.name) is not None:
                raise SecretExists(sealed.secret.name)
            session.add(_row_of(sealed))
            session.add(_answered(request, sealed.secret))
        return sealed.secret

    def rotate(
        self, request: Request, name: str, replace: Callable[[SealedSecret], SealedSecret]
    ) -> Secret:
        """Replace a sealed secret by another; a repeat gives the first answer."""
        with self._transaction() as session:
            if (answer := _first_answer(session, request)) is not None:
                return answer
            row = _existing(session, name)
            new = replace(_sealed_of(row))
            _erase_what_is_freed(session)
            session.delete(row)
            session.flush()
            session.add(_row_of(new))
            session.add(_answered(request, new.secret))
        self._erase_deleted()
        return new.secret

    def shred(self, name: str) -> None:
        """Delete a secret with its wrapped key, and overwrite where they were."""
        with self._transaction() as session:
            row = _existing(session, name)
            _erase_what_is_freed(session)
            session.delete(row)
            forgotten = update(_RequestRow).where(col(_RequestRow.secret) == name)
            session.exec(forgotten.values(tag=b""))
        self._erase_deleted()

    def get(self, name: str) -> SealedSecret:
        """Return a secret as it is stored."""
        with self._transaction() as session:
            return _sealed_of(_existing(session, name))

    def list(self, after: str, limit: int) -> Sequence[SealedSecret]:
        """Return the secrets of agents by name; the keys of services are not among them."""
        with self._transaction() as session:
            query = (
                select(_SecretRow)
                .where(col(_SecretRow.name) > after, ~col(_SecretRow.name).startswith("keys/"))
                .order_by(col(_SecretRow.name))
                .limit(limit)
            )
            return [_sealed_of(row) for row in session.exec(query)]

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self._alone, transaction(self._engine) as session:
            yield session

    def _erase_deleted(self) -> None:
        """Leave nothing deleted in the files: neither in free space nor in the log.

        `secure_delete` zeroes what is freed, but moving rows between pages leaves copies behind,
        which only rebuilding the file removes. Both need to be outside of a transaction.
        """
        with self._alone, closing(self._engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA temp_store=MEMORY")  # VACUUM makes a copy of everything
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            is_busy, _, _ = cursor.fetchone() or (0, 0, 0)
            cursor.close()
        if is_busy:
            # Somebody reads the file from outside; the next erasure, or start, takes it along.
            log.warning("store.erasure_delayed")


def _first_answer(session: Session, request: Request) -> Secret | None:
    row = session.get(_RequestRow, request.id)
    if row is None:
        return None
    if not hmac.compare_digest(row.tag, request.tag):
        raise RequestIdReused(request.id)
    present = _sealed_of(_existing(session, row.secret)).secret
    rotate_time = from_microseconds(row.rotate_microseconds)
    return Secret(present.name, present.kind, row.version, present.create_time, rotate_time)


def _existing(session: Session, name: str) -> _SecretRow:
    row = session.get(_SecretRow, name)
    if row is None:
        raise SecretNotFound(name)
    return row


def _erase_what_is_freed(session: Session) -> None:
    # Not all builds of SQLite have this on.
    session.connection().execute(text("PRAGMA secure_delete=ON"))


def _row_of(sealed: SealedSecret) -> _SecretRow:
    secret = sealed.secret
    return _SecretRow(
        name=secret.name,
        kind=secret.kind,
        version=secret.version,
        create_microseconds=to_microseconds(secret.create_time),
        rotate_microseconds=to_microseconds(secret.rotate_time),
        wrapped_key=sealed.wrapped_key,
        ciphertext=sealed.ciphertext,
    )


def _sealed_of(row: _SecretRow) -> SealedSecret:
    try:
        secret = Secret(
            name=row.name,
            kind=Kind(row.kind),
            version=row.version,
            create_time=from_microseconds(row.create_microseconds),
            rotate_time=from_microseconds(row.rotate_microseconds),
        )
    except (ValueError, OverflowError) as error:
        raise SealBroken(row.name) from error
    return SealedSecret(secret, row.wrapped_key, row.ciphertext)


def _answered(request: Request, secret: Secret) -> _RequestRow:
    return _RequestRow(
        request_id=request.id,
        tag=request.tag,
        secret=secret.name,
        version=secret.version,
        rotate_microseconds=to_microseconds(secret.rotate_time),
    )
