"""Embeddings and rankings in messages."""

from __future__ import annotations

from collections.abc import Sequence

from actionvm.linker.v1 import linker_pb2
from chassis import fields

from ..clients import usages_of
from ..orders import EmbedOrder, Ranking, RerankOrder, Vectors
from .generations import payer_from_proto
from .links import link_name

TEXTS_MAX = 256
TEXT_BYTES_MAX = 64 * 1024
QUERY_BYTES_MAX = 8 * 1024


def embed_order_from_proto(request: linker_pb2.EmbedRequest) -> EmbedOrder:
    """Return what is to be embedded, or refuse it."""
    return EmbedOrder(
        link=link_name("link", request.link),
        payer=payer_from_proto(request),
        texts=_texts("texts", request.texts),
    )


def rerank_order_from_proto(request: linker_pb2.RerankRequest) -> RerankOrder:
    """Return what is to be ordered, or refuse it."""
    fields.require_size("query", request.query.encode(), size_max=QUERY_BYTES_MAX)
    return RerankOrder(
        link=link_name("link", request.link),
        payer=payer_from_proto(request),
        query=request.query,
        documents=_texts("documents", request.documents),
    )


def _texts(field: str, texts: Sequence[str]) -> tuple[str, ...]:
    fields.require_size(field, texts, size_max=TEXTS_MAX)
    for index, text in enumerate(texts):
        fields.require_size(f"{field}[{index}]", text.encode(), size_max=TEXT_BYTES_MAX)
    return tuple(texts)


def vectors_to_proto(made: Vectors) -> linker_pb2.EmbedResponse:
    """Return embeddings."""
    return linker_pb2.EmbedResponse(
        embeddings=[linker_pb2.Embedding(values=vector) for vector in made.vectors],
        usages=usages_of(made.tokens),
        gas=made.gas,
    )


def ranking_to_proto(made: Ranking) -> linker_pb2.RerankResponse:
    """Return an order."""
    return linker_pb2.RerankResponse(
        scores=made.scores, usages=usages_of(made.tokens), gas=made.gas
    )
