"""What is kept: documents in collections, and the passages that a search finds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Segment(Enum):
    """Who may read a collection: the agents that declare it, or every agent."""

    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True)
class Collection:
    """A named set of documents; `embedder` made all its vectors."""

    name: str
    segment: Segment
    document_count: int
    passage_count: int
    embedder: str


@dataclass(frozen=True)
class Draft:
    """A document as it is handed in; `name` starts with the name of its collection."""

    name: str
    text: str
    source: str

    @property
    def collection(self) -> str:
        """Return `collections/{id}`."""
        return self.name.partition("/documents/")[0]


@dataclass(frozen=True)
class DocumentInfo:
    """What is known about a stored document without its text."""

    name: str
    source: str
    sha256: str
    size_bytes: int
    update_time: datetime
    passage_count: int


@dataclass(frozen=True)
class Found:
    """A passage that fits a query; `start` counts characters of the document."""

    document: str
    text: str
    start: int
    score: float
