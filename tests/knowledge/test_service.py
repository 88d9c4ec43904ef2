"""Over real gRPC: answers say what they must, and bad input is refused by its field."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from actionvm.knowledge.v1 import knowledge_pb2 as pb
from actionvm.knowledge.v1 import knowledge_pb2_grpc
from chassis.canonical import sha256_hex
from chassis.server import Hosted
from knowledge.service import KnowledgeService, hosted
from tests.contracts.contract import error_info, refused_field
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.knowledge.stores import open_store

Stub: TypeAlias = knowledge_pb2_grpc.KnowledgeServiceStub

NUMBERS = iter(range(10**6))


@pytest.fixture(scope="module")
def hosted_service(tmp_path_factory: pytest.TempPathFactory) -> HostedFactory:
    path = tmp_path_factory.mktemp("knowledge") / "knowledge.db"

    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield hosted(KnowledgeService(open_store(path)))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


@pytest.fixture
def collection() -> str:
    """Return the name of a collection that no other test knows."""
    return f"collections/c{next(NUMBERS)}"


def _put(name: str, text: str = "Ether rose.", **fields: str) -> pb.PutDocumentRequest:
    return pb.PutDocumentRequest(
        document=pb.Document(name=name, text=text, **fields),  # type: ignore[arg-type]  # by name
        segment=pb.SEGMENT_PRIVATE,
    )


# --- Answers -------------------------------------------------------------------------------------


def test_a_put_answers_without_the_text(grpc_stub: Stub, collection: str) -> None:
    response = grpc_stub.PutDocument(_put(f"{collection}/documents/a.md"))
    assert (response.document.text, response.passage_count, response.changed) == ("", 1, True)


def test_a_repeated_put_changes_nothing(grpc_stub: Stub, collection: str) -> None:
    first = grpc_stub.PutDocument(_put(f"{collection}/documents/a.md"))
    second = grpc_stub.PutDocument(_put(f"{collection}/documents/a.md"))
    assert (second.changed, second.document) == (False, first.document)


def test_the_digest_is_that_of_the_text(grpc_stub: Stub, collection: str) -> None:
    response = grpc_stub.PutDocument(_put(f"{collection}/documents/a.md", "ß"))
    digest = response.document.digest
    assert (digest.sha256, digest.size_bytes) == (sha256_hex("ß".encode()), 2)


def test_a_document_is_read_whole(grpc_stub: Stub, collection: str) -> None:
    name = f"{collection}/documents/notes/2026/a b.md"
    grpc_stub.PutDocument(_put(name, "Ether.\r\n", source="https://example.org"))
    document = grpc_stub.GetDocument(pb.GetDocumentRequest(name=name)).document
    assert (document.name, document.text, document.source) == (
        name,
        "Ether.\r\n",
        "https://example.org",
    )


def test_a_document_knows_when_it_was_put(grpc_stub: Stub, collection: str) -> None:
    response = grpc_stub.PutDocument(_put(f"{collection}/documents/a.md"))
    assert response.document.update_time.ToJsonString() == "2026-03-31T22:30:00.123456Z"


def test_a_passage_says_where_it_is(grpc_stub: Stub, grpc_stub_as: StubAs, collection: str) -> None:
    name = f"{collection}/documents/a.md"
    text = "# Ether\n\n" + "Ether rose. " * 70 + "\n\n# Rain\n\n" + "It rains. " * 70
    grpc_stub.PutDocument(_put(name, text))
    request = pb.SearchKnowledgeRequest(collections=[collection], query="rains", passages_max=1)
    (passage,) = grpc_stub_as("runtime").SearchKnowledge(request).passages
    start = passage.start_offset
    assert start > 0
    assert (passage.document, passage.text) == (name, text[start : start + len(passage.text)])


def test_five_passages_are_found_unless_asked_otherwise(grpc_stub: Stub, collection: str) -> None:
    for number in range(7):
        grpc_stub.PutDocument(_put(f"{collection}/documents/{number}.md"))
    request = pb.SearchKnowledgeRequest(collections=[collection], query="ether")
    assert len(grpc_stub.SearchKnowledge(request).passages) == 5


def test_more_than_50_passages_are_reduced(grpc_stub: Stub, collection: str) -> None:
    text = "\n\n".join(f"# Part {number}\n\n" + "Ether rose. " * 30 for number in range(60))
    grpc_stub.PutDocument(_put(f"{collection}/documents/a.md", text))
    request = pb.SearchKnowledgeRequest(collections=[collection], query="ether", passages_max=999)
    assert len(grpc_stub.SearchKnowledge(request).passages) == 50


def test_pages_of_documents_give_the_whole_list(grpc_stub: Stub, collection: str) -> None:
    names = [f"{collection}/documents/{number}.md" for number in range(5)]
    for name in names:
        grpc_stub.PutDocument(_put(name))
    found: list[list[str]] = []
    token = ""
    while True:
        request = pb.ListDocumentsRequest(collection=collection, page_size=2, page_token=token)
        page = grpc_stub.ListDocuments(request)
        found.append([document.name for document in page.documents])
        if not (token := page.next_page_token):
            break
    assert found == [names[:2], names[2:4], names[4:]]


def test_pages_of_collections_give_the_whole_list(grpc_stub: Stub, collection: str) -> None:
    grpc_stub.PutDocument(_put(f"{collection}/documents/a.md"))
    whole = grpc_stub.ListCollections(pb.ListCollectionsRequest()).collections
    found: list[pb.Collection] = []
    token = ""
    while True:
        request = pb.ListCollectionsRequest(page_size=1, page_token=token)
        page = grpc_stub.ListCollections(request)
        found += page.collections
        if not (token := page.next_page_token):
            break
    assert found == list(whole)


def test_a_collection_names_its_embedder(grpc_stub: Stub, collection: str) -> None:
    grpc_stub.PutDocument(_put(f"{collection}/documents/a.md"))
    collections = grpc_stub.ListCollections(pb.ListCollectionsRequest()).collections
    (ours,) = (one for one in collections if one.name == collection)
    assert (ours.segment, ours.document_count, ours.embedder) == (1, 1, "hashing-256")


def test_writers_and_searchers_at_once_do_not_disturb_each_other(
    grpc_stub: Stub, collection: str
) -> None:
    grpc_stub.PutDocument(_put(f"{collection}/documents/0.md"))

    def put(number: int) -> bool:
        return bool(grpc_stub.PutDocument(_put(f"{collection}/documents/{number}.md")).changed)

    def search(_: int) -> int:
        request = pb.SearchKnowledgeRequest(
            collections=[collection], query="ether", passages_max=50
        )
        return len(grpc_stub.SearchKnowledge(request).passages)

    with ThreadPoolExecutor(8) as threads:
        changed = threads.map(put, [number for number in range(1, 16) for _ in range(2)])
        found = threads.map(search, range(15))
        assert (sum(changed), all(found)) == (15, True)


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "a/", "a//b", "..", "a/../b", "a..b", "a\nb", "a\0", "\x7f", "\x85", "a" * 257],
)
def test_a_malformed_path_is_refused(grpc_stub: Stub, path: str) -> None:
    request = _put(f"collections/paths/documents/{path}")
    assert refused_field(lambda: grpc_stub.PutDocument(request)) == "document.name"


@pytest.mark.parametrize("path", ["a", "a b", "ä/ß.md", ".a", "a.b.c", "documents/a", "ä" * 256])
def test_a_path_of_any_printable_characters_is_accepted(grpc_stub: Stub, path: str) -> None:
    name = f"collections/paths/documents/{path}"
    assert grpc_stub.PutDocument(_put(name)).document.name == name


@pytest.mark.parametrize(
    "name",
    ["", "a.md", "collections/A/documents/a", "collections/a", "collections/a/b/documents/c"],
)
def test_a_malformed_name_is_refused(grpc_stub: Stub, name: str) -> None:
    assert refused_field(lambda: grpc_stub.PutDocument(_put(name))) == "document.name"


@pytest.mark.parametrize(
    ("text", "source", "refused"),
    [
        ("", "", "document.text"),
        ("x" * (1024 * 1024 + 1), "", "document.text"),
        ("ß" * (512 * 1024 + 1), "", "document.text"),
        ("text", "x" * 2_049, "document.source"),
    ],
)
def test_a_document_out_of_its_limits_is_refused(
    grpc_stub: Stub, text: str, source: str, refused: str
) -> None:
    request = _put("collections/limits/documents/a", text, source=source)
    assert refused_field(lambda: grpc_stub.PutDocument(request)) == refused


def test_the_longest_text_is_accepted(grpc_stub: Stub, collection: str) -> None:
    text = ("# a\n\n" + "x " * 80) * 10_000
    request = _put(f"{collection}/documents/a", text[: 1024 * 1024])
    assert grpc_stub.PutDocument(request, timeout=60).changed


@pytest.mark.parametrize("segment", [0, 3])
def test_a_document_without_a_segment_is_refused(grpc_stub: Stub, segment: int) -> None:
    request = _put("collections/limits/documents/a")
    request.segment = pb.Segment.ValueType(segment)
    assert refused_field(lambda: grpc_stub.PutDocument(request)) == "segment"


@pytest.mark.parametrize(
    ("request_", "refused"),
    [
        (pb.SearchKnowledgeRequest(query="q"), "collections"),
        (pb.SearchKnowledgeRequest(collections=["collections/a"] * 17, query="q"), "collections"),
        (
            pb.SearchKnowledgeRequest(collections=["collections/a", "b"], query="q"),
            "collections[1]",
        ),
        (pb.SearchKnowledgeRequest(collections=["collections/a"]), "query"),
        (pb.SearchKnowledgeRequest(collections=["collections/a"], query="q" * 4_097), "query"),
        (
            pb.SearchKnowledgeRequest(collections=["collections/a"], query="q", passages_max=-1),
            "passages_max",
        ),
    ],
)
def test_a_bad_search_names_its_field(
    grpc_stub: Stub, request_: pb.SearchKnowledgeRequest, refused: str
) -> None:
    assert refused_field(lambda: grpc_stub.SearchKnowledge(request_)) == refused


# NUL is the character that programs in C trip over.
TEXTS = st.one_of(st.text(max_size=60), st.sampled_from(["", "\0", '"ether" OR *', "NEAR(a b)"]))
COLLECTIONS = st.one_of(st.sampled_from(["collections/f1", "collections/f2"]), st.text(max_size=20))
DOCUMENTS = st.one_of(
    st.builds("{}/documents/{}".format, COLLECTIONS, st.text(max_size=20)),
    st.sampled_from(["collections/f1/documents/a", "collections/f2/documents/b"]),
)
REQUESTS = st.one_of(
    st.builds(
        pb.PutDocumentRequest,
        document=st.builds(pb.Document, name=DOCUMENTS, text=TEXTS, source=TEXTS),
        segment=st.integers(0, 3),
    ),
    st.builds(pb.GetDocumentRequest, name=DOCUMENTS),
    st.builds(pb.DeleteDocumentRequest, name=DOCUMENTS),
    st.builds(pb.ListCollectionsRequest, page_size=st.integers(-1, 9), page_token=TEXTS),
    st.builds(
        pb.ListDocumentsRequest,
        collection=COLLECTIONS,
        page_size=st.integers(-1, 9),
        page_token=TEXTS,
    ),
    st.builds(
        pb.SearchKnowledgeRequest,
        collections=st.lists(COLLECTIONS, max_size=3),
        query=TEXTS,
        passages_max=st.integers(-1, 60),
    ),
)


@settings(max_examples=150, deadline=None)
@given(request=REQUESTS)
def test_no_input_is_a_bug(grpc_stub: Stub, request: Message) -> None:
    assert _reason(grpc_stub, request) != "INTERNAL"


def _reason(stub: Stub, request: Message) -> str:
    method = getattr(stub, type(request).__name__.removesuffix("Request"))
    try:
        method(request, timeout=20)
    except grpc.RpcError as error:
        info = error_info(error)
        assert info.reason, error
        return info.reason
    return ""
