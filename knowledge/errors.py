"""Operating errors of the knowledge storage."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.errors import FailedPrecondition, NotFound


@dataclass(eq=False)
class CollectionNotFound(NotFound):
    """No collection has this name."""

    reason = "COLLECTION_NOT_FOUND"
    message = "there is no {name}; adding its first document makes it"

    name: str


@dataclass(eq=False)
class DocumentNotFound(NotFound):
    """No document has this name."""

    reason = "DOCUMENT_NOT_FOUND"
    message = "there is no {name}; see 'actionvm knowledge list'"

    name: str


@dataclass(eq=False)
class SegmentMismatch(FailedPrecondition):
    """A private document must not become public by a mistake, nor the other way round."""

    reason = "SEGMENT_MISMATCH"
    message = "{collection} is {segment}; use another collection for a document that is not"

    collection: str
    segment: str


@dataclass(eq=False)
class EmbedderMismatch(FailedPrecondition):
    """Vectors of two embedders cannot be compared."""

    reason = "EMBEDDER_MISMATCH"
    message = "{collection} was indexed by {indexed_by}, this is {embedder}; index it again"

    collection: str
    indexed_by: str
    embedder: str
