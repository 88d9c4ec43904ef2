"""What schedules ask other services, over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from grpc import aio

from actionvm.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from chassis.channel import remote_error, translated
from chassis.errors import InvalidField, PeerUnavailable

from .ports import Document, WatchingFails

PAGE_SIZE = 1_000
DOCUMENTS_MAX = 10_000


class KnowledgeCollections:
    """`Collections` over a channel to knowledge storage.

    Its contract lists by name, so that each look reads the names of a whole collection.
    """

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = knowledge_pb2_grpc.KnowledgeServiceStub(channel)

    async def changed(self, collection: str, since: datetime) -> Sequence[Document]:
        """See `Collections`."""
        found = list[Document]()
        token = ""
        for _ in range(DOCUMENTS_MAX // PAGE_SIZE):
            page = await self._page(collection, token)
            found += [one for one in map(_document, page.documents) if one.update_time >= since]
            token = page.next_page_token
            if not token:
                return sorted(found, key=lambda one: (one.update_time, one.name))
        raise WatchingFails(f"{collection} has more than {DOCUMENTS_MAX} documents")

    async def _page(self, collection: str, token: str) -> knowledge_pb2.ListDocumentsResponse:
        request = knowledge_pb2.ListDocumentsRequest(
            collection=collection, page_size=PAGE_SIZE, page_token=token
        )
        try:
            with translated("knowledge"):
                return await self._stub.ListDocuments(request)
        except InvalidField as error:
            raise WatchingFails(f"{collection}: {error}") from error
        except aio.AioRpcError as error:
            if remote_error(error).reason == "COLLECTION_NOT_FOUND":
                raise WatchingFails(f"{collection} does not exist") from error
            raise PeerUnavailable("knowledge") from error


def _document(document: knowledge_pb2.Document) -> Document:
    return Document(
        name=document.name,
        source=document.source,
        sha256=document.digest.sha256,
        update_time=document.update_time.ToDatetime(tzinfo=UTC),
    )
