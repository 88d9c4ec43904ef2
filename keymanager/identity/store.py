"""Revocations in SQLite, in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import BigInteger, Engine, delete
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, col, select

from chassis.database import transaction

from ..sealing import from_microseconds, to_microseconds


class _Row(SQLModel, registry=registry()):
    """Tables of this file only."""


class _BarredRow(_Row, table=True):
    __tablename__ = "barred"

    identity: str = Field(primary_key=True)


class _SerialRow(_Row, table=True):
    __tablename__ = "serials"

    # In hexadecimal: 160 bits are more than an integer of SQLite holds.
    serial: str = Field(primary_key=True)
    end_microseconds: int = Field(sa_type=BigInteger)


TABLES = _Row.metadata


class SqlRevocationStore:
    """The port of `revocations.py` on a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def barred(self) -> frozenset[str]:
        """Return the identities that were revoked."""
        with transaction(self._engine) as session:
            return frozenset(session.exec(select(_BarredRow.identity)))

    def serials(self) -> Mapping[int, datetime]:
        """Return serial number of a certificate -> when it has ended by itself."""
        with transaction(self._engine) as session:
            rows = session.exec(select(_SerialRow))
            return {int(row.serial, 16): from_microseconds(row.end_microseconds) for row in rows}

    def bar(self, identity: str) -> None:
        """Keep an identity; a repeat changes nothing."""
        with transaction(self._engine) as session:
            session.merge(_BarredRow(identity=identity))

    def admit(self, identity: str) -> None:
        """Forget an identity; a repeat changes nothing."""
        with transaction(self._engine) as session:
            session.exec(delete(_BarredRow).where(col(_BarredRow.identity) == identity))

    def revoke(self, serial: int, end: datetime, *, now: datetime) -> None:
        """Keep a serial number, and forget those that have ended."""
        with transaction(self._engine) as session:
            ended = col(_SerialRow.end_microseconds) <= to_microseconds(now)
            session.exec(delete(_SerialRow).where(ended))
            row = _SerialRow(serial=f"{serial:x}", end_microseconds=to_microseconds(end))
            session.merge(row)
