"""Stores for tests: in memory or in a file, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from chassis.database import open_database, open_memory_database
from knowledge.document import Draft, Found, Segment
from knowledge.embedding import Embedder, HashingEmbedder, Vector
from knowledge.store import TABLES, KnowledgeStore

MARKET = "collections/market"
NOW = datetime(2026, 3, 31, 22, 30, 0, 123456, tzinfo=UTC)


@dataclass
class HandSetClock:
    """A clock that stands still until a test moves it."""

    time: datetime = NOW

    def now(self) -> datetime:
        """Return the time that was set."""
        return self.time


class OtherEmbedder:
    """Makes the same vectors under another name."""

    name = "other-256"

    def embed(self, text: str) -> Vector:
        """Return what the hashing embedder returns."""
        return HashingEmbedder().embed(text)


def open_store(
    path: Path | None = None,
    *,
    embedder: Embedder | None = None,
    clock: HandSetClock | None = None,
    engine: Engine | None = None,
) -> KnowledgeStore:
    """Open a store in a file, or one that lives in memory."""
    if engine is None:
        engine = open_database(path, TABLES) if path else open_memory_database(TABLES)
    return KnowledgeStore(engine, embedder or HashingEmbedder(), clock=clock or HandSetClock())


def name_of(path: str, collection: str = MARKET) -> str:
    """Return the name of a document."""
    return f"{collection}/documents/{path}"


def put(
    store: KnowledgeStore,
    path: str,
    text: str,
    *,
    source: str = "",
    collection: str = MARKET,
    segment: Segment = Segment.PRIVATE,
) -> bool:
    """Put a document; return whether anything changed."""
    return store.put(Draft(name_of(path, collection), text, source), segment)[1]


def paths(found: Sequence[Found]) -> list[str]:
    """Return the paths of the documents of passages, in order."""
    return [one.document.partition("/documents/")[2] for one in found]
