"""Every RPC of the knowledge storage is called over real gRPC and answers as its contract says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actionvm.knowledge.v1 import knowledge_pb2 as pb
from actionvm.knowledge.v1 import knowledge_pb2_grpc
from chassis.database import open_memory_database
from chassis.server import Hosted
from knowledge.document import Segment
from knowledge.service import KnowledgeService, hosted
from knowledge.store import TABLES
from tests.contracts.contract import Call, make
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.knowledge.stores import MARKET, OtherEmbedder, name_of, open_store, put

FOREIGN = "collections/foreign"
NONE = "collections/none"
PRIVATE = pb.SEGMENT_PRIVATE


def _put(
    path: str,
    segment: pb.Segment.ValueType = PRIVATE,
    *,
    collection: str = MARKET,
    text: str = "text",
) -> pb.PutDocumentRequest:
    document = pb.Document(name=name_of(path, collection), text=text)
    return pb.PutDocumentRequest(document=document, segment=segment)


def _search(*collections: str, query: str = "ether") -> pb.SearchKnowledgeRequest:
    return pb.SearchKnowledgeRequest(collections=collections, query=query)


CALLS = [
    Call("PutDocument", _put("new.md")),
    Call("PutDocument", _put("newer.md"), caller="assembler"),
    Call("PutDocument", _put("x.md", pb.SEGMENT_PUBLIC), reason="SEGMENT_MISMATCH"),
    Call("PutDocument", _put("x.md", collection=FOREIGN), reason="EMBEDDER_MISMATCH"),
    Call("PutDocument", _put("x.md", text="x" * (1024 * 1024 + 1)), reason="INVALID_FIELD"),
    Call("PutDocument", _put("x.md"), caller="runtime", reason="METHOD_DENIED"),
    Call("PutDocument", _put("x.md"), caller="nobody", reason="TOKEN_INVALID"),
    Call("GetDocument", pb.GetDocumentRequest(name=name_of("ether.md")), caller="runtime"),
    Call(
        "GetDocument",
        pb.GetDocumentRequest(name=name_of("none.md")),
        reason="DOCUMENT_NOT_FOUND",
    ),
    Call("DeleteDocument", pb.DeleteDocumentRequest(name=name_of("old.md"))),
    Call(
        "DeleteDocument",
        pb.DeleteDocumentRequest(name=name_of("none.md")),
        reason="DOCUMENT_NOT_FOUND",
    ),
    Call("ListCollections", pb.ListCollectionsRequest(), caller="assembler"),
    Call("ListCollections", pb.ListCollectionsRequest(page_size=-1), reason="INVALID_FIELD"),
    Call("ListDocuments", pb.ListDocumentsRequest(collection=MARKET)),
    Call("ListDocuments", pb.ListDocumentsRequest(collection=NONE), reason="COLLECTION_NOT_FOUND"),
    Call("SearchKnowledge", _search(MARKET), caller="runtime"),
    Call("SearchKnowledge", _search(MARKET, NONE), reason="COLLECTION_NOT_FOUND"),
    Call("SearchKnowledge", _search(FOREIGN), reason="EMBEDDER_MISMATCH"),
    Call("SearchKnowledge", _search(MARKET, query=""), reason="INVALID_FIELD"),
    Call("ShredCollection", pb.ShredCollectionRequest(), reason="NOT_IMPLEMENTED"),
    Call("AppendItems", pb.AppendItemsRequest(), reason="NOT_IMPLEMENTED"),
    Call("WatchStream", pb.WatchStreamRequest(), reason="NOT_IMPLEMENTED"),
    Call("ReindexCollection", pb.ReindexCollectionRequest(), reason="NOT_IMPLEMENTED"),
]


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        engine = open_memory_database(TABLES)
        foreign = open_store(engine=engine, embedder=OtherEmbedder())
        put(foreign, "a.md", "ether", collection=FOREIGN)
        store = open_store(engine=engine)
        for path in ("ether.md", "old.md"):
            put(store, path, "The price of ether rose.", segment=Segment.PRIVATE)
        yield hosted(KnowledgeService(store))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[knowledge_pb2_grpc.KnowledgeServiceStub]:
    return knowledge_pb2_grpc.KnowledgeServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'ok'}")
def test_a_call_answers_as_its_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)
