"""Bundles in SQLite, by digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import DateTime, Engine
from sqlalchemy.orm import defer, registry
from sqlmodel import Field, SQLModel, col, select

from chassis.database import transaction

from .bundle import Bundle
from .errors import BundleNotFound
from .ports import Signature

# Stands for all versions of an agent; none of them is called so.
_ANY = ""


@dataclass(frozen=True)
class BundleSummary:
    """A bundle in a list; `sequence` counts bundles as they were first assembled."""

    sequence: int
    name: str
    account: str
    version: str
    create_time: datetime


class BundleStore:
    """Keeps every bundle that was ever assembled here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, bundle: Bundle, now: datetime) -> None:
        """Keep a bundle; of one that is kept already, only the signature changes.

        So assembling again heals a bundle whose signing key was lost.
        """
        with transaction(self._engine) as session:
            query = select(_BundleRow).where(_BundleRow.name == bundle.name)
            row = session.exec(query).first()
            if row is None:
                row = _BundleRow(
                    name=bundle.name,
                    account=bundle.account,
                    version=bundle.version,
                    payload=bundle.payload,
                    create_time=now.astimezone(UTC),
                )
            row.key = bundle.signature.key
            row.algorithm = bundle.signature.algorithm
            row.public_key = bundle.signature.public_key
            row.signature = bundle.signature.value
            session.add(row)
            for version in (bundle.version, _ANY):
                session.merge(_NewestRow(account=bundle.account, version=version, name=row.name))

    def get(self, name: str) -> Bundle:
        """Return a bundle, or raise `BundleNotFound`."""
        with transaction(self._engine) as session:
            row = session.exec(select(_BundleRow).where(_BundleRow.name == name)).first()
            if row is None:
                raise BundleNotFound(name)
            signature = Signature(row.key, row.algorithm, row.public_key, row.signature)
            return Bundle(row.account, row.version, row.payload, signature)

    def newest(self, account: str, version: str = _ANY) -> Bundle | None:
        """Return the bundle of an agent, or of one version of it, that was assembled last."""
        with transaction(self._engine) as session:
            row = session.get(_NewestRow, (account, version))
        return self.get(row.name) if row else None

    def agents(self) -> Sequence[str]:
        """Return the accounts of all agents, in order."""
        query = select(_NewestRow.account).where(_NewestRow.version == _ANY)
        with transaction(self._engine) as session:
            return sorted(session.exec(query))

    def list(self, *, before: int | None, limit: int) -> list[BundleSummary]:
        """Return bundles from newest to oldest, those before a sequence."""
        sequence, payload = col(_BundleRow.sequence), col(_BundleRow.payload)
        # The payload is what is large, and no part of a list.
        query = select(_BundleRow).options(defer(payload))  # type: ignore[arg-type]  # its stub
        query = query.order_by(sequence.desc()).limit(limit)
        if before is not None:
            query = query.where(sequence < before)
        with transaction(self._engine) as session:
            return [_summary(row) for row in session.exec(query).all()]


class _Row(SQLModel, registry=registry()):
    """Tables of this service only."""


class _BundleRow(_Row, table=True):
    __tablename__ = "bundles"

    sequence: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    account: str
    version: str
    payload: bytes
    create_time: datetime = Field(sa_type=DateTime)
    key: str = ""
    algorithm: str = ""
    public_key: bytes = b""
    signature: bytes = b""


class _NewestRow(_Row, table=True):
    """The bundle that was assembled last; sequences only tell what was assembled first."""

    __tablename__ = "newest"

    account: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    name: str


TABLES = _Row.metadata


def _summary(row: _BundleRow) -> BundleSummary:
    assert row.sequence is not None, "a stored row has its number"
    time = row.create_time.replace(tzinfo=UTC)
    return BundleSummary(row.sequence, row.name, row.account, row.version, time)
