"""Links and kept answers in SQLite, so that they survive a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, delete, func, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, col, select

from chassis.canonical import Json, canonical_json
from chassis.database import open_database, transaction

from .answers import Kept
from .conversation import Call, FinishReason, Logprobs, TokenLogprob, Tokens
from .errors import LinkNotFound
from .links import Link, ModelConfig, ModelFacts, Target, config_to_json, link_name
from .orders import Answer

VERSION = 2
ANSWERS_BYTES_MAX = 64 * 1024 * 1024
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


class _AnswerRow(_Row, table=True):
    __tablename__ = "answers"

    key: str = Field(primary_key=True)
    content: str
    size: int
    end_seconds: float = Field(index=True)
    use_seconds: float = Field(index=True)


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


class KeptAnswers:
    """`AnswerStore` in the same database, of at most so many bytes."""

    def __init__(self, engine: Engine, *, bytes_max: int = ANSWERS_BYTES_MAX) -> None:
        self._engine = engine
        self._bytes_max = bytes_max

    def find(self, key: str, now: datetime) -> Kept | None:
        """Return an answer that may still be given."""
        with transaction(self._engine) as session:
            row = session.get(_AnswerRow, key)
            if row is None or row.end_seconds <= now.timestamp():
                return None
            row.use_seconds = now.timestamp()
            return _kept_of(json.loads(row.content))

    def keep(self, key: str, kept: Kept, *, now: datetime, until: datetime) -> None:
        """Keep an answer; those whose time is over go, and then those that were used last."""
        content = canonical_json(_kept_to_json(kept)).decode()
        row = _AnswerRow(
            key=key,
            content=content,
            size=len(content.encode()),
            end_seconds=until.timestamp(),
            use_seconds=now.timestamp(),
        )
        if row.size > self._bytes_max:
            return
        with transaction(self._engine) as session:
            session.merge(row)
            session.exec(delete(_AnswerRow).where(col(_AnswerRow.end_seconds) <= now.timestamp()))
            session.flush()
            over = (session.exec(select(func.sum(_AnswerRow.size))).one() or 0) - self._bytes_max
            oldest = select(_AnswerRow).order_by(col(_AnswerRow.use_seconds), col(_AnswerRow.key))
            for old in session.exec(oldest) if over > 0 else ():
                session.delete(old)
                over -= old.size
                if over <= 0:
                    break


def _kept_to_json(kept: Kept) -> Mapping[str, Json]:
    answer = asdict(kept.answer)
    # Numbers of any size, as text.
    logprobs = json.dumps(answer.pop("logprobs"))
    return {
        **answer,
        "reason": kept.answer.reason.value,
        "logprobs": logprobs,
        "request_id": kept.request_id,
    }


def _kept_of(content: Mapping[str, Any]) -> Kept:
    fields = {name: value for name, value in content.items() if name != "request_id"}
    answer = Answer(
        **{
            **fields,
            "reason": FinishReason(content["reason"]),
            "calls": tuple(Call(**call) for call in content["calls"]),
            "tokens": Tokens(**content["tokens"]),
            "logprobs": tuple(_logprobs_of(place) for place in json.loads(content["logprobs"])),
        }
    )
    return Kept(answer, content["request_id"])


def _logprobs_of(place: Mapping[str, Any]) -> Logprobs:
    likeliest = tuple(TokenLogprob(**token) for token in place["likeliest"])
    return Logprobs(TokenLogprob(**place["chosen"]), likeliest)


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
