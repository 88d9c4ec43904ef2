"""The contract of the linker over gRPC: parse, ask the domain, build the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from actionvm.linker.v1 import linker_pb2, linker_pb2_grpc
from chassis import fields
from chassis.identity import OPERATOR, PEOPLE
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from .linker import Linker
from .links import Link
from .messages.conversations import conversation_from_proto
from .messages.embeddings import (
    embed_order_from_proto,
    ranking_to_proto,
    rerank_order_from_proto,
    vectors_to_proto,
)
from .messages.generations import answer_to_proto, delta_to_proto, order_from_proto
from .messages.links import (
    account_from_proto,
    config_from_proto,
    link_name,
    link_to_proto,
    model_to_proto,
)
from .orders import Answer
from .progress import stream
from .providers.shelf import Shelf
from .sources import parse_local_model, parse_path, parse_source

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

# What is smaller and has no schemas is parsed faster than a thread is found for it.
SMALL_BYTES = 16 * 1024
# So that a reason arrives before the caller goes away.
TRAVEL_PART = 0.05

DESCRIPTOR = linker_pb2.DESCRIPTOR.services_by_name["LinkerService"]

_OPERATOR = frozenset({OPERATOR})
_LINKERS = frozenset({"assembler", "runtime", OPERATOR})
_READERS = PEOPLE | {"assembler", "runtime"}

CALLERS = {
    "LinkModel": _LINKERS,
    "GetLink": _READERS,
    "ListModels": _READERS,
    "AddModel": _OPERATOR,
    "PullModel": _OPERATOR,
    "RemoveModel": _OPERATOR,
    "Generate": frozenset({"runtime", OPERATOR}),
    "CountTokens": _LINKERS,
    "ListLinks": PEOPLE,
    "UnlinkModel": _OPERATOR,
    "Embed": _OPERATOR,
    "Rerank": _OPERATOR,
}


def hosted(servicer: LinkerService) -> Hosted:
    """Return the service with its authorisation table."""
    return Hosted(
        descriptor=DESCRIPTOR,
        add_to=lambda server: linker_pb2_grpc.add_LinkerServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # the decorator adds what it lacks
            server,
        ),
        callers=CALLERS,
    )


@refusing_the_rest(DESCRIPTOR)
class LinkerService:
    """Answers from one linker and the shelf of its models."""

    def __init__(self, linker: Linker, shelf: Shelf) -> None:
        self._linker = linker
        self._shelf = shelf

    async def LinkModel(
        self, request: linker_pb2.LinkModelRequest, context: Context
    ) -> linker_pb2.LinkModelResponse:
        config = config_from_proto(request.config)
        link = await self._linker.link(config, account_from_proto(request.account, config))
        return linker_pb2.LinkModelResponse(link=self._link_to_proto(link))

    async def GetLink(
        self, request: linker_pb2.GetLinkRequest, context: Context
    ) -> linker_pb2.GetLinkResponse:
        link = await self._linker.find(link_name("name", request.name))
        return linker_pb2.GetLinkResponse(link=self._link_to_proto(link))

    async def ListLinks(
        self, request: linker_pb2.ListLinksRequest, context: Context
    ) -> linker_pb2.ListLinksResponse:
        limit = fields.page_limit(request.page_size)
        (after,) = fields.page_start(request.page_token) or ("",)
        found = await self._linker.links(after=after, limit=limit + 1)
        page = found[:limit]
        return linker_pb2.ListLinksResponse(
            links=map(self._link_to_proto, page),
            next_page_token=fields.page_token(page[-1].name) if len(found) > limit else "",
        )

    async def UnlinkModel(
        self, request: linker_pb2.UnlinkModelRequest, context: Context
    ) -> linker_pb2.UnlinkModelResponse:
        await self._linker.unlink(link_name("name", request.name))
        return linker_pb2.UnlinkModelResponse()

    async def ListModels(
        self, request: linker_pb2.ListModelsRequest, context: Context
    ) -> linker_pb2.ListModelsResponse:
        limit = fields.page_limit(request.page_size)
        (after,) = fields.page_start(request.page_token) or ("",)
        models = [model for model in await self._linker.models() if model.name > after]
        page = models[:limit]
        return linker_pb2.ListModelsResponse(
            models=map(model_to_proto, page),
            next_page_token=fields.page_token(page[-1].name) if len(models) > limit else "",
        )

    async def AddModel(
        self, request: linker_pb2.AddModelRequest, context: Context
    ) -> AsyncIterator[linker_pb2.AddModelResponse]:
        name, path = parse_local_model(request.model), parse_path(request.path)
        async with aclosing(stream(partial(self._shelf.add, name, path))) as steps:
            async for step in steps:
                yield linker_pb2.AddModelResponse(**vars(step))

    async def PullModel(
        self, request: linker_pb2.PullModelRequest, context: Context
    ) -> AsyncIterator[linker_pb2.PullModelResponse]:
        name = parse_local_model(request.model)
        source = parse_source(
            repository=request.repository,
            file=request.file,
            revision=request.revision,
            sha256=request.sha256,
        )
        async with aclosing(stream(partial(self._shelf.pull, name, source))) as steps:
            async for step in steps:
                yield linker_pb2.PullModelResponse(**vars(step))

    async def RemoveModel(
        self, request: linker_pb2.RemoveModelRequest, context: Context
    ) -> linker_pb2.RemoveModelResponse:
        await asyncio.to_thread(self._shelf.remove, parse_local_model(request.model))
        return linker_pb2.RemoveModelResponse()

    async def Generate(
        self, request: linker_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[linker_pb2.GenerateResponse]:
        if request.ByteSize() > SMALL_BYTES or request.actions or request.answer_schema:
            # 64 schemas take seconds to check; meanwhile others are served.
            order = await asyncio.to_thread(order_from_proto, request)
        else:
            order = order_from_proto(request)
        async with aclosing(
            self._linker.generate(order, seconds_max=_seconds_left(context))
        ) as events:
            async for event in events:
                if isinstance(event, Answer):
                    yield linker_pb2.GenerateResponse(finished=answer_to_proto(event))
                    continue
                for response in delta_to_proto(event):
                    yield response

    async def Embed(
        self, request: linker_pb2.EmbedRequest, context: Context
    ) -> linker_pb2.EmbedResponse:
        order = embed_order_from_proto(request)
        made = await self._linker.embed(order, seconds_max=_seconds_left(context))
        return vectors_to_proto(made)

    async def Rerank(
        self, request: linker_pb2.RerankRequest, context: Context
    ) -> linker_pb2.RerankResponse:
        order = rerank_order_from_proto(request)
        made = await self._linker.rerank(order, seconds_max=_seconds_left(context))
        return ranking_to_proto(made)

    async def CountTokens(
        self, request: linker_pb2.CountTokensRequest, context: Context
    ) -> linker_pb2.CountTokensResponse:
        link = link_name("link", request.link)
        conversation = await asyncio.to_thread(
            conversation_from_proto, request.messages, request.actions
        )
        count = await self._linker.count_tokens(link, conversation)
        return linker_pb2.CountTokensResponse(token_count=count)

    def _link_to_proto(self, link: Link) -> linker_pb2.Link:
        return link_to_proto(link, self._linker.failing(link))


def _seconds_left(context: Context) -> float | None:
    """Return how long the caller waits, less what an answer needs on its way."""
    left: float | None = context.time_remaining()
    return None if left is None else left * (1 - TRAVEL_PART)
