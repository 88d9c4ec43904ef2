"""Documents, their passages and both indexes in one SQLite file, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import DDL, Engine, bindparam, event, func, text
from sqlalchemy.orm import defer, registry
from sqlmodel import Field, Session, SQLModel, col, delete, select

from chassis.canonical import sha256_hex
from chassis.clock import Clock
from chassis.database import transaction

from .document import Collection, DocumentInfo, Draft, Found, Segment
from .embedding import Embedder, similarities
from .errors import CollectionNotFound, DocumentNotFound, EmbedderMismatch, SegmentMismatch
from .fusion import fuse
from .passages import cut
from .words import match_expression

# Passages that each of the two searches hands on to the fusion.
CANDIDATES_MAX = 200


class _Row(SQLModel, registry=registry()):
    """Tables of this service only."""


class _CollectionRow(_Row, table=True):
    __tablename__ = "collections"

    name: str = Field(primary_key=True)
    segment: str
    embedder: str


class _DocumentRow(_Row, table=True):
    __tablename__ = "documents"

    name: str = Field(primary_key=True)
    collection: str = Field(foreign_key="collections.name", index=True)
    text: str
    source: str
    sha256: str
    size_bytes: int
    update_time: datetime
    passage_count: int


class _PassageRow(_Row, table=True):
    __tablename__ = "passages"

    id: int | None = Field(default=None, primary_key=True)
    document: str = Field(foreign_key="documents.name", index=True)
    start_offset: int
    end_offset: int
    vector: bytes


TABLES = _Row.metadata

# One row for each passage, under the same number. Its statistics span all collections.
event.listen(
    TABLES,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]  # no annotations there
        "CREATE VIRTUAL TABLE IF NOT EXISTS keywords USING fts5"
        "(content, tokenize='porter unicode61 remove_diacritics 2')"
    ),
)

_ADD_KEYWORDS = text("INSERT INTO keywords (rowid, content) VALUES (:id, :content)")
_REMOVE_KEYWORDS = text(
    "DELETE FROM keywords WHERE rowid IN (SELECT id FROM passages WHERE document = :document)"
)
_FIND_BY_KEYWORDS = text(
    "SELECT document, start_offset, end_offset FROM keywords"
    " JOIN passages ON passages.id = keywords.rowid"
    " JOIN documents ON documents.name = passages.document"
    " WHERE keywords MATCH :expression AND documents.collection IN :collections"
    " ORDER BY bm25(keywords), document, start_offset LIMIT :limit"
).bindparams(bindparam("collections", expanding=True))


class _Hit(NamedTuple):
    """The place of a passage; places sort by name, so that equal scores have one order."""

    document: str
    start: int
    end: int


class KnowledgeStore:
    """Collections whose vectors are made by one embedder."""

    def __init__(self, engine: Engine, embedder: Embedder, *, clock: Clock) -> None:
        self._engine = engine
        self._embedder = embedder
        self._clock = clock

    def put(self, draft: Draft, segment: Segment) -> tuple[DocumentInfo, bool]:
        """Add or replace a document; return it, and whether anything changed."""
        with transaction(self._engine) as session:
            if (found := self._find_same(session, draft, segment)) is not None:
                return found, False
        # Indexing a long text takes a while; nobody waits for it with a locked database.
        passages = [
            _PassageRow(
                document=draft.name,
                start_offset=passage.start,
                end_offset=passage.end,
                vector=self._embedder.embed(draft.text[passage.start : passage.end]).tobytes(),
            )
            for passage in cut(draft.text)
        ]
        with transaction(self._engine) as session:
            if (found := self._find_same(session, draft, segment)) is not None:
                return found, False
            row = self._replace(session, draft, segment, passages)
            return _info_of(row), True

    def get(self, name: str) -> tuple[DocumentInfo, str]:
        """Return a document with its text."""
        with transaction(self._engine) as session:
            row = session.get(_DocumentRow, name)
            if row is None:
                raise DocumentNotFound(name)
            return _info_of(row), row.text

    def delete(self, name: str) -> None:
        """Remove a document from the store and from both indexes; its collection stays."""
        with transaction(self._engine) as session:
            if session.get(_DocumentRow, name) is None:
                raise DocumentNotFound(name)
            _remove(session, name)

    def list_collections(self, *, after: str, limit: int) -> Sequence[Collection]:
        """Return at most `limit` collections by name, from the one after `after` on."""
        counts = (
            select(
                _CollectionRow,
                func.count(col(_DocumentRow.name)),
                func.coalesce(func.sum(col(_DocumentRow.passage_count)), 0),
            )
            .join(_DocumentRow, isouter=True)
            .where(col(_CollectionRow.name) > after)
            .group_by(col(_CollectionRow.name))
            .order_by(col(_CollectionRow.name))
            .limit(limit)
        )
        with transaction(self._engine) as session:
            return [
                Collection(row.name, Segment(row.segment), documents, passages, row.embedder)
                for row, documents, passages in session.exec(counts)
            ]

    def list_documents(self, collection: str, *, after: str, limit: int) -> Sequence[DocumentInfo]:
        """Return at most `limit` documents by name, without their text."""
        query = (
            select(_DocumentRow)
            .options(defer(col(_DocumentRow.text)))  # type: ignore[arg-type]  # a column
            .where(_DocumentRow.collection == collection, col(_DocumentRow.name) > after)
            .order_by(col(_DocumentRow.name))
            .limit(limit)
        )
        with transaction(self._engine) as session:
            if session.get(_CollectionRow, collection) is None:
                raise CollectionNotFound(collection)
            return [_info_of(row) for row in session.exec(query)]

    def search(self, collections: Sequence[str], query: str, *, limit: int) -> Sequence[Found]:
        """Return the passages that fit best, best first; equal scores are in order of name."""
        with transaction(self._engine) as session:
            for name in collections:
                row = session.get(_CollectionRow, name)
                if row is None:
                    raise CollectionNotFound(name)
                self._check_embedder(row)
            by_keywords = _rank_by_keywords(session, collections, query)
            by_vectors = self._rank_by_vectors(session, collections, query)
            scores = fuse([by_keywords, by_vectors])
            best = sorted(scores, key=lambda hit: (-scores[hit], hit))[:limit]
            return [_found(session, hit, scores[hit]) for hit in best]

    def _find_same(self, session: Session, draft: Draft, segment: Segment) -> DocumentInfo | None:
        """Return the stored document if there is nothing to do; refuse what must not be mixed."""
        collection = session.get(_CollectionRow, draft.collection)
        if collection is None:
            return None
        if collection.segment != segment.value:
            raise SegmentMismatch(collection.name, collection.segment)
        self._check_embedder(collection)
        row = session.get(_DocumentRow, draft.name)
        is_same = row is not None and (row.text, row.source) == (draft.text, draft.source)
        return _info_of(row) if row is not None and is_same else None

    def _check_embedder(self, collection: _CollectionRow) -> None:
        if collection.embedder != self._embedder.name:
            raise EmbedderMismatch(collection.name, collection.embedder, self._embedder.name)

    def _replace(
        self, session: Session, draft: Draft, segment: Segment, passages: Sequence[_PassageRow]
    ) -> _DocumentRow:
        if session.get(_CollectionRow, draft.collection) is None:
            name, embedder = draft.collection, self._embedder.name
            session.add(_CollectionRow(name=name, segment=segment.value, embedder=embedder))
            session.flush()
        _remove(session, draft.name)
        content = draft.text.encode()
        row = _DocumentRow(
            name=draft.name,
            collection=draft.collection,
            text=draft.text,
            source=draft.source,
            sha256=sha256_hex(content),
            size_bytes=len(content),
            update_time=self._clock.now(),
            passage_count=len(passages),
        )
        session.add(row)
        session.flush()
        session.add_all(passages)
        session.flush()
        for passage in passages:
            content_of = draft.text[passage.start_offset : passage.end_offset]
            session.connection().execute(_ADD_KEYWORDS, {"id": passage.id, "content": content_of})
        return row

    def _rank_by_vectors(
        self, session: Session, collections: Sequence[str], query: str
    ) -> Sequence[_Hit]:
        rows = session.exec(
            select(
                _PassageRow.document,
                _PassageRow.start_offset,
                _PassageRow.end_offset,
                _PassageRow.vector,
            )
            .join(_DocumentRow)
            .where(col(_DocumentRow.collection).in_(collections))
            .order_by(col(_PassageRow.document), col(_PassageRow.start_offset))
        ).all()
        if not rows:
            return []
        vectors = np.frombuffer(b"".join(row[3] for row in rows), dtype=np.float32)
        cosines = similarities(vectors.reshape(len(rows), -1), self._embedder.embed(query))
        # Stable, so that equal passages stay in the order of their names.
        best = np.argsort(-cosines, kind="stable")[:CANDIDATES_MAX]
        return [_Hit(*rows[index][:3]) for index in best if cosines[index] > 0]


def _rank_by_keywords(session: Session, collections: Sequence[str], query: str) -> Sequence[_Hit]:
    expression = match_expression(query)
    if not expression:
        return []
    parameters = {
        "expression": expression,
        "collections": list(collections),
        "limit": CANDIDATES_MAX,
    }
    return [_Hit(*row) for row in session.connection().execute(_FIND_BY_KEYWORDS, parameters)]


def _found(session: Session, hit: _Hit, score: float) -> Found:
    document = session.get(_DocumentRow, hit.document)
    assert document is not None, "a passage has its document"
    return Found(hit.document, document.text[hit.start : hit.end], hit.start, score)


def _remove(session: Session, name: str) -> None:
    session.connection().execute(_REMOVE_KEYWORDS, {"document": name})
    session.exec(delete(_PassageRow).where(col(_PassageRow.document) == name))
    session.exec(delete(_DocumentRow).where(col(_DocumentRow.name) == name))


def _info_of(row: _DocumentRow) -> DocumentInfo:
    return DocumentInfo(
        name=row.name,
        source=row.source,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        update_time=row.update_time,
        passage_count=row.passage_count,
    )
