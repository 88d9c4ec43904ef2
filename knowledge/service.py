"""The contract of the knowledge storage: parse, call the store, build; it takes no decision."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1 import action_pb2
from actionvm.knowledge.v1 import knowledge_pb2 as pb
from actionvm.knowledge.v1 import knowledge_pb2_grpc
from chassis.errors import InvalidField
from chassis.fields import (
    COLLECTION_NAME,
    page_limit,
    page_start,
    page_token,
    require_match,
    require_size,
)
from chassis.identity import OPERATOR, PEOPLE
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from .document import Collection, DocumentInfo, Draft, Found, Segment
from .store import KnowledgeStore

if TYPE_CHECKING:
    from chassis.interceptors import Context

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["KnowledgeService"]

TEXT_BYTES_MAX = 1024 * 1024
SOURCE_CHARACTERS_MAX = 2_048
QUERY_CHARACTERS_MAX = 4_096
COLLECTIONS_MAX = 16
PASSAGES_DEFAULT = 5
PASSAGES_MAX = 50

# Parts without control characters, none of them empty; `..` is looked for apart.
_PATH_PART = r"[^/\x00-\x1f\x7f-\x9f]+"
_DOCUMENT_NAME = re.compile(
    rf"{COLLECTION_NAME.pattern}/documents/(?=.{{1,256}}\Z)(?!.*\.\.){_PATH_PART}(?:/{_PATH_PART})*"
)

_OPERATOR = frozenset({OPERATOR})
_READERS = _OPERATOR | {"assembler", "runtime"}
# Who may know what there is, not what it says.
_LISTERS = PEOPLE | {"assembler", "runtime"}

CALLERS = {
    "PutDocument": _OPERATOR | {"assembler"},
    "GetDocument": _READERS,
    "DeleteDocument": _OPERATOR,
    "ListCollections": _LISTERS,
    "ListDocuments": _LISTERS,
    "SearchKnowledge": _OPERATOR | {"runtime"},
    "ShredCollection": _OPERATOR,
    "AppendItems": _OPERATOR,
    "WatchStream": _OPERATOR,
    "ReindexCollection": _OPERATOR,
}

_SEGMENTS = {pb.SEGMENT_PRIVATE: Segment.PRIVATE, pb.SEGMENT_PUBLIC: Segment.PUBLIC}
_SEGMENTS_TO_PROTO = {segment: number for number, segment in _SEGMENTS.items()}


def hosted(servicer: KnowledgeService) -> Hosted:
    """Return the service with its authorisation table."""
    return Hosted(
        descriptor=DESCRIPTOR,
        add_to=lambda server: knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # the decorator adds what it lacks
            server,
        ),
        callers=CALLERS,
    )


@refusing_the_rest(DESCRIPTOR)
class KnowledgeService:
    """Answers from one store."""

    def __init__(self, store: KnowledgeStore) -> None:
        self._store = store

    async def PutDocument(
        self, request: pb.PutDocumentRequest, context: Context
    ) -> pb.PutDocumentResponse:
        info, is_changed = await asyncio.to_thread(
            self._store.put,
            _draft_from_proto(request.document),
            _segment_from_proto(request.segment),
        )
        return pb.PutDocumentResponse(
            document=_document_to_proto(info), passage_count=info.passage_count, changed=is_changed
        )

    async def GetDocument(
        self, request: pb.GetDocumentRequest, context: Context
    ) -> pb.GetDocumentResponse:
        info, text = await asyncio.to_thread(self._store.get, _document_name("name", request.name))
        return pb.GetDocumentResponse(document=_document_to_proto(info, text))

    async def DeleteDocument(
        self, request: pb.DeleteDocumentRequest, context: Context
    ) -> pb.DeleteDocumentResponse:
        await asyncio.to_thread(self._store.delete, _document_name("name", request.name))
        return pb.DeleteDocumentResponse()

    async def ListCollections(
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        limit = page_limit(request.page_size)
        (after,) = page_start(request.page_token) or ("",)
        found = await asyncio.to_thread(self._store.list_collections, after=after, limit=limit + 1)
        page = found[:limit]
        return pb.ListCollectionsResponse(
            collections=map(_collection_to_proto, page),
            next_page_token=page_token(page[-1].name) if len(found) > limit else "",
        )

    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, context: Context
    ) -> pb.ListDocumentsResponse:
        collection = _collection_name("collection", request.collection)
        limit = page_limit(request.page_size)
        (after,) = page_start(request.page_token) or ("",)
        found = await asyncio.to_thread(
            self._store.list_documents, collection, after=after, limit=limit + 1
        )
        page = found[:limit]
        return pb.ListDocumentsResponse(
            documents=map(_document_to_proto, page),
            next_page_token=page_token(page[-1].name) if len(found) > limit else "",
        )

    async def SearchKnowledge(
        self, request: pb.SearchKnowledgeRequest, context: Context
    ) -> pb.SearchKnowledgeResponse:
        require_size("query", request.query, size_max=QUERY_CHARACTERS_MAX)
        found = await asyncio.to_thread(
            self._store.search,
            _collection_names(request.collections),
            request.query,
            limit=_passages_limit(request.passages_max),
        )
        return pb.SearchKnowledgeResponse(passages=map(_passage_to_proto, found))


def _collection_name(field: str, value: str) -> str:
    return require_match(field, value, COLLECTION_NAME, example="collections/market")


def _collection_names(values: Sequence[str]) -> list[str]:
    require_size("collections", values, size_max=COLLECTIONS_MAX)
    return [_collection_name(f"collections[{index}]", value) for index, value in enumerate(values)]


def _document_name(field: str, value: str) -> str:
    example = "collections/market/documents/brief.md"
    return require_match(field, value, _DOCUMENT_NAME, example=example)


def _passages_limit(passages_max: int) -> int:
    if passages_max < 0:
        raise InvalidField("passages_max", "is negative; leave it out for the default")
    return min(passages_max or PASSAGES_DEFAULT, PASSAGES_MAX)


def _draft_from_proto(document: pb.Document) -> Draft:
    name = _document_name("document.name", document.name)
    # Bytes are only counted where characters do not already decide.
    require_size("document.text", document.text, size_max=TEXT_BYTES_MAX)
    require_size("document.text", document.text.encode(), size_max=TEXT_BYTES_MAX)
    require_size("document.source", document.source, size_min=0, size_max=SOURCE_CHARACTERS_MAX)
    return Draft(name, document.text, document.source)


def _segment_from_proto(segment: pb.Segment.ValueType) -> Segment:
    if segment not in _SEGMENTS:
        raise InvalidField("segment", "is required, such as SEGMENT_PRIVATE")
    return _SEGMENTS[segment]


def _document_to_proto(info: DocumentInfo, text: str = "") -> pb.Document:
    update_time = Timestamp()
    update_time.FromDatetime(info.update_time)
    return pb.Document(
        name=info.name,
        text=text,
        source=info.source,
        digest=action_pb2.Digest(sha256=info.sha256, size_bytes=info.size_bytes),
        update_time=update_time,
    )


def _collection_to_proto(collection: Collection) -> pb.Collection:
    return pb.Collection(
        name=collection.name,
        segment=_SEGMENTS_TO_PROTO[collection.segment],
        document_count=collection.document_count,
        passage_count=collection.passage_count,
        embedder=collection.embedder,
    )


def _passage_to_proto(found: Found) -> pb.Passage:
    return pb.Passage(
        document=found.document, text=found.text, start_offset=found.start, score=found.score
    )
