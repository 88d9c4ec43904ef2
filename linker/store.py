"""Links in SQLite, so that they survive a restart."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from chassis.database import transaction

from .errors import LinkNotFound
from .links import Link, ModelConfig, ModelFacts


class _Row(SQLModel, registry=registry()):
    """What the tables of this service share: their own registry."""


class _LinkRow(_Row, table=True):
    __tablename__ = "links"

    name: str = Field(primary_key=True)
    model: str
    credential: str
    needs_actions: bool
    context_tokens_min: int
    context_tokens: int
    takes_actions: bool
    constrains_output: bool
    weights_sha256: str
    create_seconds: float


TABLES: MetaData = _Row.metadata


class LinkStore:
    """Keeps links in a database; every method is a transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, link: Link) -> Link:
        """Keep a link; one of the same name keeps its create time and takes the new facts."""
        with transaction(self._engine) as session:
            row = _row_of(link)
            known = session.get(_LinkRow, row.name)
            if known is not None:
                row.create_seconds = known.create_seconds
            return _link_of(session.merge(row))

    def get(self, name: str) -> Link:
        """Return a link. Raises `LinkNotFound`."""
        with transaction(self._engine) as session:
            row = session.get(_LinkRow, name)
            if row is None:
                raise LinkNotFound(name)
            return _link_of(row)


def _row_of(link: Link) -> _LinkRow:
    return _LinkRow(
        name=link.name,
        model=link.config.model,
        credential=link.config.credential,
        needs_actions=link.config.needs_actions,
        context_tokens_min=link.config.context_tokens_min,
        context_tokens=link.facts.context_tokens,
        takes_actions=link.facts.takes_actions,
        constrains_output=link.facts.constrains_output,
        weights_sha256=link.facts.weights_sha256,
        create_seconds=link.create_time.timestamp(),
    )


def _link_of(row: _LinkRow) -> Link:
    return Link(
        config=ModelConfig(
            model=row.model,
            credential=row.credential,
            needs_actions=row.needs_actions,
            context_tokens_min=row.context_tokens_min,
        ),
        facts=ModelFacts(
            context_tokens=row.context_tokens,
            takes_actions=row.takes_actions,
            constrains_output=row.constrains_output,
            weights_sha256=row.weights_sha256,
        ),
        create_time=datetime.fromtimestamp(row.create_seconds, UTC),
    )
