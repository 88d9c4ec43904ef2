"""What callers order of the linker, and what they get: who pays, for what, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from .conversation import Call, FinishReason, Logprobs, Prompt, Tokens
from .ports import Caller


@dataclass(frozen=True)
class Payer:
    """Who pays for one request; callers are outermost first."""

    request_id: str
    account: str
    run: str
    callers: tuple[Caller, ...] = ()


@dataclass(frozen=True)
class Order:
    """One generation: what is asked, of which link, and who pays."""

    link: str
    payer: Payer
    prompt: Prompt


@dataclass(frozen=True)
class Answer:
    """The end of a generation, checked and paid; `is_cached` if it was given before."""

    reason: FinishReason
    text: str
    calls: tuple[Call, ...]
    tokens: Tokens
    gas: int
    model: str
    reasoning: str = ""
    logprobs: tuple[Logprobs, ...] = ()
    is_cached: bool = False


@dataclass(frozen=True)
class EmbedOrder:
    """Texts to embed."""

    link: str
    payer: Payer
    texts: tuple[str, ...]


@dataclass(frozen=True)
class RerankOrder:
    """Documents to order by how relevant they are to a query."""

    link: str
    payer: Payer
    query: str
    documents: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """Return what the model reads: the query with each document."""
        return tuple(self.query + document for document in self.documents)


@dataclass(frozen=True)
class Vectors:
    """One unit vector per text, and what they cost."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: Tokens
    gas: int


@dataclass(frozen=True)
class Ranking:
    """One score per document, in their order, and what they cost."""

    scores: tuple[float, ...]
    tokens: Tokens
    gas: int
