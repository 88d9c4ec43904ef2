"""Links in SQLite, so that they survive a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, select

from chassis.canonical import canonical_json
from chassis.database import open_database, transaction

from .errors import LinkNotFound
from .links import Link, ModelConfig, ModelFacts, Target, config_to_json, link_name

VERSION = 2
# Of these many no file is read to find one.
LINKS_KNOWN_MAX = 10_000


class _Row(SQLModel, registry=registry()):
    """What the tables of this service share: their own registry."""


class _LinkRow(_Row, table=True):
    __tablename__ = "links"

    name: str = Field(primary_key=True)
    config: str
    facts: str
    account: str
    create_seconds: float


TABLES: MetaData = _Row.metadata


def open_link_database(path: Path) -> Engine:
    """Open the file, or make it."""
    return open_database(path, TABLES, version=VERSION, migrate=migrate)


def migrate(connection: Connection, found: int) -> None:
    """Bring a file of the first version, whose links had one target, to this one."""
    assert found == 1, f"there is no version {found} to migrate from"
    old = connection.execute(text("SELECT * FROM links")).mappings().all()
    connection.execute(text("DROP TABLE links"))
    TABLES.create_all(connection)
    for row in old:
        config = ModelConfig(
            model=row["model"],
            credential=row["credential"],
            needs_actions=bool(row["needs_actions"]),
            context_tokens_min=row["context_tokens_min"],
        )
        facts = ModelFacts(
            context_tokens=row["context_tokens"],
            takes_actions=bool(row["takes_actions"]),
            constrains_output=bool(row["constrains_output"]),
            weights_sha256=row["weights_sha256"],
        )
        create_time = datetime.fromtimestamp(row["create_seconds"], UTC)
        content = _row_of(Link(config, (facts,), create_time)).model_dump()
        connection.execute(TABLES.tables["links"].insert(), content)


class LinkStore:
    """Keeps links in a database, of which this process is the only one that writes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, Link] = {}

    def put(self, link: Link) -> Link:
        """Keep a link; one of the same name keeps its create time and takes the new facts."""
        with transaction(self._engine) as session:
            row = _row_of(link)
            known = session.get(_LinkRow, row.name)
            if known is not None:
                row.create_seconds = known.create_seconds
            return self._remember(_link_of(session.merge(row)))

    def known(self, name: str) -> Link | None:
        """Return a link that was read before, without waiting; None says nothing."""
        return self._known.get(name)

    def get(self, name: str) -> Link:
        """Return a link. Raises `LinkNotFound`."""
        with transaction(self._engine) as session:
            row = session.get(_LinkRow, name)
            if row is None:
                raise LinkNotFound(name)
            return self._remember(_link_of(row))

    def list(self, *, after: str, limit: int) -> list[Link]:
        """Return links by name, from the first after `after` on."""
        with transaction(self._engine) as session:
            query = select(_LinkRow).where(_LinkRow.name > after)
            rows = session.exec(query.order_by(_LinkRow.name).limit(limit)).all()
            return [_link_of(row) for row in rows]

    def remove(self, name: str) -> None:
        """Forget a link. Raises `LinkNotFound`."""
        with transaction(self._engine) as session:
            row = session.get(_LinkRow, name)
            if row is None:
                raise LinkNotFound(name)
            session.delete(row)
        self._known.pop(name, None)

    def _remember(self, link: Link) -> Link:
        if len(self._known) >= LINKS_KNOWN_MAX:
            self._known.clear()
        self._known[link.name] = link
        return link


def _row_of(link: Link) -> _LinkRow:
    return _LinkRow(
        name=link.name,
        config=canonical_json(config_to_json(link.config)).decode(),
        facts=canonical_json([asdict(facts) for facts in link.facts]).decode(),
        account=link.account,
        create_seconds=link.create_time.timestamp(),
    )


def _link_of(row: _LinkRow) -> Link:
    link = Link(
        config=_config_of(json.loads(row.config)),
        facts=tuple(ModelFacts(**facts) for facts in json.loads(row.facts)),
        create_time=datetime.fromtimestamp(row.create_seconds, UTC),
        account=row.account,
    )
    assert link_name(link.config) == row.name, "a link has the name of its configuration"
    return link


def _config_of(content: Mapping[str, Any]) -> ModelConfig:
    fallbacks = tuple(Target(*target) for target in content.get("fallbacks", ()))
    return ModelConfig(**{**content, "fallbacks": fallbacks})
