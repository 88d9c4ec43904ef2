"""What schedules ask knowledge storage, over real gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1 import action_pb2
from actionvm.knowledge.v1 import knowledge_pb2 as pb
from chassis.errors import PeerUnavailable
from runtime.schedules.clients import DOCUMENTS_MAX, PAGE_SIZE, KnowledgeCollections
from runtime.schedules.ports import Document, WatchingFails
from tests.runtime.peers import Peers, Refusal, serving
from tests.runtime.schedules.schedules import NOW


@pytest.fixture
def peers() -> Peers:
    return Peers()


@pytest.fixture
async def collections(peers: Peers) -> AsyncIterator[KnowledgeCollections]:
    async with serving(peers) as channel:
        yield KnowledgeCollections(channel)


def page(*documents: tuple[str, int], token: str = "") -> pb.ListDocumentsResponse:
    """Return a page of documents by name and second."""
    made = []
    for name, seconds in documents:
        time = Timestamp()
        time.FromDatetime(NOW + timedelta(seconds=seconds))
        digest = action_pb2.Digest(sha256="s")
        made.append(pb.Document(name=name, source="u", digest=digest, update_time=time))
    return pb.ListDocumentsResponse(documents=made, next_page_token=token)


async def test_documents_of_all_pages_come_oldest_first_from_a_time_on(
    peers: Peers, collections: KnowledgeCollections
) -> None:
    peers.answers += [page(("a", 9), ("b", 4), token="t"), page(("c", 5), ("d", 6))]
    found = await collections.changed("collections/x", NOW + timedelta(seconds=5))
    assert [one.name for one in found] == ["c", "d", "a"]
    assert found[0] == Document("c", "u", "s", NOW + timedelta(seconds=5))
    assert [(one.page_token, one.page_size) for one in peers.requests] == [
        ("", PAGE_SIZE),
        ("t", PAGE_SIZE),
    ]


async def test_a_collection_that_is_too_large_is_not_watched(
    peers: Peers, collections: KnowledgeCollections
) -> None:
    peers.answers += [page(token="t")] * (DOCUMENTS_MAX // PAGE_SIZE)
    with pytest.raises(WatchingFails, match="more than 10000 documents"):
        await collections.changed("collections/x", NOW)


async def test_a_collection_that_does_not_exist_is_a_problem(
    peers: Peers, collections: KnowledgeCollections
) -> None:
    peers.answers += [Refusal("NOT_FOUND", "COLLECTION_NOT_FOUND")]
    with pytest.raises(WatchingFails, match="collections/x does not exist"):
        await collections.changed("collections/x", NOW)


async def test_whatever_else_is_refused_is_tried_again(
    peers: Peers, collections: KnowledgeCollections
) -> None:
    peers.answers += [Refusal("PERMISSION_DENIED", "METHOD_DENIED")]
    with pytest.raises(PeerUnavailable):
        await collections.changed("collections/x", NOW)
